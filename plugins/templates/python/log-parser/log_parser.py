"""A log parser for lines like

    2026-03-01T12:00:00Z ERROR payment failed order=17 shop=north

time, level, message, and `key=value` words at the end. A line without time and
level is reported as unparsed; the engine keeps it as plain text.

Text goes back as byte ranges of the batch, so everything here works on bytes.
"""

from datetime import datetime, timedelta, timezone

from wit_world import exports
from wit_world.exports.log_parser import Batch, Entry, Field, Records, Span
from wit_world.imports.types import Level, Manifest

SCHEMA = """{
"$schema": "https://json-schema.org/draft/2020-12/schema",
"type": "object", "additionalProperties": false, "properties": {}}"""

LEVELS = {
    b"TRACE": Level.TRACE,
    b"DEBUG": Level.DEBUG,
    b"INFO": Level.INFO,
    b"NOTICE": Level.NOTICE,
    b"WARN": Level.WARNING,
    b"WARNING": Level.WARNING,
    b"ERROR": Level.ERROR,
    b"FATAL": Level.CRITICAL,
    b"CRITICAL": Level.CRITICAL,
}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)


class LogParser(exports.LogParser):
    def describe(self) -> Manifest:
        return Manifest(
            name="app-log-python",
            version="0.1.0",
            summary="time, level, message, key=value",
            config_schema=SCHEMA,
            capabilities=[],
            metrics=[],
        )

    def configure(self, config: str) -> None:
        """There is nothing to configure."""

    def parse(self, batch: Batch) -> Records:
        text = batch.text.encode()
        names: dict[str, int] = {}
        entries, unparsed, start = [], [], 0
        for number, end in enumerate(batch.ends):
            if start < end:
                entry = read_line(text, start, end, number, names)
                if entry:
                    entries.append(entry)
                else:
                    unparsed.append(number)
            start = end + batch.gap
        return Records(extra="", names=list(names), entries=entries, unparsed=unparsed, held=0)

    def flush(self) -> Records:
        """Nothing is held back between batches."""
        return Records(extra="", names=[], entries=[], unparsed=[], held=0)


def read_line(
    text: bytes, start: int, end: int, number: int, names: dict[str, int]
) -> Entry | None:
    """None where the line does not begin with a time and a level."""
    words = text[start:end].split(b" ", 2)
    level = LEVELS.get(words[1]) if len(words) == 3 else None
    if level is None:
        return None
    try:
        time = datetime.fromisoformat(words[0].decode())
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    # Words are taken from the end for as long as they are key=value.
    message, tail, fields = end - len(words[2]), end, []
    while (space := text.rfind(b" ", message, tail)) >= 0:
        key, equals, value = text[space + 1 : tail].partition(b"=")
        if not equals:
            break
        fields.append((key.decode(), Span(tail - len(value), tail)))
        tail = space
    return Entry(
        line=number,
        time=(time - EPOCH) // MICROSECOND,
        level=level,
        message=Span(message, tail),
        fields=[Field(names.setdefault(key, len(names)), span) for key, span in reversed(fields)],
    )
