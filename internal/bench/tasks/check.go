package tasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ofAnswer is the value of [Check.Of] that means the answer; others are files.
const ofAnswer = "answer"

// Check is one thing that must hold when a task is done. It looks at the answer
// or at a file (Of), or runs code.
type Check struct {
	// Of is "answer" or a file of the work dir, with one or more of the
	// conditions below. Without case, and without regard to ends of lines.
	Of        string   `yaml:"of"`
	Number    *float64 `yaml:"number"` // it states this number
	Within    float64  `yaml:"within"` // how far off it may be
	Has       []string `yaml:"has"`    // all of these words or phrases
	Lacks     []string `yaml:"lacks"`  // and none of these
	Match     string   `yaml:"match"`  // a regular expression that fits
	MatchNot  string   `yaml:"match_not"`
	Is        string   `yaml:"is"`        // of Choices it names this one alone
	Choices   []string `yaml:"choices"`   //
	Lines     []string `yaml:"lines"`     // exactly these lines, in upper and lower case
	Set       []string `yaml:"set"`       // these lines in any order
	Unchanged bool     `yaml:"unchanged"` // as it was laid

	// Run is Python code that must end well in the work dir, in the sandbox, and
	// print Prints. What an agent wrote runs with it.
	Run    string `yaml:"run"`
	Prints string `yaml:"prints"`

	match, matchNot *regexp.Regexp
	before          string // for Unchanged
}

// numbersMax is how many different numbers an answer may state beside those of
// the task: one that lists all numbers there are has not answered.
const numbersMax = 3

// prepare compiles a check, and refuses one that could never fail or never hold.
func (c *Check) prepare(files fs.FS) (err error) {
	conditions := c.Number != nil || len(c.Has)+len(c.Lacks)+len(c.Lines)+len(c.Set) > 0 ||
		c.Match != "" ||
		c.MatchNot != "" || c.Is != "" || c.Unchanged
	switch {
	case (c.Of != "") == (c.Run != ""):
		return errors.New("it needs either of or run")
	case (c.Of != "") != conditions:
		return errors.New("conditions belong to of, and of needs some")
	case (c.Run != "") != (c.Prints != ""):
		return errors.New("run and prints belong together")
	case c.Is != "" && (len(c.Choices) < 2 || !slices.Contains(c.Choices, c.Is)):
		return errors.New("is must be one of several choices")
	case c.Within < 0:
		return errors.New("within must not be negative")
	}
	for _, p := range []struct {
		text string
		to   **regexp.Regexp
	}{{c.Match, &c.match}, {c.MatchNot, &c.matchNot}} {
		if p.text == "" {
			continue
		}
		if *p.to, err = regexp.Compile(p.text); err != nil {
			return err
		}
	}
	if c.Unchanged {
		data, err := readBounded(files, c.Of)
		if err != nil {
			return err
		}
		c.before = string(data)
	}
	return nil
}

// Outcome is what a run left behind.
type Outcome struct {
	Dir    string // the work dir
	Answer string // empty: none was given
	// Run runs Python code in Dir, confined, and gives what it printed and
	// whether it ended well.
	Run func(ctx context.Context, code string) (output string, ok bool, err error)
}

// Verify says what is wrong with an outcome; nothing means that the task is
// solved. An error is one of the verifier, not of the agent.
func (t *Task) Verify(ctx context.Context, o Outcome) (wrong []string, err error) {
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", t.Name, err)
	}
	defer root.Close()
	for i := range t.Checks {
		problem, err := t.Checks[i].verify(ctx, root, t.Prompt, o)
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", t.Name, err)
		}
		if problem != "" {
			wrong = append(wrong, problem)
		}
	}
	return wrong, nil
}

func (c *Check) verify(ctx context.Context, root *os.Root, prompt string, o Outcome,
) (string, error) {
	switch {
	case c.Run != "":
		return c.verifyRun(ctx, o)
	case c.Of == ofAnswer:
		if strings.TrimSpace(o.Answer) == "" {
			return "no answer", nil
		}
		return c.prefixed(c.verifyText(o.Answer, prompt, numbersMax)), nil
	}
	data, err := readBounded(root.FS(), filepath.ToSlash(c.Of))
	if err != nil { // missing, too large, or a link that leads out
		return c.prefixed("can't be read: " + reason(err)), nil
	}
	return c.prefixed(c.verifyText(string(data), prompt, 1)), nil
}

// reason is an error without the path, which differs between runs.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

func (c *Check) prefixed(problem string) string {
	if problem == "" {
		return ""
	}
	return c.Of + ": " + problem
}

// verifyRun runs the check's code. That it printed what was wanted shows that it
// came to its end: code of the agent that ends the program is no success.
func (c *Check) verifyRun(ctx context.Context, o Outcome) (string, error) {
	output, ok, err := o.Run(ctx, c.Run)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "the code fails: " + lastLine(output), nil
	case lastLine(output) != c.Prints:
		return fmt.Sprintf("the code ended with %q", lastLine(output)), nil
	}
	return "", nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// verifyText holds a text against the conditions.
