package archtest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

const module = "agent"

// rule says what the packages under a pattern may import of this module.
// A pattern is a folder, or a folder and everything below it: "dir/...".
type rule struct {
	packages string
	may      []string
}

// arrows is the drawing in docs/dev/design.md, in a form that fails. The first rule
// that fits a package holds; a package without a rule is a failure, so that a
// new folder at least gets a line here.
var arrows = []rule{
	{"cmd/agent", []string{"..."}},
	{"cmd/agentbench", []string{"..."}},

	{"internal/cli", []string{"backend", "inference", "internal/config", "internal/exit", "internal/hub", "internal/near", "internal/setup", "internal/terminal"}},
	{"internal/setup", []string{"backend", "backend/hf", "command/...", "configs", "inference", "internal/config", "internal/exit", "internal/hub",
		"internal/legible", "internal/near", "internal/serve", "models", "session", "session/guide", "tokenizer"}},
	{"internal/doctor", []string{"backend", "backend/hf", "command/python", "command/search", "command/stock", "configs", "inference",
		"internal/bench", "internal/bench/engine", "internal/config", "internal/exit", "internal/legible", "internal/setup"}},
	{"internal/setup/setuptest", []string{"configs", "internal/config"}},
	{"internal/terminal", []string{"internal/bounded", "internal/legible", "session"}},
	{"internal/terminal/terminaltest", nil},
	{"internal/exit", nil},

	{"session", []string{"backend", "command", "command/decide", "command/salvage", "internal/legible", "session/..."}},
	{"session/ask", []string{"backend", "internal/words"}},
	{"session/wants", []string{"backend", "internal/words", "session/ask", "session/event", "session/workdir"}},
	{"session/event", []string{"backend", "command"}},
	{"session/prose", []string{"internal/legible"}},
	{"session/guide", []string{"internal/bounded", "internal/legible"}},
	{"session/redact", nil},
	{"session/workdir", []string{"internal/legible", "session/prose"}},
	{"session/plan", []string{"command", "session/prose", "session/workdir"}},
	{"session/policy", []string{"command", "internal/near"}},
	{"session/journal", []string{"command", "session/event", "session/prose"}},
	{"session/report", []string{"internal/legible", "session/event", "session/journal", "session/prose", "session/redact"}},
	{"session/check", []string{"session/event", "session/prose", "session/workdir"}},
	{"command", []string{"internal/legible"}},
	{"command/salvage", []string{"command", "internal/legible"}},
	{"command/decide", []string{"backend", "command", "internal/legible", "internal/words"}},
	{"command/...", []string{"command/...", "internal/bounded", "internal/group", "internal/legible", "internal/near", "internal/words"}},

	{"backend", []string{"internal/bounded", "internal/legible"}},
	{"backend/backendtest", []string{"backend"}},
	{"backend/hf/...", []string{"backend", "inference", "inference/gguf", "tokenizer"}},

	{"inference", []string{"inference/gguf", "inference/internal/llama"}},
	{"inference/internal/llama", nil},
	{"inference/gguf/...", []string{"inference/gguf/...", "internal/near"}},
	{"tokenizer/...", nil},

	{"internal/serve/page", []string{"internal/serve/work", "session"}},
	{"internal/serve/work", []string{"command", "command/mcp", "internal/legible", "session"}},
	{"internal/serve/acp", []string{"command", "command/mcp", "internal/bounded", "internal/legible", "internal/serve/work", "internal/words", "session"}},
	{"internal/serve/mcp", []string{"backend", "command", "command/stock", "internal/legible", "internal/serve/work", "internal/words", "session", "session/policy"}},
	{"internal/serve/...", []string{"backend", "internal/legible", "internal/near", "internal/serve/..."}},
	{"internal/compare/...", []string{"backend", "internal/compare/...", "internal/legible"}},
	{"internal/bench/engine", []string{"backend", "backend/hf", "inference", "internal/bench", "internal/cli", "internal/config", "internal/exit", "internal/setup"}},
	{"internal/bench/...", []string{"backend", "internal/bench/...", "internal/bounded", "internal/group"}},
	{"internal/config/...", []string{"internal/config/...", "internal/near"}},
	{"internal/hub/...", []string{"internal/bounded", "internal/hub/...", "internal/legible", "internal/near"}},
	{"internal/launch", []string{"internal/near"}},
	{"internal/bounded", nil},
	{"internal/group", nil},
	{"internal/legible", nil},
	{"internal/near", nil},
	{"internal/words", []string{"internal/legible"}},
	{"internal/archtest", nil},

	{"configs", nil},
	{"models", nil},

	// What a user of the packages writes, shown and compiled.
	{"examples/...", []string{"backend", "backend/hf", "command", "command/stock", "session", "internal/serve", "examples/..."}},
}

