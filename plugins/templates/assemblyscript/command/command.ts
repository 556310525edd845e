// The same judgement as a WASI command: no bindings, only standard streams.
//
// The engine fetches the page (`input:` on the check) and hands the answer to
// standard input. The program follows the monitoring-plugins convention: one
// line `STATE - text | metrics` and an exit code from 0 (ok) to 3 (unknown).

// The first argument is text that the body must contain.
const wanted = process.argv.length > 1 ? process.argv[1] : "";
const input = readAll();

// With a status line it is a whole answer, otherwise a body alone.
let status: i32 = 200;
let body = input;
const blank = input.indexOf("\r\n\r\n");
if (input.startsWith("HTTP/") && blank > 0) {
  const space = input.indexOf(" ");
  status = I32.parseInt(input.substr(space + 1, 3));
  body = input.substring(blank + 4);
}
const size = String.UTF8.byteLength(body);

if (status != 200) {
  console.log(`CRITICAL - HTTP ${status}, expected 200 | size_bytes=${size}B`);
  process.exit(2);
} else if (!body.includes(wanted)) {
  console.log(`CRITICAL - the body lacks "${wanted}" | size_bytes=${size}B`);
  process.exit(2);
} else {
  console.log(`OK - ${size} bytes as expected | size_bytes=${size}B`);
}

function readAll(): string {
  const part = new ArrayBuffer(4096);
  let all = new Uint8Array(0);
  while (true) {
    const read = process.stdin.read(part);
    if (read <= 0) break;
    const longer = new Uint8Array(all.length + read);
    longer.set(all);
    longer.set(Uint8Array.wrap(part, 0, read), all.length);
    all = longer;
  }
  return String.UTF8.decode(all.buffer);
}
