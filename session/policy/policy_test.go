package policy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/command/stock"
)

// The first rule that speaks about a call decides.
func TestRules(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "out"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret.txt"), nil, 0o600))
	require.NoError(t, os.Symlink("../secret.txt", filepath.Join(dir, "out", "link.txt")))
	require.NoError(t, os.Symlink("out", filepath.Join(dir, "toout")))
	require.NoError(t, os.Symlink("../later.txt", filepath.Join(dir, "out", "dangling.txt")))
	writer := command.Spec{Name: "writer", Effect: command.EffectWrite, Slots: []command.Slot{{Name: "file", Kind: command.SlotLine}, {Name: "text", Kind: command.SlotText}}}
	python := command.Spec{Name: "python", Effect: command.EffectExecute, Slots: []command.Slot{{Name: "code", Kind: command.SlotCode}}}
	fetch := command.Spec{Name: "fetch", Effect: command.EffectNetwork, Slots: []command.Slot{{Name: "url", Kind: command.SlotLine}}}
	list := stock.List().Spec()
	answer := command.Spec{Name: "answer", Final: true}
	out := Rules{{Command: "writer", Path: "out/**", Do: Allow}, {Command: "writer", Do: Deny}}
	hosts := Rules{{Host: "*.example.org", Do: Allow}, {Host: "evil.*", Do: Deny}, {Command: "fetch", Do: Ask}}
	for _, tc := range []struct {
		name   string
		rules  Rules
		spec   command.Spec
		fields map[string]any
		want   Action // empty: no rule speaks
	}{
		{"inside", out, writer, map[string]any{"file": "out/a/b.txt", "text": "x"}, Allow},
		{"inside, by a roundabout way", out, writer, map[string]any{"file": "./x/../out/b.txt"}, Allow},
		{"absolute", out, writer, map[string]any{"file": filepath.Join(dir, "out/b.txt")}, Allow},
		{"beside", out, writer, map[string]any{"file": "outside.txt"}, Deny},
		{"up and away", out, writer, map[string]any{"file": "out/../b.txt"}, Deny},
		{"out of the work dir", out, writer, map[string]any{"file": "../out/b.txt"}, Deny},
		{"through a link", out, writer, map[string]any{"file": "out/link.txt"}, Deny},
		{"through a link to nowhere yet", out, writer, map[string]any{"file": "out/dangling.txt"}, Deny},
		{"one of two", out, writer, map[string]any{"file": "out/b.txt", "path": "b.txt"}, Deny},
		{"a link in the text is no host", out, writer, map[string]any{"file": "out/b.txt", "text": "see https://evil.org"}, Allow},
		{"no file", out, writer, map[string]any{}, Deny},
		{"another command", out, python, map[string]any{"code": "1"}, ""},
		{"host", hosts, fetch, map[string]any{"url": "https://docs.Example.org:8080/x"}, Allow},
		{"host in disguise", hosts, fetch, map[string]any{"url": "https://a.example.org@evil.com/"}, Deny},
		{"host in the path", hosts, fetch, map[string]any{"url": "https://evil.com/a.example.org"}, Deny},
		{"other host", hosts, fetch, map[string]any{"url": "https://example.net"}, Ask},
		{"no host", hosts, fetch, map[string]any{"url": "http://"}, Ask},
		{"code is never let through for what it names", Rules{{Path: "**", Do: Allow}, {Do: Ask}}, python, map[string]any{"file": "a.txt"}, Ask},
		{"nor held by it", Rules{{Path: "secret/**", Do: Deny}}, writer, map[string]any{"file": "a.txt"}, ""},
		{"a file named by a number", Rules{{Path: "**", Do: Deny}}, writer, map[string]any{"file": json.Number("2024"), "text": "x"}, Deny},
		{"a folder that is listed", Rules{{Path: "private/**", Do: Deny}}, list, map[string]any{"folder": "private"}, Deny},
		{"a folder below it", Rules{{Path: "private/**", Do: Ask}}, list, map[string]any{"dir": "./private/sub"}, Ask},
		{"a pattern in it", Rules{{Path: "private/**", Do: Deny}}, list, map[string]any{"pattern": "private/*.txt"}, Deny},
		{"a folder behind a link", Rules{{Path: "out/**", Do: Deny}}, list, map[string]any{"glob": "toout"}, Deny},
		{"another folder", Rules{{Path: "private/**", Do: Deny}}, list, map[string]any{"folder": "out"}, ""},
		{"a folder that may be listed", Rules{{Path: "out/**", Do: Allow}, {Do: Deny}}, list, map[string]any{"folder": "out"}, Allow},
		{"all folders", Rules{{Path: "out/**", Do: Allow}, {Do: Deny}}, list, map[string]any{}, Deny},
		{"more than is looked at", Rules{{Path: "private/**", Do: Deny}}, writer, map[string]any{"file": manyNames(300)}, Deny},
		{"an answer always passes", Rules{{Do: Deny}}, answer, map[string]any{"text": "x"}, ""},
		{"any command", Rules{{Do: Deny}}, python, map[string]any{}, Deny},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.NoError(t, tc.rules.Check(nil))
			rule, found := tc.rules.match(&command.Call{Command: tc.spec.Name, Content: []map[string]any{tc.fields}}, tc.spec, dir)
			assert.Equal(t, tc.want != "", found)
			assert.Equal(t, tc.want, rule.Do, rule.String())
		})
	}
}

func manyNames(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = fmt.Sprintf("f%d", i)
	}
	return out
}
