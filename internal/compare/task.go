package compare

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"agent/backend"
	"agent/internal/legible"
)

// Limits of a file of tasks.
const (
	TasksMax     = 100_000
	lineBytesMax = 16 << 20
)

// Task is one line of input: a question to every model. With Options it is a
// decision, otherwise a reply.
type Task struct {
	ID       string            `json:"id,omitempty"`
	Prompt   string            `json:"prompt,omitempty"`
	Messages []backend.Message `json:"messages,omitempty"` // instead of Prompt: taken as they are
	Options  []string          `json:"options,omitempty"`
	// Expected are the right answers; any of them will do. Without one the task
	// has no part in accuracy.
	Expected Texts `json:"expected,omitempty"`
	// Match says how a reply is held against Expected. Decisions are always exact.
	Match Match `json:"match,omitempty"`
	// TokensMax bounds the reply; 0 is the default of the run.
	TokensMax int `json:"max_tokens,omitempty"`

	patterns []*regexp.Regexp
}

// Match names a way to hold a reply against what is expected.
type Match string

// The ways to match. Case, and space at either end and in between, never count,
// but for a regexp.
const (
	MatchContains Match = "contains" // as whole words, anywhere in the reply; the default
	MatchExact    Match = "exact"    // but for a full stop or the like at the end
	MatchRegexp   Match = "regexp"   // RE2, anywhere in the reply
)

// Texts is one text or a list of them in JSON.
type Texts []string

// UnmarshalJSON takes "text" for ["text"].
func (t *Texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = Texts{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return errors.New("must be a text or a list of texts")
	}
	*t = many
	return nil
}

// Kind is "choose" or "chat".
func (t *Task) Kind() string {
	if len(t.Options) > 0 {
		return "choose"
	}
	return "chat"
}

// Question is the text that shows a person what the task is.
func (t *Task) Question() string {
	if t.Prompt != "" || len(t.Messages) == 0 {
		return t.Prompt
	}
	return t.Messages[len(t.Messages)-1].Content
}

// ReadTasks reads JSON lines; empty lines are passed over. All lines are
// checked before any model is asked, so the first mistake is an error with its
// line.
func ReadTasks(r io.Reader) ([]Task, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 1<<16), lineBytesMax)
	var tasks []Task
	line := 0
	for in.Scan() {
		line++
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		t, err := readTask(in.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if t.ID == "" {
			t.ID = fmt.Sprint(line)
		}
		if tasks = append(tasks, *t); len(tasks) > TasksMax {
			return nil, fmt.Errorf("line %d: more than %d tasks", line, TasksMax)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("after line %d: %w", line, err)
	}
	if len(tasks) == 0 {
		return nil, errors.New(`no tasks: give JSON lines such as {"prompt":"…","options":["a","b"],"expected":"a"}`)
	}
	return tasks, nil
}

func readTask(line []byte) (*Task, error) {
	t := &Task{}
	if err := legible.CheckJSON(line); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(t); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value on the line")
	}
	return t, t.check()
}

func (t *Task) check() error {
	switch {
	case t.Prompt == "" && len(t.Messages) == 0:
		return errors.New("neither prompt nor messages is given")
	case t.Prompt != "" && len(t.Messages) > 0:
		return errors.New("both prompt and messages are given")
	case t.TokensMax < 0:
		return errors.New("max_tokens must not be negative")
	case len(t.Messages) > 0:
		if err := backend.CheckMessages(t.Messages); err != nil {
			return err
		}
	}
	if t.Kind() == "choose" {
		return t.checkChoice()
	}
	return t.checkReply()
}

func (t *Task) checkChoice() error {
	if err := backend.CheckOptions(backend.Options(t.Options...)); err != nil {
		return err
	}
	if t.Match != "" && t.Match != MatchExact {
		return fmt.Errorf("match %q is for replies; an option is expected exactly", t.Match)
	}
	for _, e := range t.Expected {
		if !slices.Contains(t.Options, e) {
			return fmt.Errorf("expected %q is none of the options", e)
		}
	}
	return nil
}

func (t *Task) checkReply() error {
	switch t.Match {
	case "":
		t.Match = MatchContains
	case MatchContains, MatchExact:
	case MatchRegexp:
		for _, e := range t.Expected {
			re, err := regexp.Compile(e)
			if err != nil {
				return fmt.Errorf("expected: %w", err)
			}
			t.patterns = append(t.patterns, re)
		}
	default:
		return fmt.Errorf("match %q is none of %s, %s, %s", t.Match, MatchContains, MatchExact,
			MatchRegexp)
	}
	for _, e := range t.Expected {
		if t.Match != MatchRegexp && normal(e) == "" {
			return fmt.Errorf("expected %q has no word: any reply would contain it", e)
		}
	}
	return nil
}

// matched finds the expected answer that a reply or option is; -1: none.
func (t *Task) matched(answer string) int {
	for i, e := range t.Expected {
		if t.matches(i, e, answer) {
			return i
		}
	}
	return -1
}

func (t *Task) matches(i int, expected, answer string) bool {
	switch {
	case t.Kind() == "choose":
		return answer == expected
	case t.Match == MatchRegexp:
		return t.patterns[i].MatchString(answer)
	case t.Match == MatchExact:
		return normal(answer) == normal(expected)
	}
	return containsWords(normal(answer), normal(expected))
}

// normal folds case and space, and drops what ends a sentence.
func normal(s string) string {
	s = strings.ToLower(strings.Join(strings.Fields(s), " "))
	return strings.TrimSpace(strings.TrimRight(s, ".!?…"))
}

// containsWords looks for text that neither begins nor ends inside a word or
// number.
func containsWords(s, text string) bool {
	for from := 0; ; {
		i := strings.Index(s[from:], text)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(text)
		if !joins(s[:start], text) && !joins(s[:end], s[end:]) {
			return true
		}
		from = start + 1
	}
}

// joins reports whether a word goes on from the end of before into after.
func joins(before, after string) bool {
	if before == "" || after == "" {
		return false
	}
	last, _ := utf8.DecodeLastRuneInString(before)
	first, _ := utf8.DecodeRuneInString(after)
	return inWord(last) && inWord(first)
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' }
