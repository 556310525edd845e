"""Runs log parsers and WASI commands without an engine, to try them.

    guest.py parse COMPONENT [CONFIG] < lines     records as JSON lines
    guest.py command MODULE [NAME=VALUE…] [-- ARGUMENT…] < input
                                                  exit code as the program's

Needs the Python package wasmtime; ../test-guests.sh fetches it.
"""

import json
import sys
import tempfile

import wasmtime
from wasmtime import component

CONTRACT = "bellwether:plugin"
VERSION = "0.1.0"


class Value:
    """A record for the component: attributes by the names of the contract."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


def instantiate(path):
    """An instance of a component, with WASI and a `log` that goes to stderr."""
    engine = wasmtime.Engine()
    linker = component.Linker(engine)
    linker.add_wasip2()
    with linker.root() as root:
        with root.add_instance(f"{CONTRACT}/log@{VERSION}") as log:
            log.add_func("write", lambda _, level, text: print(f"log {level}: {text}", file=sys.stderr))
        with root.add_instance(f"{CONTRACT}/types@{VERSION}"):
            pass
    store = wasmtime.Store(engine)
    store.set_wasi(wasmtime.WasiConfig())
    return store, linker.instantiate(store, component.Component.from_file(engine, path))


def function(store, instance, interface, name):
    index = instance.get_export_index(store, f"{CONTRACT}/{interface}@{VERSION}")
    if index is None:
        sys.exit(f"expected an export {CONTRACT}/{interface}@{VERSION}, found none")
    found = instance.get_func(store, instance.get_export_index(store, name, index))

    def call(*values):
        answer = found(store, *values)
        found.post_return(store)
        if isinstance(answer, component.Variant):
            if answer.tag != "ok":
                sys.exit(f"{name} failed: {answer.tag}: {getattr(answer.payload, 'message', answer.payload)}")
            answer = answer.payload
        return answer

    return call


def batch(lines):
    """Lines as one text with the offset behind each, as the engine sends them."""
    ends, offset = [], 0
    for line in lines:
        offset += len(line.encode())
        ends.append(offset)
        offset += 1
    return Value(text="\n".join(lines), ends=ends, gap=1, received=0)


def parse(path, config):
    store, instance = instantiate(path)
    call = {
        name: function(store, instance, "log-parser", name)
        for name in ("describe", "configure", "parse", "flush")
    }
    call["describe"]()
    call["configure"](config)
    lines = sys.stdin.read().splitlines()
    given = batch(lines)
    for text, records in ((given.text, call["parse"](given)), ("", call["flush"]())):
        data = text.encode() + records.extra.encode()

        def cut(span):
            return data[span.start : span.end].decode()

        for entry in records.entries:
            fields = {records.names[field.name]: cut(field.value) for field in entry.fields}
            print(json.dumps({"line": entry.line, "time": entry.time, "level": entry.level,
                              "message": cut(entry.message), "fields": fields}))
        for line in records.unparsed:
            print(json.dumps({"line": line, "unparsed": lines[line]}))


def command(path, words):
    at = words.index("--") if "--" in words else len(words)
    variables, arguments = words[:at], words[at + 1 :]
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    with tempfile.NamedTemporaryFile() as stdin:
        stdin.write(sys.stdin.buffer.read())
        stdin.flush()
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["command", *arguments]
        wasi.env = [variable.split("=", 1) for variable in variables]
        wasi.stdin_file = stdin.name
        wasi.inherit_stdout()
        wasi.inherit_stderr()
        store.set_wasi(wasi)
        instance = linker.instantiate(store, wasmtime.Module.from_file(engine, path))
        try:
            instance.exports(store)["_start"](store)
        except wasmtime.ExitTrap as end:
            return end.code
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["parse", path]:
            parse(path, "{}")
        case ["parse", path, config]:
            parse(path, config)
        case ["command", path, *words]:
            sys.exit(command(path, words))
        case _:
            sys.exit(__doc__)
