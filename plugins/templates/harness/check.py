"""Runs what one template built, and compares it with what Rust's says.

    check.py LANGUAGE     prints one line for each difference, then `PASSED FAILED`

Probes run in the engine (BELLWETHER_BIN) against an HTTP service on loopback;
log parsers and WASI commands run under the Python package wasmtime.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE.parent
SLOW_SECONDS = 0.4

# Lines that differ in every part that a parser reads. Their text is in bytes
# longer than in characters: spans count bytes.
LINES = """\
2026-03-01T12:00:00Z ERROR payment failed order=17 shop=north
2026-03-01T12:00:01.250+01:00 WARN größer als erwartet ort=Köln
2026-03-01T12:00:02Z INFO ready
no time here

2026-03-01T12:00:03Z SHOUT what
2026-02-28T23:59:59.5Z DEBUG a=1 b=2=3 c=
2026-03-01T12:00:04Z FATAL  two  spaces and a=b in the middle k=1 k=2
"""

# Name, path, configuration, further arguments, first word expected.
PROBES = [
    ("healthy", "/ok", {"text": 'well "größer"'}, [], "OK"),
    ("status 500", "/error", {}, [], "CRITICAL"),
    ("status 500 wanted", "/error", {"status": 500}, [], "OK"),
    ("text missing", "/ok", {"text": "no such"}, [], "CRITICAL"),
    ("slow", "/slow", {"warn_ms": 100}, [], "WARNING"),
    ("too slow", "/slow", {"warn_ms": 50, "critical_ms": 100.5}, [], "CRITICAL"),
    ("hangs", "/hang", {}, ["--timeout", "300ms"], "CRITICAL"),
    ("refused", None, {}, [], "CRITICAL"),
    ("not granted", "/ok", {}, ["no grant"], "FAULT"),
    ("wrong URL", "gopher://127.0.0.1/", {}, [], "FAULT"),
]
# A component of megabytes takes the engine seconds to compile at every start.
BIG = 2 << 20
FEW = {"healthy", "status 500", "slow", "refused"}

# Name, standard input, environment, arguments, exit code.
COMMANDS = [
    ("healthy", 'all is "well"', {"HTTP_STATUS": "200", "TIME_TOTAL_MS": "12.5"}, ['is "well"'], 0),
    ("status 500", "all is well", {"HTTP_STATUS": "500", "TIME_TOTAL_MS": "3"}, [], 2),
    ("text missing", "all is well", {"HTTP_STATUS": "200"}, ["no such"], 2),
    ("nothing but a body", "x" * 100_000 + " is well", {}, ["is well"], 0),
    ("empty", "", {}, ["is well"], 2),
]


class Service(BaseHTTPRequestHandler):
    """/ok answers, /error fails, /slow takes its time, /hang never answers."""

    protocol_version = "HTTP/1.1"
    stop = threading.Event()

    def do_GET(self):
        if self.path == "/slow":
            self.stop.wait(SLOW_SECONDS)
        if self.path == "/hang":
            self.stop.wait(30)
            self.close_connection = True
            return
        body = 'all is well "größer"\n'.encode()
        self.send_response(500 if self.path == "/error" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def run(arguments, **more):
    """Standard output, standard error and exit code of a program."""
    done = subprocess.run(arguments, capture_output=True, text=True, encoding="utf-8", timeout=180, **more)
    return done.stdout, done.stderr, done.returncode


def engine_run(arguments):
    """The same of the engine, which gives up on compiling a big component after
    a minute: on a busy machine it is asked again."""
    for _ in range(3):
        found = run(arguments)
        if "engine.compile_timeout" not in found[1]:
            break
    return found


def guest(*arguments, text):
    return run([sys.executable, str(HERE / "guest.py"), *map(str, arguments)], input=text)


def probe_output(engine, file, url, config, arguments):
    """The lines of `plugin run`, without what differs from run to run."""
    address = re.sub("^http://([^/]*).*", r"\1", url)
    grant = [] if "no grant" in arguments else ["--allow", address]
    more = [word for word in arguments if word != "no grant"]
    if not url.startswith("http://"):
        grant = []
    config = json.dumps({"url": url, **config})
    out, err, _ = engine_run([engine, "plugin", "run", str(file), "--config", config, *grant, *more])
    out = re.sub(r" \([\d.]+ ms\)$", "", out, flags=re.M)
    out = re.sub(r"in \d+ ms", "in N ms", out)
    out = re.sub(r"(latency_ms =) [\d.]+$", r"\1 N", out, flags=re.M)
    out = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", out)
    # The pointer and the wording of a configuration problem are the guest's.
    out = re.sub(r"^(FAULT \(\w+\)) .*", r"\1", out, flags=re.S)
    return out or err


def free_port():
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Tally:
    def __init__(self):
        self.passed, self.failed = 0, 0

    def compare(self, what, expected, found):
        if expected == found:
            self.passed += 1
        else:
            self.failed += 1
            print(f"  {what}: expected {expected!r}, found {found!r}")


def check_probe(engine, file, reference, tally):
    manifests = []
    for path in (reference, file):
        out, err, code = engine_run([engine, "plugin", "inspect", str(path)])
        if code != 0:
            tally.compare(f"inspect {path.name}", 0, err)
            return
        found = json.loads(out)
        manifest = found["manifest"]
        manifests.append({"kind": found["kind"], **{key: manifest[key] for key in
                         ("summary", "version", "config_schema", "capabilities", "metrics")}})
    tally.compare("manifest", *manifests)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    for name, path, config, arguments, word in PROBES:
        if file.stat().st_size > BIG and name not in FEW:
            continue
        if path is None:
            url = f"http://127.0.0.1:{free_port()}/"
        else:
            url = base + path if path.startswith("/") else path
        expected = probe_output(engine, reference, url, config, arguments)
        found = probe_output(engine, file, url, config, arguments)
        tally.compare(f"probe, {name}, state", word, found.split(" ")[0])
        if file != reference:
            tally.compare(f"probe, {name}", expected, found)
    Service.stop.set()
    server.shutdown()


def check_parser(file, reference, tally):
    expected, _, _ = guest("parse", reference, text=LINES)
    found, err, code = guest("parse", file, text=LINES)
    tally.compare("log parser, exit code", 0, code or err or 0)
    tally.compare("log parser, records", 7, len(found.splitlines()))
    if file != reference:
        tally.compare("log parser", expected, found)


def run_command(engine, file, text, variables, arguments):
    """What a WASI command prints and its exit code, under wasmtime; and, where
    the engine has `--input-file`, the same from the engine."""
    words = [f"{name}={value}" for name, value in variables.items()]
    out, err, code = guest("command", file, *words, "--", *arguments, text=text)
    found = [out or err, code]
    if "--input-file" in run([engine, "plugin", "run", "--help"])[0]:
        with tempfile.NamedTemporaryFile("w") as input_file:
            input_file.write(text)
            input_file.flush()
            out, err, code = engine_run(
                [engine, "plugin", "run", str(file), "--input-file", input_file.name,
                 "--config", json.dumps({"env": variables}), "--", *arguments]
            )
        found += [re.sub(r" \([\d.]+ ms\)$", "", out, flags=re.M) or err, code]
    return found


def check_command(engine, file, reference, tally):
    for name, text, variables, arguments, code in COMMANDS:
        expected = run_command(engine, reference, text, variables, arguments)
        found = run_command(engine, file, text, variables, arguments)
        for ended in found[1::2]:
            tally.compare(f"command, {name}, exit code", code, ended)
        tally.compare(f"command, {name}", expected, found)


def main(language):
    engine = os.environ["BELLWETHER_BIN"]
    dist, reference = TEMPLATES / language / "dist", TEMPLATES / "rust" / "dist"
    tally = Tally()
    tally.compare("artefacts in dist", True, any(dist.glob("*.wasm")))
    if (dist / "probe.wasm").exists():
        check_probe(engine, dist / "probe.wasm", reference / "probe.wasm", tally)
    if (dist / "log-parser.wasm").exists():
        check_parser(dist / "log-parser.wasm", reference / "log-parser.wasm", tally)
    if (dist / "command.wasm").exists():
        check_command(engine, dist / "command.wasm", reference / "command.wasm", tally)
    print(tally.passed, tally.failed)


if __name__ == "__main__":
    main(sys.argv[1])
