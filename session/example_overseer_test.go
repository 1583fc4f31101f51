package session_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"agent/backend"
	"agent/command"
	"agent/command/stock"
	"agent/session"
)

// An overseer of one's own: it lets the agent write, but no secrets.
func ExampleOverseer() {
	overseer := func(_ context.Context, p *session.Proposal) (session.Verdict, error) {
		if strings.Contains(strings.ToLower(p.Preview), "password") {
			return session.Verdict{Reason: "passwords don't belong in files."}, nil
		}
		return session.Verdict{Approve: true}, nil
	}

	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	commands, err := stock.Standard()
	if err != nil {
		panic(err)
	}
	s, err := session.New(session.Options{
		Backend: backend.NewScripted(backend.ScriptedConfig{Replies: []string{ // in the place of a model
			`{"command": "writer", "summary": "", "content": [{"file": "notes.txt", "text": "The password is 1234."}]}`,
			`{"command": "answer", "summary": "", "content": [{"text": "I was not allowed to."}]}`,
		}}),
		Registry: commands,
		Env:      &command.Env{WorkDir: dir},
		Approve:  session.ApproveAuto,
		Overseer: overseer,
		Sink: func(ev session.Event) {
			if a, ok := ev.Data.(*session.Approval); ok {
				fmt.Printf("%s, %s: allowed=%v%s\n", a.Command, a.By, a.Allowed, strings.TrimRight(" "+a.Reason, " "))
			}
		},
	})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	result, err := s.Run(context.Background(), "Write the password to notes.txt")
	if err != nil {
		panic(err)
	}
	fmt.Println(result.Stop, result.Answer)
	// Output:
	// writer, mode: allowed=true
	// writer, overseer: allowed=false passwords don't belong in files.
	// refused I was not allowed to.
}
