package acp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"

	"agent/command"
	"agent/internal/bounded"
	"agent/internal/serve/work"
	"agent/session"

	sdk "github.com/coder/acp-go-sdk"
)

// teller tells an editor what happens in a run.
type teller struct {
	send func(sdk.SessionUpdate)
	run  *session.Options
	live bool // what is told happens now

	mu    sync.Mutex       // parts of a task tell at the same time
	made  int              // calls so far
	calls map[string]*call // in work, by the session that makes them
	parts []sdk.PlanEntry  // of the task that is split
}

// call is one that the editor shows.
type call struct {
	id       sdk.ToolCallId
	step     int
	command  string
	content  []map[string]any
	rewrites []command.Rewrite
}

func newTeller(send func(sdk.SessionUpdate), run *session.Options) *teller {
	return &teller{send: send, run: run, calls: map[string]*call{}}
}

// begin forgets what the prompt before was about.
func (t *teller) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.parts, t.live = nil, true
	clear(t.calls)
}

// event tells one event.
func (t *teller) event(ev session.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := ev.Data.(type) {
	case *session.Note:
		t.send(sdk.UpdateAgentThoughtText(e.Text + "\n"))
	case *session.Warning:
		t.send(sdk.UpdateAgentThoughtText("Warning: " + e.Text + "\n"))
	case *session.Guides:
		t.guides(ev)
	case *session.CallMade:
		t.begun(ev.Session, e)
	case *session.Approval:
		t.decided(ev.Session, e)
	case *session.CommandResult:
		t.ended(ev.Session, e)
	case *session.SubtaskStarted:
		t.part(e.Number, e.Task, sdk.PlanEntryStatusInProgress)
	case *session.SubtaskEnded:
		t.part(e.Number, "", sdk.PlanEntryStatusCompleted)
	case *session.Result:
		t.result(ev.Session, e)
	}
}

// guides tells what of AGENTS.md and skills joined the task.
func (t *teller) guides(ev session.Event) {
	var line strings.Builder
	if session.RenderText(&line, ev, session.RenderOptions{}) == nil && line.Len() > 0 {
		t.send(sdk.UpdateAgentThoughtText(line.String()))
	}
}

// begun tells of a call before anything runs.
func (t *teller) begun(of string, e *session.CallMade) {
	if e.Final {
		return // its text comes with the result
	}
	t.made++
	c := &call{
		id:      sdk.ToolCallId(fmt.Sprintf("%d", t.made)),
		step:    e.Step,
		command: e.Command,
		content: e.Content,
	}
	t.calls[of] = c
	if t.live {
		c.rewrites = t.rewrites(e)
	}
	t.send(sdk.StartToolCall(c.id, work.Title(e.Command, e.Summary),
		sdk.WithStartKind(t.kind(e.Command)), sdk.WithStartStatus(sdk.ToolCallStatusPending),
		sdk.WithStartRawInput(map[string]any{"command": e.Command, "content": e.Content}),
		sdk.WithStartLocations(t.places(e.Content))))
}

// places are the files that a call names.
func (t *teller) places(content []map[string]any) []sdk.ToolCallLocation {
	var out []sdk.ToolCallLocation
	for _, entry := range content {
		if name, ok := command.FileOf(entry); ok {
			if path, ok := command.LocalPath(t.run.Env.WorkDir, name); ok {
				out = append(out, sdk.ToolCallLocation{Path: filepath.Join(t.run.Env.WorkDir, path)})
			}
		}
	}
	return out
}

// rewrites are the files that a call would change, as far as its command can say.
func (t *teller) rewrites(e *session.CallMade) []command.Rewrite {
	cmd, err := t.run.Registry.Resolve(e.Command)
	w, ok := cmd.(command.Rewriter)
	if err != nil || !ok {
		return nil
	}
	out, _ := w.Rewrites(context.Background(), t.run.Env,
		&command.Call{Command: e.Command, Content: e.Content})
	return out
}

// kind is the protocol's word for what a command does.
func (t *teller) kind(name string) sdk.ToolKind {
	cmd, err := t.run.Registry.Resolve(name)
	if err != nil {
		return sdk.ToolKindOther
	}
	switch cmd.Spec().Effect {
	case command.EffectNone:
		return sdk.ToolKindThink
	case command.EffectRead:
		return sdk.ToolKindRead
	case command.EffectWrite:
		return sdk.ToolKindEdit
	case command.EffectExecute:
		return sdk.ToolKindExecute
	case command.EffectNetwork:
		return sdk.ToolKindFetch
	}
	return sdk.ToolKindOther
}

// decided tells that a call runs now, or why it does not.
func (t *teller) decided(of string, e *session.Approval) {
	c := t.calls[of]
	if c == nil || c.command != e.Command {
		return
	}
	if e.Allowed {
		t.send(sdk.UpdateToolCall(c.id, sdk.WithUpdateStatus(sdk.ToolCallStatusInProgress)))
		return
	}
	delete(t.calls, of)
	t.send(sdk.UpdateToolCall(c.id, sdk.WithUpdateStatus(sdk.ToolCallStatusFailed),
		sdk.WithUpdateContent([]sdk.ToolCallContent{textContent("Not allowed: " + e.Reason)})))
}

