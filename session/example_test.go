package session_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"agent/backend"
	"agent/command"
	"agent/command/stock"
	"agent/session"
)

// server stands for the service that the health check asks.
func server() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret-t0ken" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
}

// scripted is a model that gives these replies, and lets the examples print
// the same each time. Any other backend goes in its place.
func scripted(replies ...string) backend.LanguageBackend {
	return backend.NewScripted(backend.ScriptedConfig{Replies: replies})
}

// A health check as a command of the agent: its input is a struct, and its token
// comes from the metadata, which no model, log or event sees.
func Example_healthCheck() {
	service := server()
	defer service.Close()
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)

	type check struct {
		Path string `json:"path" help:"which part of the service, such as /health"`
	}
	health := command.Typed(command.Spec{Name: "health", Description: "Check whether the service works.", Effect: command.EffectNetwork},
		func(ctx context.Context, env *command.Env, in check) (*command.Result, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, service.URL+in.Path, nil)
			if err != nil {
				return nil, err
			}
			req.Header.Set("Authorization", "Bearer "+env.Metadata["service_token"])
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return nil, err
			}
			defer res.Body.Close()
			return &command.Result{Text: in.Path + " says " + res.Status, Failed: res.StatusCode != http.StatusOK}, nil
		})

	registry, _ := stock.Standard()
	_ = registry.Register(health)
	s, err := session.New(session.Options{
		Backend: scripted(
			`{"command": "health", "content": [{"path": "/health"}]}`,
			`{"command": "answer", "content": [{"text": "The service works."}]}`,
		),
		Registry: registry, Approve: session.ApproveAuto,
		Env:  &command.Env{WorkDir: dir, Metadata: map[string]string{"service_token": "s3cret-t0ken"}},
		Sink: printResults,
	})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	result, err := s.Run(context.Background(), "Does the service work?")
	fmt.Println(result.Answer, err)
	// Output:
	// health: /health says 200 OK
	// The service works. <nil>
}

// printResults is a sink: it is told all that happens in a run.
func printResults(ev session.Event) {
	switch e := ev.Data.(type) {
	case *session.CommandResult:
		fmt.Printf("%s: %s\n", e.Command, e.Text)
	case *session.Approval:
		if !e.Allowed {
			fmt.Printf("%s was rejected: %s\n", e.Command, e.Reason)
		}
	}
}

// An overseer has a second look at what would change something. Here it is a
// Go function that lets nobody touch the contract; the model is told why, and
// finds another way.
func Example_overseer() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	_ = os.WriteFile(filepath.Join(dir, "contract.txt"), []byte("signed"), 0o644)

	guard := func(_ context.Context, p *session.Proposal) (session.Verdict, error) {
		for _, entry := range p.Call.Content {
			if filepath.Clean(fmt.Sprint(entry["file"])) == "contract.txt" {
				return session.Verdict{Reason: "the contract is signed; write a note beside it"}, nil
			}
		}
		return session.Verdict{Approve: true}, nil
	}

	registry, _ := stock.Standard()
	s, err := session.New(session.Options{
		Backend: scripted(
			`{"command": "writer", "content": [{"file": "contract.txt", "text": "changed"}]}`,
			`{"command": "writer", "content": [{"file": "note.txt", "text": "please change"}]}`,
			`{"command": "answer", "content": [{"text": "I left a note."}]}`,
		),
		Registry: registry, Env: &command.Env{WorkDir: dir}, Approve: session.ApproveAuto, Overseer: guard, Sink: printResults,
	})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	result, err := s.Run(context.Background(), "Change the contract.")
	contract, _ := os.ReadFile(filepath.Join(dir, "contract.txt"))
	fmt.Println(result.Answer, err)
	fmt.Printf("the contract is %s\n", contract)
	// Output:
	// writer was rejected: the contract is signed; write a note beside it
	// writer: Created note.txt: 1 line, 13 bytes.
	// I left a note. <nil>
	// the contract is signed
}

// Two agents, each with its own model, commands and limits: one works on the
// task, and asks the other, which knows the files, by a command.
func Example_twoAgents() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	_ = os.WriteFile(filepath.Join(dir, "prices.csv"), []byte("tea,3\ncoffee,4\n"), 0o644)

	clerkCommands, _ := stock.Standard()
	for _, name := range []string{"writer", "python"} { // the clerk only reads
		_ = clerkCommands.Disable(name)
	}
	type question struct {
		Question string `json:"question" help:"what the clerk should find out"`
	}
	clerk := command.Typed(command.Spec{Name: "ask_clerk", Description: "Ask the clerk, who knows the files.", Effect: command.EffectRead},
		func(ctx context.Context, env *command.Env, in question) (*command.Result, error) {
			s, err := session.New(session.Options{
				Backend: scripted(
					`{"command": "reader", "content": [{"file": "prices.csv"}]}`,
					`{"command": "answer", "content": [{"text": "Tea is 3."}]}`,
				),
				Registry: clerkCommands, Env: &command.Env{WorkDir: env.WorkDir}, Approve: session.ApproveNever,
				Limits: session.Limits{StepsMax: 5}, Sink: func(ev session.Event) {
					if call, ok := ev.Data.(*session.CallMade); ok {
						fmt.Println("  clerk:", call.Command)
					}
				},
			})
			if err != nil {
				return nil, err
			}
			defer s.Close()
			result, err := s.Run(ctx, in.Question)
			if err != nil {
				return nil, err
			}
			return &command.Result{Text: result.Answer, Failed: result.Stop != session.StopAnswered}, nil
		})

	registry, _ := stock.Standard()
	_ = registry.Register(clerk)
	s, err := session.New(session.Options{
		Backend: scripted(
			`{"command": "ask_clerk", "content": [{"question": "What does tea cost?"}]}`,
			`{"command": "answer", "content": [{"text": "Two cups of tea are 6."}]}`,
		),
		Registry: registry, Env: &command.Env{WorkDir: dir}, Approve: session.ApproveAuto, Sink: printResults,
	})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	result, err := s.Run(context.Background(), "What do two cups of tea cost?")
	fmt.Println(strings.TrimSpace(result.Answer), err)
	// Output:
	//   clerk: reader
	//   clerk: answer
	// ask_clerk: Tea is 3.
	// Two cups of tea are 6. <nil>
}
