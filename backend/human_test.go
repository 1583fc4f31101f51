package backend_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/backend/backendtest"
)

// person reads what is printed and types an answer when asked for one.
type person struct {
	asked chan string
	left  []byte
	mu    sync.Mutex
	kind  string
}

func newPerson() *person { return &person{asked: make(chan string, 1000)} }

func (p *person) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, kind := range []string{"your reply", "number or text"} {
		if bytes.Contains(text, []byte(kind)) {
			p.kind = kind
		}
	}
	if bytes.HasSuffix(text, []byte("> ")) {
		p.asked <- p.kind
		if p.kind == "your reply" {
			p.kind = "the end"
		}
	}
	return len(text), nil
}

func (p *person) Read(to []byte) (int, error) {
	for len(p.left) == 0 {
		switch <-p.asked {
		case "your reply":
			p.left = []byte(longReply + "\n")
		case "number or text":
			p.left = []byte("1\n")
		case "the end":
			p.left = []byte("\n")
		}
	}
	n := copy(to, p.left)
	p.left = p.left[n:]
	return n, nil
}

func TestHumanConforms(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.LanguageBackend {
		p := newPerson()
		return backend.NewHuman(backend.HumanConfig{In: p, Out: p})
	}, backendtest.Options{Deterministic: true})
}

func human(input string) (*backend.Human, *bytes.Buffer) {
	var out bytes.Buffer
	return backend.NewHuman(backend.HumanConfig{In: strings.NewReader(input), Out: &out}), &out
}

func TestHumanReplies(t *testing.T) {
	for name, tt := range map[string]struct {
		input string
		want  []string
	}{
		"an empty line ends":      {"one\ntwo\n\nthree\n\n", []string{"one\ntwo", "three"}},
		"a dot ends":              {"one\n.\ntwo\n.\n", []string{"one", "two"}},
		"the end of input ends":   {"one\ntwo", []string{"one\ntwo"}},
		"CRLF":                    {"one\r\n\r\n", []string{"one"}},
		"leading empty lines":     {"\n\none\n\n", []string{"one"}},
		"a dot alone is empty":    {".\n", []string{""}},
		"two dots are a dot":      {"..\n.\n", []string{"."}},
		"runes, not well encoded": {"na\xc3\n\n", []string{"na\uFFFD"}},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := human(tt.input)
			for _, want := range tt.want {
				got, _, err := backend.Collect(h.ChatCompletion(t.Context(), user("x")))
				require.NoError(t, err)
				assert.Equal(t, want, got)
			}
			_, _, err := backend.Collect(h.ChatCompletion(t.Context(), user("x")))
			assert.ErrorIs(t, err, backend.ErrInputEnded)
		})
	}
}

func TestHumanChooses(t *testing.T) {
	options := backend.Options("red", "blue", "dark blue")
	for name, tt := range map[string]struct {
		input, want, reason string
	}{
		"by number":         {"2\n", "blue", ""},
		"by text":           {"dark blue\n", "dark blue", ""},
		"by misspelt text":  {"blu\n", "blue", ""},
		"none":              {"-\n", "", "chose none"},
		"asked again":       {"9\nyellow\n1\n", "red", ""},
		"asked three times": {"9\nyellow\nwhat?\n", "", "3 answers"},
	} {
		t.Run(name, func(t *testing.T) {
			h, out := human(tt.input)
			c, err := h.ChooseFromOptions(t.Context(), user("Which?"), options)
			require.NoError(t, err)
			assert.Equal(t, "human", c.Method)
			assert.Equal(t, tt.want, c.Text)
			assert.Equal(t, tt.want == "", c.Abstained)
			assert.Contains(t, c.Reason, tt.reason)
			assert.Contains(t, out.String(), "2) blue")
		})
	}
	h, _ := human("")
	_, err := h.ChooseFromOptions(t.Context(), user("Which?"), options)
	assert.ErrorIs(t, err, backend.ErrInputEnded)
}

func TestHumanSeesWhatIsNewOnce(t *testing.T) {
	h, out := human("hi\n\nbye\n\nx\n\n")
	req := user("first\x1b[2Jquestion")
	_, _, err := backend.Collect(h.ChatCompletion(t.Context(), req))
	require.NoError(t, err)
	assert.Contains(t, out.String(), "--- user ---\nfirst\\x1b[2Jquestion\n")
	out.Reset()
	req.Messages = append(req.Messages, backend.Message{Role: backend.RoleAssistant, Content: "hi"}, backend.Message{Role: backend.RoleTool, Content: "result"})
	_, _, err = backend.Collect(h.ChatCompletion(t.Context(), req))
	require.NoError(t, err)
	assert.NotContains(t, out.String(), "question")
	assert.Contains(t, out.String(), "--- tool ---\nresult\n")
	out.Reset()
	_, _, err = backend.Collect(h.ChatCompletion(t.Context(), user("another")))
	require.NoError(t, err)
	assert.Contains(t, out.String(), "a new conversation")
}

func TestHumanIsInterrupted(t *testing.T) {
	in, typist := io.Pipe()
	h := backend.NewHuman(backend.HumanConfig{In: in, Out: io.Discard})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, err := backend.Collect(h.ChatCompletion(ctx, user("x")))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(start), 30*time.Second)
	go func() { _, _ = io.WriteString(typist, "late\n\n") }()
	text, _, err := backend.Collect(h.ChatCompletion(t.Context(), user("x")))
	require.NoError(t, err)
	assert.Equal(t, "late", text)
}

func TestHumanWritesInAnEditor(t *testing.T) {
	script := filepath.Join(t.TempDir(), "editor")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nprintf '\\n\\nwith empty lines\\n' >> \"$1\"\n"), 0o700))
	h := backend.NewHuman(backend.HumanConfig{In: strings.NewReader("begun\n:e\nnext\n\n"), Out: io.Discard, Editor: script})
	for _, want := range []string{"begun\n\nwith empty lines", "next"} {
		text, _, err := backend.Collect(h.ChatCompletion(t.Context(), user("x")))
		require.NoError(t, err)
		assert.Equal(t, want, text)
	}
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", "")
	none, _ := human(":e\n")
	_, _, err := backend.Collect(none.ChatCompletion(t.Context(), user("x")))
	assert.ErrorContains(t, err, "no editor is set")
}
