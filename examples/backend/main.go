// Backend talks to a model of its own making, which package shout is:
//
//	go run ./examples/backend "can you hear me"
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"agent/backend"
	"agent/examples/backend/shout"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: backend WORDS…")
		os.Exit(2)
	}
	if err := talk(context.Background(), os.Stdout, strings.Join(os.Args[1:], " ")); err != nil {
		fmt.Fprintln(os.Stderr, "backend:", err)
		os.Exit(1)
	}
}

// talk prints the reply piece by piece, as it comes.
func talk(ctx context.Context, w io.Writer, words string) error {
	model := &shout.Model{Length: 1000}
	request := &backend.Request{Messages: []backend.Message{{Role: backend.RoleUser, Content: words}}}
	for delta, err := range model.ChatCompletion(ctx, request) {
		if err != nil {
			return err
		}
		fmt.Fprint(w, delta.Text)
	}
	fmt.Fprintln(w)
	return nil
}
