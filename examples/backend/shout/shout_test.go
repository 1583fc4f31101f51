package shout_test

import (
	"os"
	"strings"
	"testing"

	"agent/backend"
	"agent/backend/backendtest"
	"agent/docs/example/shout"
)

func TestConforms(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.LanguageBackend { return &shout.Model{Length: 1000} },
		backendtest.Options{Deterministic: true})
}

// TestDocShowsThisCode: docs/custom-backend.md holds the code that compiles.
func TestDocShowsThisCode(t *testing.T) {
	doc, err := os.ReadFile("../../custom-backend.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shout.go", "new.go"} {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(doc), "```go\n"+string(code)+"```\n") {
			t.Errorf("docs/custom-backend.md does not show %s as it is", name)
		}
		if lines := strings.Count(string(code), "\n"); lines >= 40 {
			t.Errorf("%s has %d lines, should stay under 40", name, lines)
		}
	}
}
