package session

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

// sections is a long file whose parts look alike.
func sections() []string {
	var out []string
	for _, name := range []string{"general", "display", "network", "mail", "printer", "backup", "sync"} {
		out = append(out, "["+name+"]", "enabled = no", "timeout = 30", "retries = 2", "owner = kim", "colour = red", "level = low", "")
	}
	return out
}

// Of lines that look the same the one is chosen that the task is about.
func TestALineIsChosenAmongThoseOfTheFile(t *testing.T) {
	edited := map[string]any{}
	edit := command.Func(command.Spec{Name: "edit", Effect: command.EffectWrite, Slots: []command.Slot{
		{Name: "file", Kind: command.SlotFile}, {Name: "first", Kind: command.SlotPlace}, {Name: "last", Kind: command.SlotPlace}, {Name: "text", Kind: command.SlotText},
	}}, func(_ context.Context, _ *command.Env, call *command.Call) (*command.Result, error) {
		edited = call.Content[0]
		return &command.Result{Text: "changed"}, nil
	})
	m := newModel(t, true, " so", " edit", " set.ini", " timeout = 30", " retries = 2", "timeout = 45", " so", " answer", " Done")
	r := newRig(t, m, func(o *Options) { o.Registry = testCommands(t, edit) })
	r.write(t, "set.ini", strings.Join(sections(), "\n")+"\n")
	_, err := r.Run(t.Context(), "Set the timeout in the section mail to 45.")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"file": "set.ini", "first": "27: timeout = 30", "last": "28: retries = 2", "text": "timeout = 45\n"}, edited)
	prefill := m.requests[3].Prefill
	assert.Contains(t, prefill, "[mail]\nenabled = no\ntimeout = 30")
	assert.NotContains(t, prefill, "[general]", "only the part around it is shown")
}

// What may not be shown is not chosen from.
func TestLinesOfHiddenFilesAreNotShown(t *testing.T) {
	r := newRig(t, newModel(t, true), func(o *Options) {
		o.Rules = Rules{{Command: command.ReaderName, Path: "secret.txt", Do: "deny"}}
	})
	r.write(t, "secret.txt", "one\ntwo\n")
	r.watch.look()
	assert.Nil(t, r.linesOf("secret.txt"))
	assert.Nil(t, r.linesOf("../secret.txt"))
	assert.Equal(t, []string{"nothing"}, r.linesOf("a.txt"))
}

// The passages of a long text that a task is about, with their places.
func TestPassages(t *testing.T) {
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf("The crane is painted in colour %d.", i))
	}
	lines[150] = "The filter of the pump is replaced after 340 hours."
	lines[20] = "A filter keeps the water clean."
	got := passagesAbout("After how many hours must the filter of the pump be replaced?", lines)
	require.NotEmpty(t, got)
	var all string
	for i, p := range got {
		assert.Equal(t, strings.Join(lines[p.From-1:p.To], "\n"), p.Text)
		if i > 0 {
			assert.Greater(t, p.From, got[i-1].From)
		}
		all += p.Text
	}
	assert.Contains(t, all, "340 hours")
	assert.Contains(t, all, "keeps the water clean")
	assert.Empty(t, passagesAbout("zebra", lines))
	assert.Empty(t, passagesAbout("zebra", nil))
}

// Of a long file that the task names the first message shows its beginning and what
// shares the most with the task; of data it shows the beginning alone.
func TestFirstMessageShowsPassages(t *testing.T) {
	long := strings.Repeat("The crane is grey.\n", 100) + "The filter is replaced after 340 hours. " + strings.Repeat("x", 4000) + "\n"
	r := newRig(t, newModel(t, true), func(o *Options) { o.Aids = map[Aid]bool{AidTables: true} })
	r.write(t, "manual.md", long)
	r.write(t, "log.csv", "filter,hours\n"+strings.Repeat("a,1\n", 500)+"filter,340\n")
	r.write(t, "stock.txt", "item;pieces\nbolt;1200\nnut;850\nhook;310\n")
	r.watch.look()
	assert.NotContains(t, r.firstMessage("Look in manual.md."), "[lines", "it is not known to write nothing")
	r.about.wants = Wants{Known: true}
	text := r.firstMessage("After how many hours is the filter replaced? Look in manual.md and log.csv.")
	assert.Contains(t, text, "\n[lines 98-101]\nThe crane")
	assert.Contains(t, text, "340 hours")
	assert.NotContains(t, text, strings.Repeat("x", 1000))
	assert.NotContains(t, text, "filter,340")
	assert.NotContains(t, text, "tablefile", "it is plain CSV")
	assert.Contains(t, r.firstMessage("How many nuts are in stock.txt?"), `rows("stock.txt")`)
	assert.NotContains(t, r.firstMessage("After how many hours is the filter replaced?"), "340 hours")
}

// Code about a table that is no plain CSV begins by reading it.
func TestCodeBeginsByReadingTheTable(t *testing.T) {
	r := newRig(t, newModel(t, true), func(o *Options) { o.Aids = map[Aid]bool{AidTables: true} })
	r.write(t, "stock.txt", "item;pieces\nbolt;1200\nnut;850\nhook;310\n")
	r.write(t, "b.md", "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n")
	r.write(t, "plain.csv", "a,b\n1,2\n3,4\n5,6\n")
	r.write(t, "semi.csv", "a;b\n1;2\n3;4\n5;6\n")
	r.watch.look()
	const one, both = "from tablefile import rows\n", "from tablefile import rows, save\n"
	assert.Equal(t, one+"table = rows(\"stock.txt\")\n", r.watch.opening([]string{"plain.csv", "stock.txt"}, false))
	assert.Equal(t, both+"table = rows(\"semi.csv\")\n", r.watch.opening([]string{"semi.csv"}, true))
	assert.Equal(t, both, r.watch.opening([]string{"stock.txt", "b.md"}, false))
	assert.Empty(t, r.watch.opening([]string{"plain.csv", "a.txt", "none.txt"}, true))
	r.watch.opts.Aids = map[Aid]bool{AidTables: false}
	assert.Empty(t, r.watch.opening([]string{"stock.txt"}, false))
}
