// A log parser for lines like
//
//     2026-03-01T12:00:00Z ERROR payment failed order=17 shop=north
//
// time, level, message, and key=value words at the end. A line without time
// and level is reported as unparsed; the engine keeps it as plain text.
//
// Text goes back as ranges of the batch in bytes of UTF-8, while JavaScript
// counts in UTF-16. So the batch is split as bytes, and only what must be read
// (time, level, names) becomes a string.

import { decode, encode } from "../utf8.js";

const levels = {
  TRACE: "trace",
  DEBUG: "debug",
  INFO: "info",
  NOTICE: "notice",
  WARN: "warning",
  WARNING: "warning",
  ERROR: "error",
  FATAL: "critical",
  CRITICAL: "critical",
};
const SPACE = 0x20;
const EQUALS = 0x3d;

export const logParser = {
  describe() {
    return {
      name: "app-log-javascript",
      version: "0.1.0",
      summary: "time, level, message, key=value",
      configSchema: JSON.stringify({
        $schema: "https://json-schema.org/draft/2020-12/schema",
        type: "object",
        additionalProperties: false,
        properties: {},
      }),
      capabilities: [],
      metrics: [],
    };
  },

  // There is nothing to configure.
  configure(_config) {},

  parse(batch) {
    const text = encode(batch.text);
    const names = new Map();
    const entries = [];
    const unparsed = [];
    let start = 0;
    batch.ends.forEach((end, number) => {
      if (start < end) {
        const entry = readLine(text, start, end, number, names);
        if (entry) entries.push(entry);
        else unparsed.push(number);
      }
      start = end + batch.gap;
    });
    return { extra: "", names: [...names.keys()], entries, unparsed, held: 0 };
  },

  // Nothing is held back between batches.
  flush() {
    return { extra: "", names: [], entries: [], unparsed: [], held: 0 };
  },
};

// Undefined where the line does not begin with a time and a level.
function readLine(text, start, end, line, names) {
  const cut = (from, to) => decode(text.subarray(from, to));
  const find = (byte, from, to) => {
    const at = text.subarray(from, to).indexOf(byte);
    return at < 0 ? -1 : from + at;
  };

  const afterTime = find(SPACE, start, end);
  const afterLevel = afterTime < 0 ? -1 : find(SPACE, afterTime + 1, end);
  if (afterLevel < 0) return undefined;
  const level = levels[cut(afterTime + 1, afterLevel)];
  const time = readTime(cut(start, afterTime));
  if (level === undefined || time === undefined) return undefined;

  // Words are taken from the end for as long as they are key=value.
  const fields = [];
  let tail = end;
  for (let at = end - 1; at > afterLevel; at--) {
    if (text[at] !== SPACE) continue;
    const equals = find(EQUALS, at + 1, tail);
    if (equals < 0) break;
    fields.unshift([cut(at + 1, equals), { start: equals + 1, end: tail }]);
    tail = at;
  }
  return {
    line,
    time,
    level,
    message: { start: afterLevel + 1, end: tail },
    fields: fields.map(([name, value]) => {
      if (!names.has(name)) names.set(name, names.size);
      return { name: names.get(name), value };
    }),
  };
}

// Microseconds since 1970, exact to the microsecond; undefined where it is no
// RFC 3339 time. Date alone would cut to milliseconds.
function readTime(text) {
  const parts = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  if (!parts) return undefined;
  const ms = Date.parse(parts[1] + parts[3]);
  if (Number.isNaN(ms)) return undefined;
  return ms * 1000 + Number((parts[2] ?? "").padEnd(6, "0").slice(0, 6));
}
