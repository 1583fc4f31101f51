package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"agent/command"
	"agent/internal/legible"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Change is a tool that differs from what was approved.
type Change struct {
	Server, Tool string
	Command      string // the command's name
	Before, Now  string // descriptions, cleaned, for a person to compare
	// FieldsBefore and FieldsNow are the fields of the input.
	FieldsBefore, FieldsNow []string
}

// tool is one tool of a server as a command.
type tool struct {
	server  *server
	name    string // as the server calls it
	command string // the command's name
	effect  command.Effect
	pins    *pinFile
	accept  func(context.Context, Change) (bool, error)

	mu    sync.Mutex
	seen  definition // what a model is offered: as approved, or as first listed
	saved bool       // seen was approved before, and is remembered
	now   definition // what the server says
	input schema     // of seen
	spec  command.Spec
}

// newTool makes the command of a listed tool; before is its pin, if any.
func newTool(s *server, listed *sdk.Tool, pins *pinFile, before pin,
	accept func(context.Context, Change) (bool, error),
) *tool {
	t := &tool{server: s, name: listed.Name, pins: pins, accept: accept, now: definitionOf(listed),
		effect: command.EffectNetwork}
	if slices.Contains(s.config.ReadOnly, listed.Name) {
		t.effect = command.EffectRead
	}
	t.seen, t.saved = t.now, before.Hash != ""
	if t.saved && before.Hash != t.now.hash() {
		t.seen = before.Definition
	}
	t.describe()
	return t
}

// describe makes the spec that a model sees. A definition that awaits approval is
// never shown.
func (t *tool) describe() {
	t.input = readSchema(t.seen.Schema)
	t.spec = command.Spec{Description: firstSentence(t.seen.Description, descriptionsMax),
		Effect: t.effect}
	if t.spec.Description == "" {
		t.spec.Description = texts.Say("no_description",
			map[string]string{"Tool": legible.OneLine(t.name), "Server": t.server.name})
	}
	for _, f := range t.input.fields {
		t.spec.Slots = append(t.spec.Slots, f.slot)
	}
}

// Spec implements [command.Command].
func (t *tool) Spec() command.Spec {
	t.mu.Lock()
	defer t.mu.Unlock()
	spec := t.spec
	spec.Name = t.command
	return spec
}

// Run implements [command.Command]: it calls the tool once for each entry, until
// one fails.
func (t *tool) Run(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	entries := call.Content
	if len(entries) == 0 {
		entries = []map[string]any{{}}
	}
	if len(entries) > entriesMax {
		return failed("too_many", map[string]any{"Most": entriesMax, "Given": len(entries)}), nil
	}
	limits := limitsOf(t.server.config, env)
	out := &command.Result{}
	var parts []string
	for i, entry := range entries {
		res, err := t.runOne(ctx, limits, entry)
		if err != nil {
			return nil, err
		}
		parts = append(parts, res.Text)
		out.Truncated = out.Truncated || res.Truncated
		if left := len(entries) - i - 1; res.Failed && left > 0 {
			parts = append(parts, texts.Say("stopped", map[string]any{"Left": left}))
		}
		if out.Failed = res.Failed; out.Failed {
			break
		}
		limits.bytes = max(limits.bytes-len(res.Text), partBytesMin)
	}
	out.Text = strings.Join(parts, "\n\n")
	return out, nil
}

// Preview implements [command.Previewer]: the server, the tool, and the input as
// it will be sent.
func (t *tool) Preview(_ context.Context, _ *command.Env, call *command.Call) (string, error) {
	t.mu.Lock()
	input := t.input
	t.mu.Unlock()
	lines := []string{fmt.Sprintf("tool %s of the MCP server %s", legible.OneLine(t.name),
		t.server.name)}
	for _, entry := range call.Content[:min(len(call.Content), entriesMax)] {
		args, wrong := input.arguments(entry)
		if wrong != nil {
			continue // it is not sent
		}
		raw, err := json.MarshalIndent(args, "", "  ")
		if err != nil {
			return "", err
		}
		lines = append(lines, string(raw))
	}
	return strings.Join(lines, "\n"), nil
}

// partBytesMin is shown of each further answer when the earlier ones have used up
// the limit.
const partBytesMin = 400

// limits bound one call.
type limits struct {
	timeout time.Duration
	bytes   int
}

func limitsOf(c Server, env *command.Env) limits {
	d := command.DefaultLimits()
	l := limits{timeout: c.Timeout, bytes: env.Limits.OutputBytes}
	if l.timeout <= 0 {
		l.timeout = time.Duration(env.Limits.TimeoutMS) * time.Millisecond
	}
	if l.timeout <= 0 {
		l.timeout = time.Duration(d.TimeoutMS) * time.Millisecond
	}
	if l.bytes <= 0 {
		l.bytes = d.OutputBytes
	}
	return l
}

