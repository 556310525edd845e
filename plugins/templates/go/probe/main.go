// A probe that asks a web page and judges status, body text and latency.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unsafe"
)

// config is the check's configuration. The engine has checked it against the
// schema before it comes here.
type config struct {
	URL        string  `json:"url"`
	Status     uint16  `json:"status"`
	Text       string  `json:"text"`
	WarnMs     float64 `json:"warn_ms"`
	CriticalMs float64 `json:"critical_ms"`
}

// schema is JSON Schema of the configuration: the web UI makes its form from
// it. x-target names what the probe talks to, so that it can be granted.
const schema = `{
"$schema": "https://json-schema.org/draft/2020-12/schema",
"type": "object", "additionalProperties": false, "required": ["url"],
"properties": {
  "url": {"type": "string", "x-target": "url", "description": "page to ask for", "examples": ["https://example.org/"]},
  "status": {"type": "integer", "default": 200, "description": "status expected"},
  "text": {"type": "string", "default": "", "description": "text that the body must contain"},
  "warn_ms": {"type": "number", "default": 500, "description": "this slow is a warning"},
  "critical_ms": {"type": "number", "default": 2000, "description": "this slow is critical"}
}}`

//go:wasmexport describe
func describe() unsafe.Pointer {
	m := &manifest{
		name:         textOf("http-go"),
		version:      textOf("0.1.0"),
		summary:      textOf("asks a web page and judges status, text and latency"),
		configSchema: textOf(schema),
		capabilities: listOf(textOf("net")),
		metrics: listOf(
			metricSpec{textOf("latency_ms"), textOf("ms"), textOf("the whole exchange")},
			metricSpec{textOf("status"), textOf("1"), textOf("HTTP status code")},
			metricSpec{textOf("size_bytes"), textOf("By"), textOf("size of the body")},
		),
	}
	kept = append(kept, m)
	return unsafe.Pointer(m)
}

// check gets the fields of the contract's request one by one: strings and lists
// as address and length.
//
//go:wasmexport check
func check(
	_, _ uint32, // check
	_, _, _, _, _, _ uint32, // node: name, address, labels
	configAt, configLength uint32,
	_, _ int64, // now, deadline
	_, _ uint32, // timeout, attempt
) (result unsafe.Pointer) {
	// A panic would end in a trap without a word.
	defer func() {
		if why := recover(); why != nil {
			result = failed(fmt.Sprint("panic: ", why))
		}
	}()
	c := config{Status: 200, WarnMs: 500, CriticalMs: 2000}
	if err := json.Unmarshal(list{configAt, configLength}.bytes(), &c); err != nil {
		return configProblem("", err.Error())
	}
	request := &httpRequest{
		method:       textOf("GET"),
		url:          textOf(c.URL),
		maxRedirects: 10,
		maxBody:      1 << 20,
	}
	answer := &httpAnswer{}
	kept = append(kept, request, answer) // on the heap: a stack may move meanwhile
	netHTTP(unsafe.Pointer(request), unsafe.Pointer(answer))
	if answer.isError != 0 {
		return judgeFailure(answer.failure())
	}
	return reported(judge(c, &answer.response))
}

func judge(c config, answer *httpResponse) report {
	ms := float64(answer.total) / 1000
	body := answer.body.bytes()
	state, summary := critical, ""
	switch {
	case answer.status != c.Status:
		summary = fmt.Sprintf("HTTP %d, expected %d", answer.status, c.Status)
	case !bytes.Contains(body, []byte(c.Text)):
		summary = fmt.Sprintf(`HTTP %d, but the body lacks "%s"`, answer.status, c.Text)
	default:
		summary = fmt.Sprintf("HTTP %d in %.0f ms, %d bytes", answer.status, ms, len(body))
		if ms < c.WarnMs {
			state = ok
		} else if ms < c.CriticalMs {
			state = warning
		}
	}
	return report{
		state:   state,
		summary: textOf(summary),
		metrics: listOf(
			metric{textOf("latency_ms"), ms},
			metric{textOf("status"), float64(answer.status)},
			metric{textOf("size_bytes"), float64(len(body))},
		),
	}
}

// judgeFailure: a target that is down is a critical report. A missing grant and
// a wrong URL are errors: nothing was judged.
func judgeFailure(e *netError) unsafe.Pointer {
	summary := ""
	switch e.tag {
	case netDenied:
		return denied(e.text())
	case netInvalid:
		return configProblem("/url", e.text())
	case netTimeout:
		summary = "timed out in " + e.phase()
	case netResolve:
		summary = "name does not resolve: " + e.text()
	case netRefused:
		summary = "connection refused"
	case netUnreachable:
		summary = "unreachable: " + e.text()
	case netClosed:
		summary = "connection closed: " + e.text()
	case netTLS:
		summary = "TLS failed: " + e.text()
	case netProtocol:
		summary = "protocol error: " + e.text()
	case netTooLarge:
		summary = fmt.Sprintf("answer larger than %d bytes", e.payload)
	}
	return reported(report{state: critical, summary: textOf(summary)})
}

// The engine calls the exported functions; Go wants a main all the same.
func main() {}
