// UTF-8 for QuickJS, which has no TextEncoder and TextDecoder.

const CHUNK = 8192; // arguments of one call

// The text of bytes; bytes that are no UTF-8 are taken as Latin-1.
export function decode(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += CHUNK) {
    binary += String.fromCharCode.apply(null, bytes.subarray(at, at + CHUNK));
  }
  try {
    return decodeURIComponent(escape(binary));
  } catch {
    return binary;
  }
}

export function encode(text) {
  const binary = unescape(encodeURIComponent(text));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}
