// A probe that asks a web page and judges status, body text and latency.

import * as contract from "./contract";
import { HttpAnswer, Metric, MetricSpec, NetError, State } from "./contract";
import { Config } from "./json";

export { cabi_realloc } from "./contract";

/** JSON Schema of the configuration: the web UI makes its form from it, and the
 * engine checks against it. `x-target` names what the probe talks to, so that
 * it can be granted. */
const SCHEMA = `{
"$schema": "https://json-schema.org/draft/2020-12/schema",
"type": "object", "additionalProperties": false, "required": ["url"],
"properties": {
  "url": {"type": "string", "x-target": "url", "description": "page to ask for", "examples": ["https://example.org/"]},
  "status": {"type": "integer", "default": 200, "description": "status expected"},
  "text": {"type": "string", "default": "", "description": "text that the body must contain"},
  "warn_ms": {"type": "number", "default": 500, "description": "this slow is a warning"},
  "critical_ms": {"type": "number", "default": 2000, "description": "this slow is critical"}
}}`;

/** The contract's `describe`. */
export function describe(): usize {
  return contract.manifest(
    "http-assemblyscript",
    "0.1.0",
    "asks a web page and judges status, text and latency",
    SCHEMA,
    ["net"],
    [
      new MetricSpec("latency_ms", "ms", "the whole exchange"),
      new MetricSpec("status", "1", "HTTP status code"),
      new MetricSpec("size_bytes", "By", "size of the body"),
    ],
  );
}

/** The contract's `check`. The fields of its request come one by one: strings
 * and lists as address and length. */
export function check(
  _check: usize, _checkLength: usize,
  _name: usize, _nameLength: usize,
  _address: usize, _addressLength: usize,
  _labels: usize, _labelsLength: usize,
  config: usize, configLength: usize,
  _now: i64, _deadline: i64, _timeoutMs: i32, _attempt: i32,
): usize {
  return judge(new Config(String.UTF8.decodeUnsafe(config, configLength)));
}

function judge(config: Config): usize {
  const answer = contract.http(config.string("url", ""));
  if (answer.failed) return judgeFailure(answer);

  const expected = <i32>config.number("status", 200);
  const text = config.string("text", "");
  const status = answer.status;
  const ms = <f64>answer.microseconds / 1000;
  let state = State.Critical;
  let summary: string;
  if (status != expected) {
    summary = `HTTP ${status}, expected ${expected}`;
  } else if (!answer.body.includes(text)) {
    summary = `HTTP ${status}, but the body lacks "${text}"`;
  } else {
    summary = `HTTP ${status} in ${<i64>Math.round(ms)} ms, ${answer.size} bytes`;
    if (ms < config.number("critical_ms", 2000)) {
      state = ms < config.number("warn_ms", 500) ? State.Ok : State.Warning;
    }
  }
  return contract.report(state, summary, [
    new Metric("latency_ms", ms),
    new Metric("status", status),
    new Metric("size_bytes", answer.size),
  ]);
}

/** A target that is down is a critical report. A missing grant and a wrong URL
 * are errors: nothing was judged. */
function judgeFailure(answer: HttpAnswer): usize {
  let summary: string;
  switch (answer.error) {
    case NetError.Denied: return contract.denied(answer.text);
    case NetError.Invalid: return contract.configProblem("/url", answer.text);
    case NetError.Timeout: summary = `timed out in ${answer.phase}`; break;
    case NetError.Resolve: summary = `name does not resolve: ${answer.text}`; break;
    case NetError.Refused: summary = "connection refused"; break;
    case NetError.Unreachable: summary = `unreachable: ${answer.text}`; break;
    case NetError.Closed: summary = `connection closed: ${answer.text}`; break;
    case NetError.Tls: summary = `TLS failed: ${answer.text}`; break;
    case NetError.Protocol: summary = `protocol error: ${answer.text}`; break;
    default: summary = `answer larger than ${answer.limit} bytes`;
  }
  return contract.report(State.Critical, summary, []);
}
