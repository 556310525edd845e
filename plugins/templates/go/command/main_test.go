package main

import "testing"

func TestJudge(t *testing.T) {
	cases := []struct {
		status, body, wanted string
		state                state
	}{
		{"200", "all is well", "well", ok},
		{"503", "all is well", "well", critical},
		{"200", "all is well", "no such", critical},
		{"200", "", "", ok},
	}
	for _, c := range cases {
		if got, text := judge(c.status, []byte(c.body), c.wanted); got != c.state {
			t.Errorf("judge(%q, %q, %q) = %v (%s), want %v", c.status, c.body, c.wanted, got, text, c.state)
		}
	}
}
