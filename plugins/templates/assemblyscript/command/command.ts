// The same judgement as a WASI command: no bindings, only standard streams.
//
// The engine fetches the page (`input:` on the check), hands the body to
// standard input and tells the rest in the environment. The program follows the
// monitoring-plugins convention: one line `STATE - text | metrics` and an exit
// code from 0 (ok) to 3 (unknown).

// The first argument is text that the body must contain.
const wanted = process.argv.length > 1 ? process.argv[1] : "";
const status = variable("HTTP_STATUS", "200");
const ms = variable("TIME_TOTAL_MS", "");
const body = readAll();
const size = String.UTF8.byteLength(body);

let metrics = `size=${size}B`;
if (ms.length > 0) metrics += ` latency=${ms}ms`;
if (status != "200") {
  console.log(`CRITICAL - HTTP ${status}, expected 200 | ${metrics}`);
  process.exit(2);
} else if (!body.includes(wanted)) {
  console.log(`CRITICAL - the body lacks "${wanted}" | ${metrics}`);
  process.exit(2);
} else {
  console.log(`OK - ${size} bytes as expected | ${metrics}`);
}

function variable(name: string, fallback: string): string {
  return process.env.has(name) ? process.env.get(name) : fallback;
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
