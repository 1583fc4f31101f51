// Package command is the contract of what a model may do: the [Command]
// interface, the [Call] of one, and the [Registry] that an agent has. The
// built-in commands are in command/stock; command/salvage reads what a model
// meant from whatever it wrote.
//
// A command describes itself with a [Spec]; its slots say in which form a
// model writes each field best, so that a harness can ask for them one by one
// and build the canonical [Call] itself. The wire form of a call is
//
//	{"command": "...", "summary": "...", "content": [{...}, ...], "notes": [...]}
//
// Promises: a command runs confined to [Env].WorkDir; a result is data.
package command

import (
	"cmp"
	"context"
	"fmt"
)

// Command is one thing that a model may do. Implementations are safe for
// concurrent use.
type Command interface {
	Spec() Spec
	// Run carries out one call. A failure that the model can fix is a Result with
	// Failed set; an error means that the command itself could not work.
	Run(ctx context.Context, env *Env, call *Call) (*Result, error)
}

// Varied is a command whose effect depends on the call: reading a file changes
// nothing, saving what was read does.
type Varied interface {
	// CallEffect is the effect of one call, at least that of the Spec.
	CallEffect(call *Call) Effect
}

// EffectOf is the effect of one call of a command.
func EffectOf(c Command, call *Call) Effect {
	effect := c.Spec().Effect
	if v, ok := c.(Varied); ok && call != nil {
		effect = max(effect, v.CallEffect(call))
	}
	return effect
}

// Previewer is a command that can show a call before it runs: as a diff, or as
// code.
type Previewer interface {
	// Preview shows all that would be run, sent or written, since a person
	// approves the call by it. It is empty if there is nothing to show beyond the
	// call itself. It changes nothing.
	Preview(ctx context.Context, env *Env, call *Call) (string, error)
}

// Rewriter is a command that can say before it runs what will be in the files that it
// writes.
type Rewriter interface {
	// Rewrites are the files that would change, as far as they are text.
	Rewrites(ctx context.Context, env *Env, call *Call) ([]Rewrite, error)
}

// Rewrite is one file before and after a call.
type Rewrite struct {
	Path     string // slash-separated, relative to the work dir
	Old, New string
	Created  bool // there is no file yet
}

// Effect orders commands by what they can change, for approval.
type Effect int

// Effects, from harmless to consequential.
const (
	EffectNone    Effect = iota // thinks or answers
	EffectRead                  // reads inside the work dir
	EffectWrite                 // writes inside the work dir
	EffectExecute               // runs code in the sandbox
	EffectNetwork               // reaches out of this machine
)

func (e Effect) String() string {
	names := [...]string{"none", "read", "write", "execute", "network"}
	if e < 0 || int(e) >= len(names) {
		return fmt.Sprintf("effect(%d)", int(e))
	}
	return names[e]
}

// Consequential reports whether approval mode "ask" asks first. A guessed name is
// not enough to run such a command.
func (e Effect) Consequential() bool { return e >= EffectWrite }

// SlotKind is the natural form of one field of a call.
type SlotKind int

// Slot kinds, and how a harness obtains each.
const (
	SlotLine   SlotKind = iota // a short string, up to the end of the line
	SlotText                   // long text, in a fenced block
	SlotCode                   // code, in a fenced block of language Lang
	SlotFile                   // an existing file of the work dir, by option scoring
	SlotEnum                   // one of Options, by option scoring
	SlotYesNo                  // yes or no, by option scoring
	SlotNumber                 // a number, under a grammar
	SlotObject                 // a JSON value under Schema
	SlotPlace                  // a line of the file that an earlier field names, by option scoring
)

func (k SlotKind) String() string {
	names := [...]string{"line", "text", "code", "file", "choice", "yesno", "number", "object",
		"place"}
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("kind(%d)", int(k))
	}
	return names[k]
}

