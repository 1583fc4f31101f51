// Package event says what happens in a run, as values and as JSON lines: [Event]
// carries a [Payload]; a run begins with [Started] and ends with [Result].
//
// Promise: what MarshalJSON writes UnmarshalJSON reads, and a line is one flat
// object.
package event

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"agent/backend"
	"agent/command"
)

// Stop says why a run ended. Each reason has an exit code of its own in the
// command line's contract.
type Stop string

// Why a run ended.
const (
	StopAnswered    Stop = "answered"
	StopSteps       Stop = "steps"       // Limits.StepsMax
	StopTokens      Stop = "tokens"      // Limits.TokensMax
	StopTime        Stop = "time"        // Limits.Timeout
	StopLoop        Stop = "loop"        // the same call again and again
	StopRefused     Stop = "refused"     // nothing that it wants to do is allowed
	StopUnmet       Stop = "unmet"       // what the task asks for is missing, and was said twice in vain
	StopInterrupted Stop = "interrupted" // the caller's context was cancelled
	StopError       Stop = "error"       // the model or a part of the program failed
)

// Budget reports whether the run ended because a limit was reached.
func (s Stop) Budget() bool {
	return s == StopSteps || s == StopTokens || s == StopTime || s == StopLoop
}

// Event is one thing that happened in a run. Data is a pointer to one of the
// payload types below; its fields stand beside type and time in the JSON line.
type Event struct {
	Time time.Time
	Data Payload
	// Session is the child session that it is of, and Parent the one that
	// delegated to it. Both are empty for the run itself.
	Session, Parent string
}

// Payload is the data of an [Event].
type Payload interface {
	// EventType is the value of "type" in the JSON line.
	EventType() string
}

// Started is the first event of a run, or of a resumed one.
type Started struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Task    string `json:"task"`
	WorkDir string `json:"workdir"`
	Mode    string `json:"mode"` // "slots" or "text"
	Resumed bool   `json:"resumed,omitempty"`
}

// Note is the line of free reasoning with which a step begins.
type Note struct {
	Step int    `json:"step"`
	Text string `json:"text"`
}

// CallMade is a call as it was understood, before anything ran.
type CallMade struct {
	Step     int              `json:"step"`
	Command  string           `json:"command"`
	Summary  string           `json:"summary"`
	Content  []map[string]any `json:"content"`
	Final    bool             `json:"final,omitempty"` // it ends the task: its content is the answer
	Repaired bool             `json:"repaired"`
	Repairs  []string         `json:"repairs,omitempty"`
	// of the command and its fields, with probabilities
	Choices []ChoiceMade `json:"choices,omitempty"`
}

// Approval is a decision about a consequential call.
type Approval struct {
	Step    int    `json:"step"`
	Command string `json:"command"`
	Mode    string `json:"mode"`
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason,omitempty"`
	By      string `json:"by"`             // who decided: mode, rule, person or overseer
	Rule    string `json:"rule,omitempty"` // the rule that decided, or had a person asked
}

// CommandResult is a command's result as the model sees it.
type CommandResult struct {
	Step      int      `json:"step"`
	Command   string   `json:"command"`
	Text      string   `json:"text"`
	Failed    bool     `json:"failed"`
	Truncated bool     `json:"truncated"`
	Files     []string `json:"files,omitempty"`
	WallMS    int64    `json:"wall_ms"`
}

// Delta is a piece of a turn as it is written. All pieces of a step joined are
// the turn. Fixed text is the harness's: the labels around what the model wrote.
type Delta struct {
	Step   int    `json:"step"`
	Text   string `json:"text"`
	Tokens int    `json:"tokens,omitempty"` // generated for it, where the backend knows
	Fixed  bool   `json:"fixed,omitempty"`
}

// Warning is something a person should know that stopped nothing.
type Warning struct {
	Text string `json:"text"`
}

// Kinds of [CommandChange].
const (
	CommandAdded   = "added"
	CommandChanged = "changed"
	CommandRemoved = "removed"
	CommandBroken  = "broken" // a file that can't be used; see Problem
	CommandRefused = "untrusted"
)

// CommandChange is a change of a command, or of its file.
type CommandChange struct {
	Change  string `json:"change"`
	Command string `json:"command,omitempty"`
	File    string `json:"file,omitempty"`
	Problem string `json:"problem,omitempty"` // with the file's line where it has one
	Hint    string `json:"hint,omitempty"`
	Kept    bool   `json:"kept,omitempty"` // the version before stays in force
}

// Commands tells what became of the commands since the step before.
type Commands struct {
	Step    int             `json:"step"`
	Changes []CommandChange `json:"changes"`
}

// Guides tells what the folder and the user say to agents that joined the task.
type Guides struct {
	Files  []GuideFile `json:"files"`
	Choice *ChoiceMade `json:"choice,omitempty"` // of a skill, where there are some
}

