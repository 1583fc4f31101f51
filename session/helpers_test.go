package session

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/command"
)

// aboutTask begins what the questions about a task are put to.
const aboutTask = "Somebody works on this task"

// parametersOfTests is a size at which all aids are on.
const parametersOfTests = 1_500_000_000

// model is a backend that follows a script and remembers what it was asked.
type model struct {
	*backend.Scripted
	t        *testing.T
	mu       sync.Mutex
	script   []string // replies and choices, in the order in which they are asked for
	requests []backend.Request
	onAsk    func(n int) error      // called before the n-th answer, from 0
	summary  func() (string, error) // answers requests for a summary, beside the script
	summed   int
	condense func(*backend.Request) (string, error) // answers requests about a part of a long result
	offered  func(options string)                   // told each choice of a command
	kinds    []string                               // questions about the kind of the task, beside the script
	isOfKind bool                                   // their answer
	yes      []string                               // words of the questions about the task that get a yes; nil: it can't tell
	result   string                                 // the file in which the result stands
	asked    int                                    // questions about the task
}

// newModel scripts a model that can do slots, or plain chat with text.
func newModel(t *testing.T, slots bool, script ...string) *model {
	return newModelOf(t, 8192, slots, script...)
}

func newModelOf(t *testing.T, contextLength int, slots bool, script ...string) *model {
	return newModelSized(t, parametersOfTests, contextLength, slots, script...)
}

func newModelSized(t *testing.T, parameters int64, contextLength int, slots bool, script ...string) *model {
	m := &model{t: t, script: script, summary: func() (string, error) { return "SUMMARY", nil }}
	claims := backend.Capabilities{}
	if slots {
		claims = backend.Capabilities{Prefill: true, ExactChoice: true, Grammar: true, Schema: true}
	}
	m.Scripted = backend.NewScripted(backend.ScriptedConfig{
		ModelID: "script", ContextLength: contextLength, Parameters: parameters, Claims: &claims,
		Reply: func(_ context.Context, req *backend.Request) (string, error) { return m.next(req) },
		Choose: func(_ context.Context, req *backend.Request, options []backend.Option) (*backend.Choice, error) {
			if c := m.kind(req, options); c != nil {
				return c, nil
			}
			if about := req.Messages[0].Content; strings.HasPrefix(about, aboutTask) {
				return m.understand(about, options)
			}
			want, err := m.next(req)
			if err != nil {
				return nil, err
			}
			if m.offered != nil && strings.HasSuffix(req.Prefill, "Command:") {
				var texts []string
				for _, o := range options {
					texts = append(texts, o.Text)
				}
				m.offered(strings.Join(texts, "|"))
			}
			return backend.ChooseOption("scripted", want, options)
		},
	})
	return m
}

// kind answers a question about the kind of the task; nil: it is none.
func (m *model) kind(req *backend.Request, options []backend.Option) *backend.Choice {
	last := req.Messages[len(req.Messages)-1].Content
	if req.Prefill != "" || !strings.HasSuffix(last, "? Reply yes or no.") || !strings.Contains(last, "\n\nDoes the task ask") {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kinds = append(m.kinds, last[strings.LastIndex(last, "\n")+1:])
	c, _ := backend.ChooseOption("scripted", map[bool]string{true: "yes", false: "no"}[m.isOfKind], options)
	return c
}

// understand answers a question about the task.
func (m *model) understand(about string, options []backend.Option) (*backend.Choice, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	choice := &backend.Choice{Method: "logits", Margin: 5}
	for i, o := range options {
		said := o.Text == m.result
		if o.Text == "yes" || o.Text == "no" {
			said = (o.Text == "yes") == slices.ContainsFunc(m.yes, func(word string) bool { return strings.Contains(about, word) })
		}
		logprob := -5.0
		if said {
			choice.Index, logprob = i, 0
		}
		if m.yes == nil {
			logprob = math.NaN()
		}
		choice.Options = append(choice.Options, backend.ScoredOption{Text: o.Text, Logprob: logprob})
	}
	return choice, nil
}

func (m *model) Unwrap() backend.LanguageBackend { return m.Scripted }

func (m *model) next(req *backend.Request) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.HasPrefix(req.Messages[0].Content, "You shorten the log") {
		m.summed++
		return m.summary()
	}
	if strings.HasPrefix(req.Messages[0].Content, "You read a part") {
		return m.condense(req)
	}
	n := len(m.requests)
	m.requests = append(m.requests, *req)
	if m.onAsk != nil {
		if err := m.onAsk(n); err != nil {
			return "", err
		}
	}
	for _, msg := range req.Messages {
		assert.NotContains(m.t, msg.Content, "template:", "a prompt template failed")
		assert.NotContains(m.t, msg.Content, "<no value>")
	}
	if n >= len(m.script) {
		return "", fmt.Errorf("request %d: %w; it ends:\n%s", n, backend.ErrScriptEnded, tail(prompt(req), 300))
	}
	return m.script[n], nil
}

