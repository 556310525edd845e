// The same judgement as a WASI command: no bindings, only standard streams.
//
// The engine fetches the page (`input:` on the check), hands the body to
// standard input and tells the rest in the environment. The program follows the
// monitoring-plugins convention: one line `STATE - text | metrics` and an exit
// code from 0 (ok) to 3 (unknown).
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

type state int

const (
	ok state = iota
	warning
	critical
	unknown
)

func (s state) String() string {
	return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[s]
}

func main() {
	// The first argument is text that the body must contain.
	wanted := ""
	if len(os.Args) > 1 {
		wanted = os.Args[1]
	}
	status, found := os.LookupEnv("HTTP_STATUS")
	if !found {
		status = "200"
	}
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Printf("%v - cannot read standard input: %v\n", unknown, err)
		os.Exit(int(unknown))
	}
	result, text := judge(status, body, wanted)
	metrics := fmt.Sprintf("size=%dB", len(body))
	if ms, found := os.LookupEnv("TIME_TOTAL_MS"); found {
		metrics += fmt.Sprintf(" latency=%sms", ms)
	}
	fmt.Printf("%v - %s | %s\n", result, text, metrics)
	os.Exit(int(result))
}

// judge is apart from main, so that tests can call it.
func judge(status string, body []byte, wanted string) (state, string) {
	if status != "200" {
		return critical, fmt.Sprintf("HTTP %s, expected 200", status)
	}
	if !bytes.Contains(body, []byte(wanted)) {
		return critical, fmt.Sprintf(`the body lacks "%s"`, wanted)
	}
	return ok, fmt.Sprintf("%d bytes as expected", len(body))
}