// nativeEdges are the only folders that may import what is not Go.
var nativeEdges = map[string]string{
	"C":                            "inference/internal/llama",
	"github.com/daulet/tokenizers": "tokenizer",
}

func TestImportsFollowTheArrows(t *testing.T) {
	var findings []string
	for _, s := range sources(t) {
		findings = append(findings, strayImports(s)...)
	}
	report(t, findings, "The arrows are drawn in docs/dev/design.md and listed in internal/archtest/arrows_test.go.")
}

// strayImports lists the imports of one file that the arrows forbid. Tests may
// import what they like of ours, but reach native code only where others do.
func strayImports(s source) []string {
	var findings []string
	add := func(at, format string, args ...any) {
		findings = append(findings, at+": "+fmt.Sprintf(format, args...))
	}
	may, known := allowed(s.dir)
	if !known {
		return []string{s.name + ":1: package " + s.dir + " has no rule yet: say in arrows_test.go what it may import"}
	}
	for _, imp := range s.file.Imports {
		name, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			add(s.at(imp.Pos()), "import path %s: %v", imp.Path.Value, err)
			continue
		}
		if edge, native := nativeEdges[name]; native && s.dir != edge {
			add(s.at(imp.Pos()), "imports %q, which only %s may", name, edge)
		}
		ours, isOurs := strings.CutPrefix(name, module+"/")
		if isOurs && !s.isTest() && !anyMatches(may, ours) {
			add(s.at(imp.Pos()), "%s imports %s; it may import %s", s.dir, ours, orNothing(may))
		}
	}
	return findings
}

func allowed(dir string) (may []string, known bool) {
	for _, r := range arrows {
		if matches(r.packages, dir) {
			return r.may, true
		}
	}
	return nil, false
}

func anyMatches(patterns []string, dir string) bool {
	for _, p := range patterns {
		if matches(p, dir) {
			return true
		}
	}
	return false
}

func matches(pattern, dir string) bool {
	if pattern == "..." {
		return true
	}
	above, deep := strings.CutSuffix(pattern, "/...")
	return dir == above || deep && strings.HasPrefix(dir, above+"/")
}

func orNothing(may []string) string {
	if len(may) == 0 {
		return "nothing of this module"
	}
	return "only " + strings.Join(may, ", ")
}

func TestStrayImportsAreSeen(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"session/a.go", "package session\nimport \"agent/backend\"", nil},
		{"cmd/agent/a.go", "package main\nimport \"agent/internal/hub\"", nil},
		{"command/sandbox/a.go", "package sandbox\n\nimport \"agent/backend\"",
			[]string{"command/sandbox/a.go:3: command/sandbox imports backend; it may import only command/..., internal/bounded, internal/group, internal/legible, internal/near, internal/words"}},
		{"command/a.go", "package command\nimport \"agent/command/sandbox\"",
			[]string{"command/a.go:2: command imports command/sandbox; it may import only internal/legible"}},
		{"command/stock/a.go", "package stock\nimport \"agent/command/sandbox\"", nil},
		{"command/a_test.go", "package command\nimport \"agent/session\"", nil},
		{"backend/a.go", "//go:build cuda\n\npackage backend\nimport (\n\"context\"\n\"agent/inference\"\n)",
			[]string{"backend/a.go:6: backend imports inference; it may import only internal/bounded, internal/legible"}},
		{"inference/a.go", "package inference\nimport \"C\"",
			[]string{`inference/a.go:2: imports "C", which only inference/internal/llama may`}},
		{"inference/internal/llama/a.go", "package llama\nimport \"C\"", nil},
		{"cmd/agent/a_test.go", "package main\nimport \"C\"",
			[]string{`cmd/agent/a_test.go:2: imports "C", which only inference/internal/llama may`}},
		{"backend/hf/a.go", "package hf\nimport \"github.com/daulet/tokenizers\"",
			[]string{`backend/hf/a.go:2: imports "github.com/daulet/tokenizers", which only tokenizer may`}},
		{"newroom/a.go", "package newroom",
			[]string{"newroom/a.go:1: package newroom has no rule yet: say in arrows_test.go what it may import"}},
	} {
		assert.Equal(t, c.want, strayImports(parse(t, c.name, c.text)), c.name)
	}
}