// prompt is a request as one text.
func prompt(req *backend.Request) string {
	var b strings.Builder
	for _, m := range req.Messages {
		fmt.Fprintf(&b, "<%s>\n%s\n</>\n", m.Role, m.Content)
	}
	b.WriteString("<assistant>\n" + req.Prefill)
	return b.String()
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// testCommands are small real commands: they read and write the work dir.
func testCommands(t *testing.T, more ...command.Command) *command.Registry {
	reg := command.NewRegistry()
	for _, c := range append([]command.Command{
		command.Func(command.Spec{
			Name: "reader", Description: "reads a file", Effect: command.EffectRead,
			Slots: []command.Slot{{Name: "file", Help: "which file", Kind: command.SlotFile}},
		}, func(_ context.Context, env *command.Env, call *command.Call) (*command.Result, error) {
			data, err := os.ReadFile(filepath.Join(env.WorkDir, field(call, "file")))
			if err != nil {
				return &command.Result{Text: "no such file", Failed: true}, nil
			}
			return &command.Result{Text: string(data)}, nil
		}),
		command.Func(command.Spec{
			Name: "writer", Description: "writes a file", Effect: command.EffectWrite,
			Slots: []command.Slot{
				{Name: "path", Help: "which file", Kind: command.SlotLine},
				{Name: "text", Help: "its whole text", Kind: command.SlotText},
			},
		}, func(_ context.Context, env *command.Env, call *command.Call) (*command.Result, error) {
			path := field(call, "path")
			if strings.Contains(path, "..") {
				return nil, errors.New("writer: outside of the work dir")
			}
			return &command.Result{Text: "written", Files: []string{path}},
				os.WriteFile(filepath.Join(env.WorkDir, path), []byte(field(call, "text")), 0o600)
		}),
		command.Func(command.Spec{
			Name: "answer", Description: "ends the task", Final: true, Essential: true,
			Slots: []command.Slot{{Name: "answer", Help: "the answer", Kind: command.SlotText}},
		}, func(_ context.Context, _ *command.Env, call *command.Call) (*command.Result, error) {
			return &command.Result{Answer: field(call, "answer")}, nil
		}),
	}, more...) {
		require.NoError(t, reg.Register(c))
	}
	return reg
}

func field(call *command.Call, name string) string {
	for _, entry := range call.Content {
		if text, ok := entry[name].(string); ok {
			return text
		}
	}
	return ""
}

// rig is a session over a scripted model, with what it told.
type rig struct {
	*Session
	model  *model
	events []Event
	dir    string
}

func newRig(t *testing.T, m *model, change func(*Options)) *rig {
	r := &rig{model: m, dir: t.TempDir()}
	opts := Options{
		Backend: m, Registry: testCommands(t), Env: &command.Env{WorkDir: r.dir}, Approve: ApproveAuto,
		Sink: func(ev Event) { r.events = append(r.events, ev) },
	}
	if change != nil {
		change(&opts)
	}
	s, err := New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	r.Session = s
	r.write(t, "a.txt", "nothing\n") // two files leave a choice
	return r
}

func (r *rig) write(t *testing.T, name, text string) {
	path := filepath.Join(r.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// types lists the events told, without the first and last.
func (r *rig) types() string {
	var out []string
	for _, ev := range r.events {
		out = append(out, ev.Data.EventType())
	}
	return strings.Join(out, " ")
}

// lastUser is what the model was told last in its n-th request, from the end
// when negative.
func (r *rig) lastUser(n int) string {
	if n < 0 {
		n += len(r.model.requests)
	}
	msgs := r.model.requests[n].Messages
	return msgs[len(msgs)-1].Content
}

// readCall is a call of the command that reads files.
var readCall = &command.Call{Command: "reader", Content: []map[string]any{{"file": "b.txt"}}}

// shortened is a long result of readCall as the model is shown it.
func shortened(s *Session, text string) (string, bool) {
	cmd, err := s.opts.Registry.Resolve(readCall.Command)
	if err != nil {
		return err.Error(), false
	}
	return s.condenser(cmd.Spec(), readCall).short(context.Background(), text)
}

// approverOf is a person who says yes or no.
func approverOf(allow func() bool) Approver {
	return func(context.Context, *Proposal) (Decision, error) {
		return Decision{Allow: allow()}, nil
	}
}
