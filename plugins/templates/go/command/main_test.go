package main

import "testing"

func TestJudge(t *testing.T) {
	cases := []struct {
		input, wanted string
		state         state
	}{
		{"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nall is well", "well", ok},
		{"HTTP/1.1 503 Busy\r\n\r\nall is well", "well", critical},
		{"HTTP/1.1 200 OK\r\n\r\nall is well", "no such", critical},
		{"all is well", "well", ok},
	}
	for _, c := range cases {
		if got, text := judge([]byte(c.input), c.wanted); got != c.state {
			t.Errorf("judge(%q, %q) = %v (%s), want %v", c.input, c.wanted, got, text, c.state)
		}
	}
}
