package session

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"agent/command"
)

// walk visits each node of a page.
func walk(n *html.Node, visit func(*html.Node)) {
	visit(n)
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		walk(c, visit)
	}
}

func exported(t *testing.T, run *Show) (page string, root *html.Node) {
	var b strings.Builder
	require.NoError(t, ExportHTML(&b, run))
	root, err := html.Parse(strings.NewReader(b.String()))
	require.NoError(t, err)
	return b.String(), root
}

// Whatever a model, a file or a task says stays text: no element, no attribute
// and no style of the page comes from them.
func TestExportedPageIsInert(t *testing.T) {
	const evil = `</pre></style><script>alert(1)</script><img src=x onerror=alert(2)>"'` + "`" + `<a href="javascript:alert(3)">x</a><svg onload=alert(4)><!-- {{.}} <link rel=stylesheet href=//evil>` + "\x1b]0;x\x07\u202e"
	p := 0.5
	run := &Show{Info: Info{ID: evil, Task: evil, Model: evil, WorkDir: evil, Answer: evil, Stop: Stop(evil)}}
	for _, data := range []Payload{
		&Started{ID: evil, Model: evil, Task: evil, WorkDir: evil, Mode: evil},
		&Note{Step: 1, Text: evil},
		&CallMade{Step: 1, Command: evil, Summary: evil, Content: []map[string]any{{evil: evil, "n": []any{evil}}}, Repaired: true, Repairs: []string{evil},
			Choices: []ChoiceMade{{Field: evil, Method: evil, Options: []ScoredChoice{{Text: evil, Probability: &p}}}}},
		&Approval{Step: 1, Command: evil, Mode: evil, Reason: evil, By: evil, Rule: evil},
		&CommandResult{Step: 1, Command: evil, Text: "@@ -1 +1 @@\n+" + evil + "\n-" + evil + "\n" + strings.Repeat(evil+"\n", 50), Files: []string{evil}},
		&Warning{Text: evil},
		&SubtaskStarted{Number: 1, Task: evil}, &SubtaskEnded{Number: 1, Answer: evil},
		&Result{Answer: evil, Stop: Stop(evil), Error: evil},
	} {
		run.Events = append(run.Events, Event{Time: time.Now(), Data: data}, Event{Time: time.Now(), Data: data, Session: evil, Parent: evil})
	}
	page, root := exported(t, run)
	walk(root, func(n *html.Node) {
		if n.Type == html.CommentNode {
			assert.Fail(t, "a comment", n.Data)
		}
		if n.Type != html.ElementNode {
			return
		}
		assert.NotContains(t, []string{"script", "img", "svg", "a", "link", "iframe", "object", "form", "base"}, n.Data)
		for _, a := range n.Attr {
			assert.False(t, strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "href", "attribute %s", a.Key)
			if a.Key == "style" {
				assert.Regexp(t, `^width: [\d.]+%$`, a.Val)
			}
		}
	})
	assert.True(t, strings.Contains(page, `content="default-src 'none';`), "nothing is loaded even if something slipped through")
	assert.Equal(t, -1, strings.IndexAny(page, "\x1b\x07\u202e"), "nor hides what it is")
}

// A run is told in full: its steps with their cost, what was chosen from and
// how likely it was, diffs, results, and the answer.
func TestExportedPageTellsTheRun(t *testing.T) {
	diff := command.Func(command.Spec{Name: "change", Description: "changes", Slots: []command.Slot{{Name: "file", Kind: command.SlotFile}}},
		func(context.Context, *command.Env, *command.Call) (*command.Result, error) {
			return &command.Result{Text: "changed\n@@ -1 +1 @@\n-old line\n+new line\nend"}, nil
		})
	m := newModel(t, true, append([]string{" change it", " change", " b.txt"}, readThenAnswer...)...)
	r := newRig(t, m, func(o *Options) {
		o.SessionsDir, o.Registry = t.TempDir(), testCommands(t, diff)
	})
	r.write(t, "b.txt", "42\n")
	_, err := r.Run(context.Background(), "the task's words")
	require.NoError(t, err)
	run, err := Load(r.Path())
	require.NoError(t, err)
	require.Len(t, run.Costs, 3)
	total := 0
	for _, c := range run.Costs {
		total += c.Generated
	}
	assert.Equal(t, r.speaker.budget.usage.CompletionTokens, total)

	page, root := exported(t, run)
	text, classes := "", map[string]string{}
	walk(root, func(n *html.Node) {
		if n.Type == html.TextNode {
			text += n.Data
		}
		for _, a := range n.Attr {
			if a.Key == "class" && n.FirstChild != nil {
				classes[a.Val] += n.FirstChild.Data + "|"
			}
		}
	})
	for _, want := range []string{"the task's words", "Step 1", "Step 3", "prompt tokens: ", " generated", "→ change", "→ reader", "command, by scripted", "file, by scripted", "a.txt", "The number is 42.", "answered after 3 steps"} {
		assert.Contains(t, text, want)
	}
	assert.Contains(t, classes["line added"], "+new line")
	assert.Contains(t, classes["line removed"], "-old line")
	assert.Contains(t, classes, "chosen")
	if path := os.Getenv("AGENT_TEST_PAGE"); path != "" { // to look at
		require.NoError(t, os.WriteFile(path, []byte(page), 0o600))
	}
}