func (c *Check) verifyText(text, prompt string, numbers int) string {
	for _, condition := range []func() string{
		func() string { return c.verifyNumber(text, prompt, numbers) },
		func() string { return c.verifyWords(text) },
		func() string { return c.verifyChoice(text) },
		func() string { return c.verifyLines(text) },
	} {
		if problem := condition(); problem != "" {
			return problem
		}
	}
	return ""
}

func (c *Check) verifyWords(text string) string {
	for _, word := range c.Has {
		if !hasWord(text, word) {
			return fmt.Sprintf("lacks %q", word)
		}
	}
	for _, word := range c.Lacks {
		if hasWord(text, word) {
			return fmt.Sprintf("has %q", word)
		}
	}
	if c.match != nil && !c.match.MatchString(text) {
		return "does not match " + c.Match
	}
	if c.matchNot != nil && c.matchNot.MatchString(text) {
		return "matches " + c.MatchNot
	}
	return ""
}

// hasWord finds a word or phrase that stands alone, without case.
func hasWord(text, word string) bool {
	text, word = strings.ToLower(text), strings.ToLower(word)
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		i += from
		if !letterBefore(text[:i]) && !letterAfter(text[i+len(word):]) {
			return true
		}
		from = i + len(word)
	}
}

var (
	endsInLetter     = regexp.MustCompile(`[\pL\pN_]$`)
	beginsWithLetter = regexp.MustCompile(`^[\pL\pN_]`)
)

func letterBefore(text string) bool { return endsInLetter.MatchString(text[max(0, len(text)-4):]) }
func letterAfter(text string) bool  { return beginsWithLetter.MatchString(text) }

// verifyChoice wants the right one of the choices to be named, and no other.
func (c *Check) verifyChoice(text string) string {
	if c.Is == "" {
		return ""
	}
	var named []string
	for _, choice := range c.Choices {
		if hasWord(text, choice) {
			named = append(named, choice)
		}
	}
	if !slices.Equal(named, []string{c.Is}) {
		return fmt.Sprintf("names %q", strings.Join(named, ", "))
	}
	return ""
}

// number is digits with grouping commas or a decimal point or comma.
var number = regexp.MustCompile(`-?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+|,\d{1,2}\b)?)`)

// numbersIn are the different numbers of a text, in the order of their last mention.
func numbersIn(text string) []float64 {
	var out []float64
	for _, s := range number.FindAllString(text, -1) {
		if comma := strings.LastIndexByte(s, ','); comma >= 0 && !strings.Contains(s, ".") &&
			len(s)-comma <= 3 {
			s = s[:comma] + "." + s[comma+1:]
		}
		n, err := strconv.ParseFloat(strings.ReplaceAll(s, ",", ""), 64)
		if err != nil {
			continue
		}
		out = append(slices.DeleteFunc(out, func(o float64) bool { return o == n }), n)
	}
	return out
}

// verifyNumber wants the number to be stated: last of all, or as one of few
// that the task did not mention.
func (c *Check) verifyNumber(text, prompt string, most int) string {
	if c.Number == nil {
		return ""
	}
	right := func(n float64) bool { return math.Abs(n-*c.Number) <= c.Within }
	told := numbersIn(prompt)
	stated := slices.DeleteFunc(numbersIn(text),
		func(n float64) bool { return slices.Contains(told, n) && !right(n) })
	switch {
	case len(stated) == 0:
		return "states no number"
	case !slices.ContainsFunc(stated, right):
		return fmt.Sprintf("states %v", stated[:min(len(stated), 5)])
	case len(stated) > most && (most == 1 || !right(stated[len(stated)-1])):
		return fmt.Sprintf("states %d numbers", len(stated))
	}
	return ""
}

// verifyLines compares lines, without space at their ends and without empty
// lines at the end of the text.
func (c *Check) verifyLines(text string) string {
	got := lines(text)
	switch {
	case c.Unchanged && !slices.Equal(got, lines(c.before)):
		return "was changed"
	case c.Lines != nil && !slices.Equal(got, c.Lines):
		return fmt.Sprintf("has other lines, %d for %d", len(got), len(c.Lines))
	case c.Set == nil:
		return ""
	}
	want := slices.Sorted(slices.Values(c.Set))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Sprintf("has other lines, %d for %d", len(got), len(want))
	}
	return ""
}

func lines(text string) []string {
	out := strings.Split(strings.ReplaceAll(strings.TrimRight(text, " \t\r\n"), "\r\n", "\n"), "\n")
	for i := range out {
		out[i] = strings.TrimRight(out[i], " \t")
	}
	return out
}
