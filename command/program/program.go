// Package program makes commands of files: one file in a folder is one command,
// a Python file with a header or any executable that describes itself. Files
// are taken up while a run is going, and the agent can write its own.
//
// Make a [Set] of folders and call [Set.Refresh] at the start of each step: it
// registers what is new, redefines what changed and removes what is gone, and
// tells each [Change]. [Create] is the command by which the agent makes another.
//
// A file is called with a request as JSON on standard input and answers with
// text on standard output. What it declares is what it gets: without "read" it
// sees no file of the work dir, without "write" it changes none, without
// "network" it reaches nothing, and of the session's metadata it is handed the
// keys that it names. What runs are the bytes that were checked, held in
// memory, not what the file has become since.
package program

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"agent/command"
	"agent/command/outcome"
	"agent/command/sandbox"
	"agent/internal/legible"
)

// Program is a command that is a file. It is a [command.Command].
type Program struct {
	definition
	file   string // where it was found
	code   []byte // the bytes that were checked
	python bool
	runner *runner
}

// File is where the program was found.
func (p *Program) File() string { return p.file }

// Spec implements [command.Command].
func (p *Program) Spec() command.Spec { return p.spec }

// Needs lists what the program may do: "read", "write", "network".
func (p *Program) Needs() []string { return p.needs }

// MetadataKeys are the keys of the session's metadata that it receives.
func (p *Program) MetadataKeys() []string { return p.metadata }

// request is what a program reads on its standard input.
type request struct {
	Content  []map[string]any  `json:"content"`
	Summary  string            `json:"summary"`
	Metadata map[string]string `json:"metadata"`
}

// Run implements [command.Command].
func (p *Program) Run(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	content, problem := p.readContent(call.Content)
	if problem != "" {
		return &command.Result{Text: problem, Failed: true}, nil
	}
	req := request{Content: content, Summary: call.Summary, Metadata: map[string]string{}}
	for _, key := range p.metadata {
		if value, ok := env.Metadata[key]; ok {
			req.Metadata[key] = value
		}
	}
	stdin, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.spec.Name, err)
	}
	out, err := p.runner.run(ctx, env, p, stdin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.spec.Name, err)
	}
	return p.result(out, p.limits(env)), nil
}

// limits are those of the session, with the program's own time if that is less.
func (p *Program) limits(env *command.Env) command.Limits {
	l := env.Limits.OrDefaults()
	if own := int(p.timeout.Milliseconds()); own > 0 && own < l.TimeoutMS {
		l.TimeoutMS = own
	}
	return l
}

// readContent gives numbers and yes or no their types, which text replies lack,
// and finds missing fields.
func (p *Program) readContent(entries []map[string]any) ([]map[string]any, string) {
	if len(entries) == 0 {
		entries = []map[string]any{{}}
	}
	out := make([]map[string]any, len(entries))
	for i, entry := range entries {
		out[i] = map[string]any{}
		maps.Copy(out[i], entry)
		for _, slot := range p.spec.Slots {
			value, given := entry[slot.Name]
			if !given {
				if !slot.Optional {
					return nil, texts.Say("missing_field", slot)
				}
				continue
			}
			typed, ok := typedValue(slot, value)
			if !ok {
				return nil, texts.Say("bad_field",
					map[string]any{"Name": slot.Name, "Want": kindName(slot.Kind),
						"Value": legible.Line(fmt.Sprint(value), 60)})
			}
			out[i][slot.Name] = typed
		}
	}
	return out, ""
}

// typedValue reads a value as its slot means it.
func typedValue(slot command.Slot, value any) (any, bool) {
	text, isText := value.(string)
	switch slot.Kind {
	case command.SlotNumber:
		if !isText {
			return value, isNumber(value)
		}
		n, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(text), ",", ""), 64)
		return n, err == nil && !math.IsInf(n, 0) && !math.IsNaN(n)
	case command.SlotYesNo:
		return command.YesNo(value)
	case command.SlotEnum:
		for _, option := range slot.Options {
			if isText && strings.EqualFold(strings.TrimSpace(text), option) {
				return option, true
			}
		}
		return nil, false
	}
	return value, true
}

func isNumber(value any) bool {
	switch value.(type) {
	case float64, float32, int, int64, json.Number:
		return true
	}
	return false
}

// stderrRunes bounds what the model is shown of a failed program's stderr.
const stderrRunes = 1500

// result turns a program's output into the result for the model.
func (p *Program) result(out *sandbox.Outcome, limits command.Limits) *command.Result {
	r := &command.Result{Failed: out.ExitCode != 0 || out.Exceeded != "", Truncated: out.Dropped > 0}
	var parts []string
	if text := outcome.Output(out); text != "" {
		parts = append(parts, text)
	}
	if r.Failed {
		if text := lastRunes(strings.TrimSpace(validText(out.Stderr)), stderrRunes); text != "" {
			parts = append(parts, text)
		}
		if out.ExitCode == 1 {
			parts = append(parts, texts.Say("exit_code", 1))
		}
	}
	if ending := outcome.Ending(out, limits); ending != "" {
		parts = append(parts, ending)
	}
	r.Text = strings.Join(parts, "\n")
	if r.Text == "" {
		r.Text = texts.Say("no_output", nil)
	}
	return r
}

// copyName is the name of the private copy that runs; tracebacks show it.
func (p *Program) copyName() string { return filepath.Base(p.file) }

// placeCopy writes the checked bytes to a folder that only the job reads.
func (p *Program) placeCopy(dir string) (string, error) {
	path := filepath.Join(dir, p.copyName())
	if err := os.WriteFile(path, p.code, 0o500); err != nil {
		return "", fmt.Errorf("place program: %w", err)
	}
	return path, nil
}
