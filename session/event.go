package session

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// Payload is what an [Event] carries.
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
	Choices  []ChoiceMade     `json:"choices,omitempty"` // of the command and its fields, with probabilities
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

// CommandResult is what the model is shown of a command's result.
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

// Computed is the number of tokens that cost time: it is what a token budget
// counts.
func (u Usage) Computed() int { return u.EvaluatedTokens + u.CompletionTokens }

func (u *Usage) addCall(v *backend.Usage) {
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

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (u *Usage) addChoice(c *backend.Choice) {
	u.PromptTokens += c.EvaluatedTokens + c.CachedTokens
	u.EvaluatedTokens += c.EvaluatedTokens
	u.CachedTokens += c.CachedTokens
	u.CompletionTokens += c.CompletionTokens
}

// ofBackend is the cost as backends tell it.
func (u Usage) ofBackend() backend.Usage {
	return backend.Usage{
		PromptTokens: u.PromptTokens, EvaluatedTokens: u.EvaluatedTokens, CachedTokens: u.CachedTokens, CompletionTokens: u.CompletionTokens,
		Prefill: time.Duration(u.PrefillMS * float64(time.Millisecond)), Decode: time.Duration(u.DecodeMS * float64(time.Millisecond)),
	}
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
}

// EventType implements [Payload].
func (*Started) EventType() string { return "session" }

// EventType implements [Payload].
func (*Note) EventType() string { return "note" }

// EventType implements [Payload].
func (*CallMade) EventType() string { return "call" }

// EventType implements [Payload].
func (*Approval) EventType() string { return "approval" }

// EventType implements [Payload].
func (*CommandResult) EventType() string { return "command_result" }

// EventType implements [Payload].
func (*Delta) EventType() string { return "delta" }

// EventType implements [Payload].
func (*Warning) EventType() string { return "warning" }

// EventType implements [Payload].
func (*Result) EventType() string { return "result" }

// payloads are one of each type, empty.
func payloads() []Payload {
	return []Payload{&Started{}, &Note{}, &CallMade{}, &Approval{}, &CommandResult{}, &Delta{}, &Warning{}, &Result{}, &SubtaskStarted{}, &SubtaskEnded{}, &Commands{}}
}

// newPayload makes an empty payload of a type, or nil for an unknown one.
func newPayload(eventType string) Payload {
	for _, p := range payloads() {
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
	return spliceJSON(eventHead{e.Data.EventType(), e.Time, e.Session, e.Parent}, e.Data)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Event) UnmarshalJSON(line []byte) error {
	var head eventHead
	if err := json.Unmarshal(line, &head); err != nil {
		return err
	}
	data := newPayload(head.Type)
	if data == nil {
		return fmt.Errorf("event: unknown type %q", head.Type)
	}
	if err := json.Unmarshal(line, data); err != nil {
		return err
	}
	*e = Event{Time: head.Time, Data: data, Session: head.Session, Parent: head.Parent}
	return nil
}

type eventHead struct {
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

// callMade is the event of a call.
func callMade(step int, call *command.Call, final bool, repairs []string) *CallMade {
	content := call.Content
	if content == nil {
		content = []map[string]any{}
	}
	return &CallMade{
		Step: step, Command: call.Command, Summary: call.Summary, Content: content, Final: final,
		Repaired: len(repairs) > 0, Repairs: repairs,
	}
}