// runOne makes one call, and repeats it if the connection broke and that does no
// harm.
func (t *tool) runOne(ctx context.Context, l limits, entry map[string]any,
) (*command.Result, error) {
	res, err := t.try(ctx, l, entry)
	if broke := (*brokenError)(nil); errors.As(err, &broke) &&
		(broke.notDone || !t.effect.Consequential()) {
		return t.try(ctx, l, entry)
	}
	return res, err
}

// try admits the tool and calls it. Each call is admitted by itself: the server
// may have changed or ended since the last one.
func (t *tool) try(ctx context.Context, l limits, entry map[string]any) (*command.Result, error) {
	link, err := t.admit(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	input := t.input
	t.mu.Unlock()
	args, wrong := input.arguments(entry)
	if wrong != nil {
		return failed(wrong.Name, wrong.Data), nil
	}
	answer, err := t.server.call(ctx, link, &sdk.CallToolParams{Name: t.name, Arguments: args},
		l.timeout)
	if err != nil {
		return nil, err
	}
	return t.server.result(answer, l.bytes), nil
}

// changesMax is how often a tool may change while a person decides.
const changesMax = 3

// admit lets a tool run if it is as approved, or if nobody has used it before:
// the session has asked about that call. A changed tool needs a new approval and
// is then checked once more, since deciding takes time. It returns the connection
// for which this holds.
func (t *tool) admit(ctx context.Context) (*link, error) {
	for range changesMax {
		listed, err := t.server.refresh(ctx)
		if err != nil {
			return nil, err
		}
		now, there := t.relist(listed)
		if !there {
			return nil, t.gone("it no longer has the tool %q")
		}
		c, changed := t.change(now)
		if !changed {
			return listed.link, t.approve(now)
		}
		if err := t.ask(ctx, c); err != nil {
			return nil, err
		}
		if err := t.approve(now); err != nil {
			return nil, err
		}
	}
	return nil, t.gone("its tool %q changes all the time")
}

// gone is why the tool can't be called any more.
func (t *tool) gone(format string) error {
	return &Error{Server: t.server.name, Detail: fmt.Sprintf(format, legible.OneLine(t.name))}
}

// ask asks a person about a changed tool.
func (t *tool) ask(ctx context.Context, c Change) error {
	if t.accept == nil {
		return &ChangedError{c}
	}
	ok, err := t.accept(ctx, c)
	switch {
	case err != nil:
		return fmt.Errorf("accept the changed tool %q: %w", t.command, err)
	case !ok:
		return &ChangedError{c}
	}
	return nil
}

// relist takes over what the server now says about this tool.
func (t *tool) relist(listed *listing) (now definition, there bool) {
	found, there := listed.tools[t.name]
	if !there {
		return definition{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = definitionOf(found)
	return t.now, true
}

// listed is what the server said about the tool when it was last looked up.
func (t *tool) listed() definition {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

// change says how the tool differs from what was approved.
func (t *tool) change(now definition) (Change, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen.hash() == now.hash() {
		return Change{}, false
	}
	return Change{
		Server: t.server.name, Tool: legible.OneLine(t.name), Command: t.command,
		Before:       legible.Clip(clean(t.seen.Description), shownBytesMax),
		Now:          legible.Clip(clean(now.Description), shownBytesMax),
		FieldsBefore: fieldNames(t.seen.Schema), FieldsNow: fieldNames(now.Schema),
	}, true
}

const shownBytesMax = 2000 // of a description, to a person

func fieldNames(schema any) []string {
	var names []string
	for _, f := range readSchema(schema).fields {
		names = append(names, f.slot.Name)
	}
	return names
}

// approve remembers the tool as it was shown for approval.
func (t *tool) approve(now definition) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	hash := now.hash()
	if t.saved && t.seen.hash() == hash {
		return nil
	}
	err := t.pins.put(pinKey(t.server.name, t.name),
		pin{Hash: hash, Definition: now, Approved: time.Now().UTC()})
	if err != nil {
		return err
	}
	t.seen, t.saved = now, true
	t.describe()
	return nil
}

// ChangedError is a tool that is refused because it differs from what was
// approved.
type ChangedError struct{ Change Change }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("mcp server %q: its tool %q has changed since it was approved, and is not used",
		e.Change.Server, e.Change.Tool)
}

// Hint says how to accept it.
func (e *ChangedError) Hint() string {
	return "a person can look at the change and accept it: agent commands accept " + e.Change.Command
}

// Refused marks it as a refusal, like that of a sandbox.
func (e *ChangedError) Refused() bool { return true }
