package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"agent/backend"
)

func TestWork(t *testing.T) {
	b := backend.NewScripted(backend.ScriptedConfig{Replies: []string{
		`{"command": "price", "content": [{"name": "pen"}]}`,
		`{"command": "answer", "content": [{"text": "A pen costs 1.20."}]}`,
	}})
	var out bytes.Buffer
	if err := work(context.Background(), b, &out, "What does a pen cost?"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"price name: pen", "pen: 1.20", "A pen costs 1.20."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
