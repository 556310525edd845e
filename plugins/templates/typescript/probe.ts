// A probe that asks a web page and judges status, body text and latency.
//
// build.sh makes the types of `bellwether:plugin/…` from the contract: a wrong
// field or a forgotten case does not compile.

import { http } from "bellwether:plugin/net@0.1.0";
import type { Error as NetError, HttpResponse } from "bellwether:plugin/net@0.1.0";
import type { ProbeError, Report, State } from "bellwether:plugin/probe@0.1.0";
import { decode } from "./utf8.js";

/** The check's configuration. The engine has checked it against `schema`
 * before it comes here. */
interface Config {
  url: string;
  status: number;
  text: string;
  warn_ms: number;
  critical_ms: number;
}

const defaults = { status: 200, text: "", warn_ms: 500, critical_ms: 2000 };

/** JSON Schema of the configuration: the web UI makes its form from it.
 * `x-target` names what the probe talks to, so that it can be granted. */
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
    status: { type: "integer", default: defaults.status, description: "status expected" },
    text: { type: "string", default: defaults.text, description: "text that the body must contain" },
    warn_ms: { type: "number", default: defaults.warn_ms, description: "this slow is a warning" },
    critical_ms: { type: "number", default: defaults.critical_ms, description: "this slow is critical" },
  } satisfies Record<keyof Config, object>,
};

export const probe: typeof import("bellwether:plugin/probe@0.1.0") = {
  describe() {
    return {
      name: "http-typescript",
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
    const config: Config = { ...defaults, ...JSON.parse(request.config) };
    let answer: HttpResponse;
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
      // An import throws an Error whose payload is the error of the contract.
      return judgeFailure((error as { payload: NetError }).payload);
    }
    return judge(config, answer);
  },
};

function judge(config: Config, answer: HttpResponse): Report {
  const ms = answer.timings.total / 1000;
  const size = answer.body.length;
  let state: State = "critical";
  let summary: string;
  if (answer.status !== config.status) {
    summary = `HTTP ${answer.status}, expected ${config.status}`;
  } else if (!decode(answer.body).includes(config.text)) {
    summary = `HTTP ${answer.status}, but the body lacks "${config.text}"`;
  } else {
    summary = `HTTP ${answer.status} in ${ms.toFixed(0)} ms, ${size} bytes`;
    if (ms < config.critical_ms) state = ms < config.warn_ms ? "ok" : "warning";
  }
  const metrics = [
    { name: "latency_ms", value: ms },
    { name: "status", value: answer.status },
    { name: "size_bytes", value: size },
  ];
  return { state, summary, details: "", metrics };
}

/** A target that is down is a critical report. A missing grant and a wrong URL
 * are errors: nothing was judged. */
function judgeFailure(error: NetError): Report {
  const critical = (summary: string): Report => ({ state: "critical", summary, details: "", metrics: [] });
  switch (error.tag) {
    case "denied":
      throw { tag: "denied", val: error.val } satisfies ProbeError;
    case "invalid":
      throw { tag: "config", val: { pointer: "/url", message: error.val } } satisfies ProbeError;
    case "timeout":
      return critical(`timed out in ${error.val}`);
    case "resolve":
      return critical(`name does not resolve: ${error.val}`);
    case "refused":
      return critical("connection refused");
    case "unreachable":
      return critical(`unreachable: ${error.val}`);
    case "closed":
      return critical(`connection closed: ${error.val}`);
    case "tls":
      return critical(`TLS failed: ${error.val}`);
    case "protocol":
      return critical(`protocol error: ${error.val}`);
    case "too-large":
      return critical(`answer larger than ${error.val} bytes`);
  }
}