// GuideFile is an AGENTS.md, or the SKILL.md of the skill that was chosen.
type GuideFile struct {
	Path   string `json:"path"`
	Skill  string `json:"skill,omitempty"` // its name
	Tokens int    `json:"tokens"`          // that are shown
	Cut    bool   `json:"cut,omitempty"`   // not all of it
}

// SubtaskStarted is a part of the task given to a child session. The child's
// own events follow, each with its id in Event.Session.
type SubtaskStarted struct {
	Number int      `json:"number"`
	Task   string   `json:"task"`
	Files  []string `json:"files,omitempty"` // that it is likely to need
	After  []int    `json:"after,omitempty"` // numbers of the parts that it waited for
	Try    int      `json:"try"`             // from 1
}

// SubtaskEnded is the outcome of a child session.
type SubtaskEnded struct {
	Number int    `json:"number"`
	Answer string `json:"answer"`
	Stop   Stop   `json:"stop"`
	Steps  int    `json:"steps"`
	WallMS int64  `json:"wall_ms"`
	Usage  Usage  `json:"usage"`
	Error  string `json:"error,omitempty"`
	Try    int    `json:"try"`
}

// Usage is what a run cost. PromptTokens counts every prompt as sent;
// EvaluatedTokens those that were really computed.
type Usage struct {
	PromptTokens     int     `json:"prompt_tokens"`
	EvaluatedTokens  int     `json:"evaluated_tokens"`
	CachedTokens     int     `json:"cached_tokens"`
	CompletionTokens int     `json:"completion_tokens"`
	PrefillMS        float64 `json:"prefill_ms,omitempty"` // time spent on prompts, where the backend knows it
	DecodeMS         float64 `json:"decode_ms,omitempty"`  // time spent on replies
	InvalidReplies   int     `json:"invalid_replies"`
	RepairedReplies  int     `json:"repaired_replies"`
}

// Computed is the number of tokens that cost time; token budgets count it.
func (u Usage) Computed() int { return u.EvaluatedTokens + u.CompletionTokens }

// AddCall adds what one call of a backend cost; nil is nothing.
func (u *Usage) AddCall(v *backend.Usage) {
	if v == nil {
		return
	}
	u.PromptTokens += v.PromptTokens
	u.EvaluatedTokens += v.EvaluatedTokens
	u.CachedTokens += v.CachedTokens
	u.CompletionTokens += v.CompletionTokens
	u.PrefillMS += ms(v.Prefill)
	u.DecodeMS += ms(v.Decode)
}

