package shout_test

import (
	"os"
	"strings"
	"testing"

	"agent/backend"
	"agent/backend/backendtest"
	"agent/examples/backend/shout"
)

func TestConforms(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.LanguageBackend { return &shout.Model{Length: 1000} },
		backendtest.Options{Deterministic: true})
}

// TestDocShowsThisCode: docs/go.md holds the code that compiles.
func TestDocShowsThisCode(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/go.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shout.go", "new.go"} {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(doc), "```go\n"+string(code)+"```\n") {
			t.Errorf("docs/go.md does not show %s as it is", name)
		}
		if lines := strings.Count(string(code), "\n"); lines >= 40 {
			t.Errorf("%s has %d lines, should stay under 40", name, lines)
		}
	}
}
