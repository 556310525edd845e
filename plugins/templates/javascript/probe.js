// A probe that asks a web page and judges status, body text and latency.
//
// The contract's interfaces are modules here: imports by their full name, the
// exported one as an object. Names are in camelCase, variants are
// { tag, val }, enumerations are strings. A result is returned or thrown: an
// import throws an Error whose payload is the error of the contract.

import { http } from "bellwether:plugin/net@0.1.0";
import { decode } from "./utf8.js";

// JSON Schema of the configuration: the web UI makes its form from it, and the
// engine checks against it. `x-target` names what the probe talks to, so that
// it can be granted.
const schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  additionalProperties: false,
  required: ["url"],
  properties: {
    url: {
      type: "string",
      "x-target": "url",
      description: "page to ask for",
      examples: ["https://example.org/"],
    },
    status: { type: "integer", default: 200, description: "status expected" },
    text: { type: "string", default: "", description: "text that the body must contain" },
    warn_ms: { type: "number", default: 500, description: "this slow is a warning" },
    critical_ms: { type: "number", default: 2000, description: "this slow is critical" },
  },
};
const defaults = Object.fromEntries(
  Object.entries(schema.properties).map(([key, value]) => [key, value.default]),
);

export const probe = {
  describe() {
    return {
      name: "http-javascript",
      version: "0.1.0",
      summary: "asks a web page and judges status, text and latency",
      configSchema: JSON.stringify(schema),
      capabilities: ["net"],
      metrics: [
        { name: "latency_ms", unit: "ms", description: "the whole exchange" },
        { name: "status", unit: "1", description: "HTTP status code" },
        { name: "size_bytes", unit: "By", description: "size of the body" },
      ],
    };
  },

  check(request) {
    const config = { ...defaults, ...JSON.parse(request.config) };
    let answer;
    try {
      answer = http({
        method: "GET",
        url: config.url,
        headers: [],
        secretHeaders: [],
        maxRedirects: 10,
        maxBody: 1 << 20,
      });
    } catch (error) {
      return judgeFailure(error.payload);
    }
    return judge(config, answer);
  },
};

function judge(config, answer) {
  const ms = answer.timings.total / 1000;
  const body = decode(answer.body);
  const size = answer.body.length;
  let state = "critical";
  let summary;
  if (answer.status !== config.status) {
    summary = `HTTP ${answer.status}, expected ${config.status}`;
  } else if (!body.includes(config.text)) {
    summary = `HTTP ${answer.status}, but the body lacks "${config.text}"`;
  } else {
    summary = `HTTP ${answer.status} in ${ms.toFixed(0)} ms, ${size} bytes`;
    if (ms < config.critical_ms) state = ms < config.warn_ms ? "ok" : "warning";
  }
  return {
    state,
    summary,
    details: "",
    metrics: [
      { name: "latency_ms", value: ms },
      { name: "status", value: answer.status },
      { name: "size_bytes", value: size },
    ],
  };
}

// A target that is down is a critical report. A missing grant and a wrong URL
// are errors: nothing was judged.
function judgeFailure({ tag, val }) {
  const summaries = {
    timeout: `timed out in ${val}`,
    resolve: `name does not resolve: ${val}`,
    refused: "connection refused",
    unreachable: `unreachable: ${val}`,
    closed: `connection closed: ${val}`,
    tls: `TLS failed: ${val}`,
    protocol: `protocol error: ${val}`,
    "too-large": `answer larger than ${val} bytes`,
  };
  if (tag === "denied") throw { tag: "denied", val };
  if (tag === "invalid") throw { tag: "config", val: { pointer: "/url", message: val } };
  return { state: "critical", summary: summaries[tag], details: "", metrics: [] };
}
