package terminal

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/internal/legible"
	"agent/session"
)

func proposalOf(name, preview string) *session.Proposal {
	return &session.Proposal{Call: command.Call{Command: name}, Spec: command.Spec{Name: name, Effect: command.EffectExecute}, Preview: preview}
}

func newApprover(in io.Reader) (*approver, *strings.Builder) {
	var out strings.Builder
	return &approver{t: &Terminal{In: in, Err: &out}, always: map[string]bool{}}, &out
}

func TestReadAnswer(t *testing.T) {
	for line, want := range map[string]session.Decision{
		"y":                       {Allow: true},
		" YES ":                   {Allow: true},
		"a":                       {Allow: true, Reason: "always in this run"},
		"":                        {},
		"n":                       {},
		"No, use another file":    {Reason: "use another file"},
		"n: use another file":     {Reason: "use another file"},
		"yes, but only the first": {Reason: "yes, but only the first"}, // no plain yes
		"use another file":        {Reason: "use another file"},
		"q":                       {Reason: "the user ended the run.", Quit: true},
		"ys":                      {Reason: "ys"},
	} {
		d, again := readAnswer(line)
		assert.Equal(t, want, d, "%q", line)
		assert.False(t, again)
	}
	_, again := readAnswer("s")
	assert.True(t, again)
}

// A person sees what they allow: long texts by their beginning and end, control
// characters and invisible ones as such, and all of it on demand.
func TestWhatAPersonIsShown(t *testing.T) {
	code := strings.Repeat("print(1)\n", 100) + "rm('\x1b[31m\u202e\u200b\x00')\n"
	q, out := newApprover(strings.NewReader("s\ny\n"))
	d, err := q.decide(context.Background(), proposalOf("python", code))
	require.NoError(t, err)
	assert.True(t, d.Allow)
	first, second, _ := strings.Cut(out.String(), "[s]how all")
	assert.Contains(t, first, "… 61 lines not shown …")
	assert.Contains(t, first, `rm('\x1b[31m\u202e\u200b\x00')`)
	assert.NotContains(t, out.String(), "\x1b")
	assert.Equal(t, 100, strings.Count(second, "print(1)"))
	assert.NotContains(t, second, "[s]how all")

	q, out = newApprover(strings.NewReader("n\n"))
	_, err = q.decide(context.Background(), proposalOf("python", strings.Repeat("x", 5000)))
	require.NoError(t, err)
	assert.Less(t, out.Len(), 1000)
	assert.Contains(t, out.String(), "xx … 4800 characters not shown … xx")
}

// Whatever is left out at first is counted, and can be asked for.
func TestNothingHidesInAPreview(t *testing.T) {
	const bad = "open('data.csv', 'w').close()"
	for _, tc := range []struct {
		name, code string
		first      []string // what is seen before anybody asks for more
		whole      bool     // nothing is left out, so there is nothing to ask for
	}{
		{"short", bad, []string{bad}, true},
		{"indented", strings.Repeat(" ", previewBlanks) + bad, []string{bad}, true},
		{"behind spaces", "x = 1" + strings.Repeat(" ", 200) + "; " + bad, []string{"x = 1 … 200 blank characters … ; " + bad}, false},
		{"behind tabs", "x = 1" + strings.Repeat("\t", 50) + "; " + bad, []string{"x = 1 … 50 blank characters … ; " + bad}, false},
		{"behind blanks of other scripts", "'" + strings.Repeat("\u3164\u2800\u00a0", 20) + "'; " + bad, []string{"' … 60 blank characters … '; " + bad}, false},
		{"at the end of a line", strings.Repeat("x", 1000) + "; " + bad, []string{"characters not shown … ", bad}, false},
		{"in a line", strings.Repeat("x", 1000) + "; " + bad + strings.Repeat("x", 1000), []string{"… 1831 characters not shown …"}, false},
		{"below lines", strings.Repeat("x = 1\n", 500) + bad, []string{"… 461 lines not shown …", bad}, false},
		{"between lines", strings.Repeat("\n", 500) + bad + strings.Repeat("\n1", 500), []string{"… 961 lines not shown …"}, false},
		{"after a line's end of another kind", "# x\u2028" + bad + "\r" + bad + "\x0c", []string{`# x\u2028` + bad + `\x0d` + bad + `\x0c`}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q, out := newApprover(strings.NewReader("s\ny\n"))
			d, err := q.decide(context.Background(), proposalOf("python", tc.code))
			require.NoError(t, err)
			assert.True(t, d.Allow)
			first, second, _ := strings.Cut(out.String(), "allow?")
			for _, want := range tc.first {
				assert.Contains(t, first, want)
			}
			assert.Equal(t, !tc.whole, strings.Contains(out.String(), "[s]how all"))
			assert.Contains(t, second, indented(legible.Visible(tc.code)))
		})
	}
}

