// Serve puts a local model behind OpenAI's protocol until Ctrl-C:
//
//	go run ./examples/serve model.gguf 127.0.0.1:8080
//	curl http://127.0.0.1:8080/v1/chat/completions -d '{"messages":[{"role":"user","content":"Hello"}]}'
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"

	"agent/backend"
	"agent/backend/hf"
	"agent/internal/serve"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: serve MODEL.gguf ADDRESS")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, model, address string) error {
	b, err := hf.Open(ctx, hf.Config{Path: model, Parallel: 4})
	if err != nil {
		return err
	}
	defer b.Close()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("serving", b.ModelID(), "at http://"+l.Addr().String()+"/v1")
	return listen(ctx, b, l)
}

// listen serves any backend until ctx ends. Beyond loopback it wants an APIKey.
func listen(ctx context.Context, b backend.LanguageBackend, l net.Listener) error {
	s, err := serve.New(b, serve.Config{ModelNames: []string{"local"}})
	if err != nil {
		return err
	}
	return s.Serve(ctx, l)
}