// Add adds another cost.
func (u *Usage) Add(v Usage) {
	u.PromptTokens += v.PromptTokens
	u.EvaluatedTokens += v.EvaluatedTokens
	u.CachedTokens += v.CachedTokens
	u.CompletionTokens += v.CompletionTokens
	u.PrefillMS += v.PrefillMS
	u.DecodeMS += v.DecodeMS
	u.InvalidReplies += v.InvalidReplies
	u.RepairedReplies += v.RepairedReplies
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// OfBackend is the cost as backends tell it.
func (u Usage) OfBackend() backend.Usage {
	return backend.Usage{
		PromptTokens: u.PromptTokens, EvaluatedTokens: u.EvaluatedTokens, CachedTokens: u.CachedTokens,
		CompletionTokens: u.CompletionTokens,
		Prefill:          time.Duration(u.PrefillMS * float64(time.Millisecond)),
		Decode:           time.Duration(u.DecodeMS * float64(time.Millisecond)),
	}
}

// Wants is what a task wants, by what the model makes of plain questions about it.
type Wants struct {
	Known    bool   `json:"known"`              // it was asked; else the rest says nothing
	Writes   bool   `json:"writes"`             // a file is to be created or changed
	Result   string `json:"result,omitempty"`   // the file in which the result stands then; empty where it is no single one
	Changes  bool   `json:"changes,omitempty"`  // a file that is there, and most of it stays
	Replaces bool   `json:"replaces,omitempty"` // a name or text by another, in several files
	Number   bool   `json:"number,omitempty"`   // the answer is to be a number alone
}

// Result is how a run ended, and the last event of each run.
type Result struct {
	Answer string `json:"answer"`
	Stop   Stop   `json:"stop"`
	Steps  int    `json:"steps"`
	WallMS int64  `json:"wall_ms"`
	Usage  Usage  `json:"usage"`
	Error  string `json:"error,omitempty"` // when Stop is StopError
	ID     string `json:"id,omitempty"`
	Cut    bool   `json:"answer_cut,omitempty"` // a limit ended the answer, not the model
	Unmet  string `json:"unmet,omitempty"`      // what is missing, when Stop is StopUnmet
}

func (*Started) EventType() string        { return "session" }
func (*Note) EventType() string           { return "note" }
func (*CallMade) EventType() string       { return "call" }
func (*Approval) EventType() string       { return "approval" }
func (*CommandResult) EventType() string  { return "command_result" }
func (*Delta) EventType() string          { return "delta" }
func (*Warning) EventType() string        { return "warning" }
func (*Wants) EventType() string          { return "wants" }
func (*Commands) EventType() string       { return "commands" }
func (*Guides) EventType() string         { return "guides" }
func (*SubtaskStarted) EventType() string { return "subtask" }
func (*SubtaskEnded) EventType() string   { return "subtask_result" }
func (*Result) EventType() string         { return "result" }

// All are one of each type, empty.
func All() []Payload {
	return []Payload{
		&Started{}, &Note{}, &CallMade{}, &Approval{}, &CommandResult{}, &Delta{}, &Warning{}, &Result{},
		&SubtaskStarted{}, &SubtaskEnded{},
		&Commands{}, &Guides{}, &Wants{},
	}
}

// New makes an empty payload of a type, or nil for an unknown one.
func New(eventType string) Payload {
	for _, p := range All() {
		if p.EventType() == eventType {
			return p
		}
	}
	return nil
}

// MarshalJSON writes the event as one flat JSON object.
func (e Event) MarshalJSON() ([]byte, error) {
	if e.Data == nil {
		return nil, fmt.Errorf("event: no data")
	}
	return spliceJSON(head{e.Data.EventType(), e.Time, e.Session, e.Parent}, e.Data)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Event) UnmarshalJSON(line []byte) error {
	var head head
	if err := json.Unmarshal(line, &head); err != nil {
		return err
	}
	data := New(head.Type)
	if data == nil {
		return fmt.Errorf("event: unknown type %q", head.Type)
	}
	if err := json.Unmarshal(line, data); err != nil {
		return err
	}
	*e = Event{Time: head.Time, Data: data, Session: head.Session, Parent: head.Parent}
	return nil
}

type head struct {
	Type string    `json:"type"`
	Time time.Time `json:"time"`

	Session string `json:"session,omitempty"`
	Parent  string `json:"parent,omitempty"`
}

// spliceJSON marshals two objects into one, the fields of a first.
func spliceJSON(a, b any) ([]byte, error) {
	first, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	second, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(second, []byte("{}")) {
		return first, nil
	}
	joined := append(first[:len(first)-1], ',')
	return append(joined, second[1:]...), nil
}

// Made is the event of a call.
func Made(step int, call *command.Call, final bool, repairs []string) *CallMade {
	content := call.Content
	if content == nil {
		content = []map[string]any{}
	}
	return &CallMade{
		Step: step, Command: call.Command, Summary: call.Summary, Content: content, Final: final,
		Repaired: len(repairs) > 0, Repairs: repairs,
	}
}

// ChoiceMade is a choice among options by their probabilities.
type ChoiceMade struct {
	Field   string         `json:"field"` // "command", or a field of it
	Method  string         `json:"method"`
	Options []ScoredChoice `json:"options"` // the likeliest first
	More    int            `json:"more,omitempty"`
	// of replies that are none of the options
	OutsideMass *float64 `json:"outside_mass,omitempty"`
}

// ScoredChoice is one option; Probability is nil where the backend knows none.
type ScoredChoice struct {
	Text        string   `json:"text"`
	Probability *float64 `json:"probability,omitempty"`
	Chosen      bool     `json:"chosen,omitempty"`
}

// choiceOptionsMax options of a choice are told.
const choiceOptionsMax = 12

// Chosen tells a choice with its numbers.
func Chosen(field string, c *backend.Choice) ChoiceMade {
	made := ChoiceMade{Field: field, Method: c.Method, OutsideMass: known(c.OutsideMass)}
	for i, o := range c.Options {
		made.Options = append(made.Options, ScoredChoice{
			Text: strings.TrimSpace(o.Text), Probability: known(o.Probability), Chosen: i == c.Index,
		})
	}
	made.More = max(len(made.Options)-choiceOptionsMax, 0)
	made.Options = likeliest(made.Options, choiceOptionsMax)
	return made
}

// known leaves out a number that a backend does not have.
func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// likeliest puts options in order and keeps the first n; the chosen one stays
// whatever its place.
func likeliest(options []ScoredChoice, n int) []ScoredChoice {
	slices.SortStableFunc(options, func(a, b ScoredChoice) int {
		if a.Probability == nil || b.Probability == nil {
			return 0
		}
		return cmp.Compare(*b.Probability, *a.Probability)
	})
	if len(options) <= n {
		return options
	}
	if i := slices.IndexFunc(options, func(o ScoredChoice) bool { return o.Chosen }); i >= n {
		options[n-1] = options[i]
	}
	return options[:n]
}