// ended tells what came of a call: its text, and what it made of files.
func (t *teller) ended(of string, e *session.CommandResult) {
	c := t.calls[of]
	if c == nil || c.command != e.Command {
		return
	}
	delete(t.calls, of)
	status := sdk.ToolCallStatusCompleted
	if e.Failed {
		status = sdk.ToolCallStatusFailed
	}
	content := []sdk.ToolCallContent{textContent(e.Text)}
	for _, name := range e.Files {
		if d, ok := t.change(c, name); ok {
			content = append(content, d)
		}
	}
	t.send(sdk.UpdateToolCall(c.id, sdk.WithUpdateStatus(status), sdk.WithUpdateContent(content),
		sdk.WithUpdateRawOutput(map[string]any{"text": e.Text, "files": e.Files})))
}

// changeBytesMax bounds a text in a diff.
const changeBytesMax = 1 << 20

// change shows a file that was looked at before it was written, as it is now.
func (t *teller) change(c *call, name string) (sdk.ToolCallContent, bool) {
	for _, r := range c.rewrites {
		if r.Path != filepath.ToSlash(name) {
			continue
		}
		if root, err := os.OpenRoot(t.run.Env.WorkDir); err == nil {
			if data, err := bounded.Within(root, name, changeBytesMax); err == nil {
				r.New = string(data)
			}
			root.Close()
		}
		return t.diff(r), true
	}
	return sdk.ToolCallContent{}, false
}

func (t *teller) diff(r command.Rewrite) sdk.ToolCallContent {
	path := filepath.Join(t.run.Env.WorkDir, filepath.FromSlash(r.Path))
	if r.Created {
		return sdk.ToolDiffContent(path, r.New)
	}
	return sdk.ToolDiffContent(path, r.New, r.Old)
}

// part tells the plan as far as it is known.
func (t *teller) part(number int, task string, status sdk.PlanEntryStatus) {
	for len(t.parts) < number {
		t.parts = append(t.parts, sdk.PlanEntry{Priority: sdk.PlanEntryPriorityMedium,
			Status: sdk.PlanEntryStatusPending})
	}
	if number < 1 {
		return
	}
	p := &t.parts[number-1]
	if p.Status = status; task != "" {
		p.Content = task
	}
	t.send(sdk.UpdatePlan(append([]sdk.PlanEntry{}, t.parts...)...))
}

// result tells the answer, or why there is none.
func (t *teller) result(of string, r *session.Result) {
	if of != "" {
		return
	}
	var said []string
	if r.Answer != "" {
		said = append(said, r.Answer)
	}
	switch r.Stop {
	case session.StopAnswered, session.StopInterrupted:
	case session.StopRefused:
		said = append(said, "Stopped: what the task needs was not allowed.")
	case session.StopUnmet:
		said = append(said, "Not done: "+r.Unmet)
	default:
		said = append(said, "Stopped without an answer: "+string(r.Stop)+".")
	}
	if len(said) > 0 {
		t.send(sdk.UpdateAgentMessageText(strings.Join(said, "\n\n")))
	}
}

// proposal is a call that a person is asked about, as the editor shows it.
func (t *teller) proposal(p *session.Proposal, shown string) sdk.ToolCallUpdate {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.asked(p)
	c.rewrites = p.Rewrites
	var content []sdk.ToolCallContent
	for _, r := range p.Rewrites {
		content = append(content, t.diff(r))
	}
	if len(content) != len(p.Call.Content) { // diffs do not show all of it
		content = append(content, textContent(shown))
	}
	if p.MayHaveRun {
		content = append(content, textContent("This call had begun when the run was cut off. It may have taken effect."))
	}
	kind, status, title := t.kind(p.Call.Command), sdk.ToolCallStatusPending,
		work.Title(p.Call.Command, p.Call.Summary)
	return sdk.ToolCallUpdate{
		ToolCallId: c.id,
		Kind:       &kind,
		Status:     &status,
		Title:      &title,
		Content:    content,
		Locations:  t.places(p.Call.Content),
	}
}

// asked finds the call of a proposal among those in work.
func (t *teller) asked(p *session.Proposal) *call {
	for _, c := range t.calls {
		if c.step == p.Step && c.command == p.Call.Command &&
			reflect.DeepEqual(c.content, p.Call.Content) {
			return c
		}
	}
	t.made++ // a call of a resumed run, which was told earlier
	return &call{id: sdk.ToolCallId(fmt.Sprintf("%d", t.made)), command: p.Call.Command}
}

func textContent(text string) sdk.ToolCallContent { return sdk.ToolContent(sdk.TextBlock(text)) }