// A yes counts only once all was shown: before, it shows the rest and asks again.
func TestYesToWhatIsHidden(t *testing.T) {
	long := strings.Repeat("print(1)\n", 100)
	wide := "x = 1" + strings.Repeat(" ", 200) + "; y = 2"
	for _, tc := range []struct {
		code, answers string
		allow         bool
		asked         int
	}{
		{"1", "y\n", true, 1},
		{long, "y\n", false, 2},
		{long, "a\n", false, 2},
		{wide, "y\n", false, 2},
		{long, "y\ny\n", true, 2},
		{wide, "a\na\n", true, 2},
		{long, "y\nn\n", false, 2},
		{long, "s\ny\n", true, 2},
		{long, "n\n", false, 1},
		{long, "not this\n", false, 1},
	} {
		q, out := newApprover(strings.NewReader(tc.answers))
		d, err := q.decide(context.Background(), proposalOf("python", tc.code))
		require.NoError(t, err)
		assert.Equal(t, tc.allow, d.Allow, "%.20q %q", tc.code, tc.answers)
		assert.Equal(t, tc.asked, strings.Count(out.String(), "allow?"), "%.20q %q", tc.code, tc.answers)
		assert.Equal(t, tc.allow && strings.HasPrefix(tc.answers[2:]+tc.answers, "a"), q.always["python"])
		if tc.asked == 2 {
			assert.Contains(t, out.String(), indented(legible.Visible(tc.code)))
		}
	}
}

// A cancelled question ends at once, and the line that comes later is the
// answer to the next.
func TestCancelledQuestion(t *testing.T) {
	in, person := io.Pipe()
	q, _ := newApprover(in)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := q.decide(ctx, proposalOf("python", "1"))
	require.ErrorIs(t, err, context.Canceled)
	go func() { _, _ = person.Write([]byte("y\nn\n")) }()
	d, err := q.decide(context.Background(), proposalOf("python", "1"))
	require.NoError(t, err)
	assert.True(t, d.Allow)
	d, err = q.decide(context.Background(), proposalOf("python", "1"))
	require.NoError(t, err)
	assert.False(t, d.Allow)
}

// "Always" is for one command; the end of the input refuses all others.
func TestAlwaysAndTheEndOfInput(t *testing.T) {
	q, out := newApprover(strings.NewReader("a\nno newline"))
	for range 2 {
		d, err := q.decide(context.Background(), proposalOf("python", "1"))
		require.NoError(t, err)
		assert.True(t, d.Allow)
	}
	assert.Equal(t, 1, strings.Count(out.String(), "allow?"))
	for range 2 {
		d, err := q.decide(context.Background(), proposalOf("writer", "1"))
		require.NoError(t, err)
		assert.False(t, d.Allow)
		assert.Contains(t, d.Reason, "input has ended")
	}
	assert.Equal(t, 2, strings.Count(out.String(), "allow?"), "once it has ended it is not asked for again")
}
