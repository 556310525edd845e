// A check as a WASI command: it judges the answer of a web server that the
// engine fetched (`input:` on the check) and handed to standard input.
//
// It follows the monitoring-plugins convention: one line
// `STATE - text | metrics` and an exit code from 0 (ok) to 3 (unknown).
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
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
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Printf("%v - cannot read standard input: %v\n", unknown, err)
		os.Exit(int(unknown))
	}
	result, text := judge(input, wanted)
	fmt.Printf("%v - %s\n", result, text)
	os.Exit(int(result))
}

// judge is apart from main, so that tests can call it.
func judge(input []byte, wanted string) (state, string) {
	status, body := split(input)
	size := len(body)
	switch {
	case status != 200:
		return critical, fmt.Sprintf("HTTP %d, expected 200 | size_bytes=%dB", status, size)
	case !bytes.Contains(body, []byte(wanted)):
		return critical, fmt.Sprintf("the body lacks %q | size_bytes=%dB", wanted, size)
	}
	return ok, fmt.Sprintf("%d bytes as expected | size_bytes=%dB", size, size)
}

// split takes an answer apart. Without a status line it is a body alone.
func split(input []byte) (status int, body []byte) {
	head, body, found := bytes.Cut(input, []byte("\r\n\r\n"))
	if !found || !bytes.HasPrefix(head, []byte("HTTP/")) {
		return 200, input
	}
	words := strings.Fields(string(head))
	if len(words) > 1 {
		status, _ = strconv.Atoi(words[1])
	}
	return status, body
}
