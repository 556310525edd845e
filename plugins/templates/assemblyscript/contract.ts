// What this template uses of Bellwether's contract (plugins/wit), by the
// component model's canonical ABI: a record is its fields in memory, a string or
// a list is an address and a length, a variant is a tag and what it holds.
// Offsets are bytes on 32 bits.
//
// An instance lives for one run and is then thrown away: nothing is ever freed.

/** The engine asks here for memory for arguments and answers. */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  if (size == 0) return align; // never read, but must not be 0
  const block = heap.alloc(size); // aligned to 16 bytes
  if (oldSize > 0) memory.copy(block, old, min(oldSize, size));
  return block;
}

@external("bellwether:plugin/log@0.1.0", "write")
declare function log(level: i32, text: usize, length: usize): void;

@external("bellwether:plugin/net@0.1.0", "http")
declare function netHttp(request: usize, answer: usize): void;

/** A failed assertion goes to the run's log; build.sh names this function. */
export function onAbort(message: string | null, file: string | null, line: u32, _column: u32): void {
  const text = String.UTF8.encode(`${message} at ${file}:${line}`);
  log(6, changetype<usize>(text), text.byteLength);
  unreachable();
}

/** Zeroed memory. */
function allocate(size: usize): usize {
  const block = heap.alloc(size);
  memory.fill(block, 0, size);
  return block;
}

/** Writes a string's address and length. */
function putString(at: usize, text: string): void {
  const bytes = String.UTF8.encode(text);
  store<usize>(at, changetype<usize>(bytes));
  store<u32>(at, bytes.byteLength, 4);
}

function getString(at: usize): string {
  return String.UTF8.decodeUnsafe(load<usize>(at), load<u32>(at, 4));
}

/** Writes a list's address and length; returns the address. */
function putList(at: usize, length: i32, size: usize): usize {
  const block = allocate(<usize>length * size);
  store<usize>(at, block);
  store<u32>(at, length, 4);
  return block;
}

export class MetricSpec {
  constructor(public name: string, public unit: string, public description: string) {}
}

/** The record `manifest`. */
export function manifest(
  name: string, version: string, summary: string, schema: string,
  capabilities: string[], metrics: MetricSpec[],
): usize {
  const at = allocate(48);
  putString(at, name);
  putString(at + 8, version);
  putString(at + 16, summary);
  putString(at + 24, schema);
  const wanted = putList(at + 32, capabilities.length, 8);
  for (let i = 0; i < capabilities.length; i++) putString(wanted + 8 * i, capabilities[i]);
  const specs = putList(at + 40, metrics.length, 24);
  for (let i = 0; i < metrics.length; i++) {
    putString(specs + 24 * i, metrics[i].name);
    putString(specs + 24 * i + 8, metrics[i].unit);
    putString(specs + 24 * i + 16, metrics[i].description);
  }
  return at;
}

export enum State { Ok, Warning, Critical, Unknown }

export class Metric {
  constructor(public name: string, public value: f64) {}
}

/** A report as the good half of `result<report, probe-error>`. */
export function report(state: State, summary: string, metrics: Metric[]): usize {
  const at = allocate(32); // the tag 0, then the report at 4
  store<u8>(at, <u8>state, 4);
  putString(at + 8, summary);
  putString(at + 16, ""); // details
  const list = putList(at + 24, metrics.length, 16);
  for (let i = 0; i < metrics.length; i++) {
    putString(list + 16 * i, metrics[i].name);
    store<f64>(list + 16 * i, metrics[i].value, 8);
  }
  return at;
}

/** The error `denied`: a capability that was needed and not granted. */
export function denied(what: string): usize {
  const at = allocate(32);
  store<u8>(at, 1);
  store<u8>(at, 1, 4);
  putString(at + 8, what);
  return at;
}

/** The error `config`; `pointer` is a JSON Pointer to the wrong value. */
export function configProblem(pointer: string, message: string): usize {
  const at = allocate(32);
  store<u8>(at, 1);
  putString(at + 8, pointer);
  putString(at + 16, message);
  return at;
}

/** The variant `net.error`, in the order of the contract. */
export enum NetError {
  Denied, Timeout, Resolve, Refused, Unreachable, Closed, Tls, Protocol, TooLarge, Invalid,
}

const PHASES: string[] = ["resolve", "connect", "tls-handshake", "send", "first-byte", "receive"];

/** The answer of `net.http`: `result<http-response, error>`. */
export class HttpAnswer {
  constructor(private at: usize) {}

  get failed(): bool { return load<u8>(this.at) != 0; }

  // Of an error, at 8.
  get error(): NetError { return <NetError>load<u8>(this.at, 8); }
  get text(): string { return getString(this.at + 16); }
  get phase(): string { return PHASES[load<u8>(this.at, 16)]; }
  get limit(): u64 { return load<u64>(this.at, 16); }

  // Of a response, at 8.
  get status(): u16 { return load<u16>(this.at, 8); }
  get size(): u32 { return load<u32>(this.at, 48); }
  get body(): string { return getString(this.at + 44); }
  get microseconds(): u64 { return load<u64>(this.at, 120); }
}

/** Asks for a page with GET, following redirects. */
export function http(url: string): HttpAnswer {
  const request = allocate(80);
  putString(request, "GET");
  putString(request + 8, url);
  // No headers at 16 and 24, no body at 32, no options for TLS at 52.
  store<u32>(request, 10, 44); // redirects
  store<u32>(request, 1 << 20, 48); // bytes of the body to keep
  const answer = allocate(184);
  netHttp(request, answer);
  return new HttpAnswer(answer);
}
