package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"agent/backend"
)

func TestListen(t *testing.T) {
	b := backend.NewScripted(backend.ScriptedConfig{Replies: []string{"Good morning."}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- listen(ctx, b, l) }()
	body := strings.NewReader(`{"messages":[{"role":"user","content":"Hello"}]}`)
	res, err := http.Post("http://"+l.Addr().String()+"/v1/chat/completions", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if reply, _ := io.ReadAll(res.Body); !strings.Contains(string(reply), "Good morning.") {
		t.Errorf("%s: %s", res.Status, reply)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