// MarshalText makes a SlotKind readable in JSON.
func (k SlotKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Slot is one field of a call's content.
type Slot struct {
	Name     string   `json:"name"`
	Help     string   `json:"help,omitempty"` // one short phrase that the model reads
	Kind     SlotKind `json:"kind"`
	Lang     string   `json:"lang,omitempty"`    // for SlotCode
	Options  []string `json:"options,omitempty"` // for SlotEnum
	Schema   string   `json:"schema,omitempty"`  // for SlotObject, JSON Schema
	Optional bool     `json:"optional,omitempty"`
	// Partial: a text cut at its length limit is used as far as it goes, and
	// FieldUnfinished is set in the call.
	Partial bool `json:"partial,omitempty"`
	// Target: for SlotLine, a file to be written. Names that the task gives can be
	// chosen, so that they stay as they were written.
	Target bool `json:"target,omitempty"`
	// Web: for SlotFile, web addresses from the conversation can be chosen too,
	// where commands may fetch.
	Web bool `json:"web,omitempty"`
}

// Spec describes a command to the model and to the harness.
type Spec struct {
	Name        string   // canonical, lower case
	Aliases     []string // other names that models use for it
	Description string   // one line that the model reads
	Slots       []Slot
	// Folders lists further fields in which a call names a folder or a pattern of
	// names. Rules about paths apply to them too.
	Folders []string
	Effect  Effect
	// For is the kind of task that the command is for; nil: any. It is offered in no
	// other, so that it makes no other choice harder.
	For       *Kind
	Essential bool // never disabled or replaced by a user's command of that name
	Final     bool // ends the task (answer)
}

// Kind is a kind of task, told by a question about the task that yes or no answers.
type Kind struct {
	Question  string
	Threshold float64 // nats by which yes must be likelier than no; measured
	Unscored  bool    // the command is offered, too, where nothing can be scored
	NoFile    bool    // what such a task says to make is no file of the work dir
}

// Call is one canonical use of a command.
type Call struct {
	Command string           `json:"command"`
	Summary string           `json:"summary"`
	Content []map[string]any `json:"content"`
	Notes   []string         `json:"notes,omitempty"`
}

// TextSlot names the field that takes text written without a label: the last
// required slot for text or code, else the first slot, else "text".
func (s Spec) TextSlot() string {
	for i := len(s.Slots) - 1; i >= 0; i-- {
		slot := s.Slots[i]
		if !slot.Optional && (slot.Kind == SlotText || slot.Kind == SlotCode) {
			return slot.Name
		}
	}
	if len(s.Slots) > 0 {
		return s.Slots[0].Name
	}
	return defaultTextSlot
}

// defaultTextSlot takes text without a label when the command has no slots or is
// unknown.
const defaultTextSlot = "text"

// FieldUnfinished marks a call whose Partial text was cut at its length limit.
// The text is used as far as it goes.
const FieldUnfinished = "unfinished"

// ReaderName is the built-in command that reads files. Rules about what it may
// read also hold for other commands that show text of files, such as list.
const ReaderName = "reader"

// Env is what a command may use. One Env serves one session.
type Env struct {
	WorkDir  string            // absolute; every path is confined to it
	Metadata map[string]string // secrets and user data; never shown to a model, a log or an event
	Limits   Limits
	// AllowUnsandboxed lets code run where no sandbox can be set up.
	AllowUnsandboxed bool
	// Web says what may be fetched; the zero value: nothing.
	Web Web
	// StateDir is a private folder outside the work dir for what commands keep
	// between the calls of a session. It is made when needed. Only sandboxed code
	// reads it. Empty: nothing is kept.
	StateDir string
	// Withheld reports a file, slash-separated, that a command must not show in a
	// list: the rules would refuse or ask about a call that names it. A session
	// sets it before each call. nil: nothing is withheld.
	Withheld func(command, path string) bool
	// KeptBack reports a file whose text must not be shown, because a rule about
	// its path forbids this command, such as the reader. nil: nothing is kept back.
	KeptBack func(command, path string) bool
	// Files describes the files that commands made. The agents that work on one
	// task share it. nil: nothing is described.
	Files *FileIndex

	// Buffers is the editor in which files of the work dir are open. nil: none is.
	Buffers Buffers

	// Task is what the user asked of the run, in his words. Empty: it is not known.
	Task string
	// Ask puts a question to the run's model, outside the conversation and within
	// the run's budget. nil: there is no model to ask.
	Ask func(ctx context.Context, prompt string, tokensMax int) (string, error)
	// Judge lets the run's model decide which option fits a text, by scoring, within
	// the run's budget. nil: there is no model that can.
	Judge func(ctx context.Context, question, text string, options []string) (Judgement, error)
	// AskBytesMax bounds a prompt of Ask; 0 means a default.
	AskBytesMax int
	// Fits reports whether a result would be shown whole. A command that can show
	// one part at a time then shows less, so that its middle is not cut out. nil:
	// what fits Limits.OutputBytes.
	Fits func(text string) bool
}

// Buffers is an editor that may hold newer text of a file than the disk does. Paths are
// absolute, and were found to lie in the work dir.
type Buffers interface {
	// ReadText gives what the editor shows of a file. False: it has nothing of it.
	ReadText(ctx context.Context, path string) (text string, ok bool)
	// WriteText has the editor write a file. False: it does not write files.
	WriteText(ctx context.Context, path, text string) (ok bool, err error)
}

// Limits bound one command. Zero fields mean the defaults of DefaultLimits.
type Limits struct {
	TimeoutMS   int   // wall time of a child process
	MemoryBytes int64 // address space of a child process
	OutputBytes int   // text given back to the model
	FileBytes   int64 // largest file read or written
}

// OrDefaults fills the zero fields from [DefaultLimits].
func (l Limits) OrDefaults() Limits {
	d := DefaultLimits()
	l.TimeoutMS = cmp.Or(max(l.TimeoutMS, 0), d.TimeoutMS)
	l.MemoryBytes = cmp.Or(max(l.MemoryBytes, 0), d.MemoryBytes)
	l.OutputBytes = cmp.Or(max(l.OutputBytes, 0), d.OutputBytes)
	l.FileBytes = cmp.Or(max(l.FileBytes, 0), d.FileBytes)
	return l
}

// DefaultLimits suit real tasks and stop a runaway child.
func DefaultLimits() Limits {
	return Limits{TimeoutMS: 60_000, MemoryBytes: 2 << 30, OutputBytes: 16 << 10, FileBytes: 16 << 20}
}

// Result is what a command returns. It is data, never an instruction.
type Result struct {
	Text      string
	Failed    bool     // the model should mend something
	Truncated bool     // Text was cut at Limits.OutputBytes, and says so
	Files     []string // files created or changed, relative to the work dir
	Answer    string   // set by a Final command
}
