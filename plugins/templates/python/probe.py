"""A probe that asks a web page and judges status, body text and latency.

The modules `wit_world` and `componentize_py_types` are made from the contract
when the component is built. Import at module level: what is imported during the
build is in the component already, and a check starts at once.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.probe import (
    ProbeError_Config,
    ProbeError_Denied,
    Report,
    Request,
)
from wit_world.imports import net
from wit_world.imports.types import ConfigProblem, Manifest, Metric, MetricSpec, State

# JSON Schema of the configuration: the web UI makes its form from it, and the
# engine checks against it. `x-target` names what the probe talks to, so that it
# can be granted.
SCHEMA = """{
"$schema": "https://json-schema.org/draft/2020-12/schema",
"type": "object", "additionalProperties": false, "required": ["url"],
"properties": {
  "url": {"type": "string", "x-target": "url", "description": "page to ask for", "examples": ["https://example.org/"]},
  "status": {"type": "integer", "default": 200, "description": "status expected"},
  "text": {"type": "string", "default": "", "description": "text that the body must contain"},
  "warn_ms": {"type": "number", "default": 500, "description": "this slow is a warning"},
  "critical_ms": {"type": "number", "default": 2000, "description": "this slow is critical"}
}}"""
DEFAULTS = {
    key: value["default"]
    for key, value in json.loads(SCHEMA)["properties"].items()
    if "default" in value
}


class Probe(exports.Probe):
    def describe(self) -> Manifest:
        return Manifest(
            name="http-python",
            version="0.1.0",
            summary="asks a web page and judges status, text and latency",
            config_schema=SCHEMA,
            capabilities=["net"],
            metrics=[
                MetricSpec("latency_ms", "ms", "the whole exchange"),
                MetricSpec("status", "1", "HTTP status code"),
                MetricSpec("size_bytes", "By", "size of the body"),
            ],
        )

    def check(self, request: Request) -> Report:
        config = DEFAULTS | json.loads(request.config)
        ask = net.HttpRequest(
            method="GET",
            url=config["url"],
            headers=[],
            secret_headers=[],
            body=None,
            max_redirects=10,
            max_body=1 << 20,
            tls=None,
        )
        try:
            answer = net.http(ask)
        except Err as error:
            return judge_failure(error.value)
        return judge(config, answer)


def judge(config: dict, answer: net.HttpResponse) -> Report:
    """Judges an answer; apart from `check`, so that a test can call it."""
    ms = answer.timings.total / 1000
    size = len(answer.body)
    if answer.status != config["status"]:
        state = State.CRITICAL
        summary = f"HTTP {answer.status}, expected {config['status']}"
    elif config["text"].encode() not in answer.body:
        state = State.CRITICAL
        summary = f'HTTP {answer.status}, but the body lacks "{config["text"]}"'
    else:
        summary = f"HTTP {answer.status} in {ms:.0f} ms, {size} bytes"
        if ms >= config["critical_ms"]:
            state = State.CRITICAL
        elif ms >= config["warn_ms"]:
            state = State.WARNING
        else:
            state = State.OK
    metrics = [
        Metric("latency_ms", ms),
        Metric("status", float(answer.status)),
        Metric("size_bytes", float(size)),
    ]
    return Report(state, summary, "", metrics)


def judge_failure(error: net.Error) -> Report:
    """A target that is down is a critical report. A missing grant and a wrong
    URL are errors: nothing was judged."""
    match error:
        case net.Error_Denied(what):
            raise Err(ProbeError_Denied(what))
        case net.Error_Invalid(text):
            raise Err(ProbeError_Config(ConfigProblem("/url", text)))
        case net.Error_Timeout(phase):
            summary = f"timed out in {phase.name.lower().replace('_', '-')}"
        case net.Error_Refused():
            summary = "connection refused"
        case net.Error_Resolve(text):
            summary = f"name does not resolve: {text}"
        case net.Error_Unreachable(text):
            summary = f"unreachable: {text}"
        case net.Error_Closed(text):
            summary = f"connection closed: {text}"
        case net.Error_Tls(text):
            summary = f"TLS failed: {text}"
        case net.Error_Protocol(text):
            summary = f"protocol error: {text}"
        case net.Error_TooLarge(limit):
            summary = f"answer larger than {limit} bytes"
    return Report(State.CRITICAL, summary, "", [])
