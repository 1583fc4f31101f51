package mcp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"agent/internal/legible"
	"agent/internal/serve/work"
	"agent/session"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

type runInput struct {
	Task    string `json:"task"                jsonschema:"what to do, in plain words"`
	Folder  string `json:"folder,omitempty"    jsonschema:"where to work; default: the server's folder, below which it must lie"`
	Steps   int    `json:"max_steps,omitempty" jsonschema:"stop after so many steps"`
	Session string `json:"session,omitempty"   jsonschema:"go on with this earlier task, to which the new one belongs"`
}

type runOutput struct {
	Answer  string   `json:"answer"`
	Stop    string   `json:"stop"              jsonschema:"answered, or why it ended without: steps, tokens, time, loop, refused, interrupted, error"`
	Steps   int      `json:"steps"`
	Session string   `json:"session"`
	Files   []string `json:"files"             jsonschema:"files that were made or changed"`
	Refused []string `json:"refused,omitempty" jsonschema:"what was not allowed, and why"`
	WallMS  int64    `json:"wall_ms"`
	Prompt  int      `json:"prompt_tokens"`
	Cached  int      `json:"cached_tokens"`
	Written int      `json:"completion_tokens"`
}

// run works on a task to its end.
func (s *Server) run(ctx context.Context, req *sdk.CallToolRequest, in runInput,
) (*sdk.CallToolResult, runOutput, error) {
	var out runOutput
	if strings.TrimSpace(in.Task) == "" {
		return nil, out, fmt.Errorf("the task is empty")
	}
	folder, err := work.Folder(s.cfg.Env.WorkDir, in.Folder)
	if err != nil {
		return nil, out, err
	}
	leave, err := s.enter()
	if err != nil {
		return nil, out, err
	}
	defer leave()
	run, err := s.cfg.Open(ctx, work.Order{Folder: folder, Ask: approver(req.Session),
		Resume: in.Session})
	if err != nil {
		return nil, out, err
	}
	defer run.Close()
	if most := run.Options.Limits.StepsMax; in.Steps > 0 && (most == 0 || in.Steps < most) {
		run.Options.Limits.StepsMax = in.Steps
	}
	watch := &watcher{ctx: ctx, req: req, out: &out}
	run.Options.Sink = watch.event
	sess, err := run.Start(in.Session)
	if err != nil {
		return nil, out, err
	}
	defer sess.Close()
	result, err := sess.Run(ctx, in.Task)
	if err != nil {
		return nil, out, err
	}
	out.fill(result)
	return text(out.said(), result.Stop != session.StopAnswered), out, nil
}

func (o *runOutput) fill(r *session.Result) {
	o.Answer, o.Stop, o.Steps, o.Session, o.WallMS = r.Answer, string(r.Stop), r.Steps, r.ID, r.WallMS
	o.Prompt, o.Cached, o.Written = r.Usage.PromptTokens, r.Usage.CachedTokens,
		r.Usage.CompletionTokens
	if o.Files == nil {
		o.Files = []string{}
	}
}

// said is the result as clients show it that know no fields.
func (o *runOutput) said() string {
	if o.Stop == string(session.StopAnswered) {
		return o.Answer
	}
	said := "stopped without an answer: " + o.Stop
	if len(o.Refused) > 0 {
		said += "\nnot allowed: " + strings.Join(o.Refused, "\n")
	}
	return strings.TrimSpace(said + "\n" + o.Answer)
}

// watcher tells a client how a run goes on, and gathers what came of it.
type watcher struct {
	ctx  context.Context
	req  *sdk.CallToolRequest
	out  *runOutput
	told int
}

func (w *watcher) event(ev session.Event) {
	switch e := ev.Data.(type) {
	case *session.CommandResult:
		for _, f := range e.Files {
			if !slices.Contains(w.out.Files, f) {
				w.out.Files = append(w.out.Files, f)
			}
		}
	case *session.Approval:
		if !e.Allowed {
			w.out.Refused = append(w.out.Refused, e.Command+": "+e.Reason)
		}
	case *session.Delta:
		return
	}
	var line strings.Builder
	if session.RenderText(&line, ev, session.RenderOptions{}) == nil {
		w.progress(legible.Line(line.String(), progressRune), 0)
	}
}

// progress notifies a client that asked for it; total 0 is not known.
func (w *watcher) progress(message string, total int) {
	token := w.req.Params.GetProgressToken()
	if token == nil {
		return
	}
	w.told++
	// a client that is gone cancels the call
	_ = w.req.Session.NotifyProgress(w.ctx,
		&sdk.ProgressNotificationParams{ProgressToken: token, Message: message, Progress: float64(w.told),
			Total: float64(total)})
}

// What a person may answer.
const (
	allowOnce   = "allow"
	allowAlways = "allow this command in the whole task"
	refuse      = "refuse"
)

// person is who sits at a client that can ask.
type person struct {
	client *sdk.ServerSession

	mu     sync.Mutex // parts of a task ask one after another
	always map[string]bool
}

// approver asks the person at the client, where it can. nil: it can't.
func approver(ss *sdk.ServerSession) session.Approver {
	params := ss.InitializeParams()
	if params == nil || params.Capabilities == nil || params.Capabilities.Elicitation == nil {
		return nil
	}
	if e := params.Capabilities.Elicitation; e.Form == nil && e.URL != nil {
		return nil
	}
	return (&person{client: ss, always: map[string]bool{}}).decide
}

// form is what a person fills in.
func form() map[string]any {
	decisions := []string{allowOnce, allowAlways, refuse}
	return map[string]any{"type": "object", "required": []string{"decision"},
		"properties": map[string]any{
			"decision": map[string]any{"type": "string", "enum": decisions, "title": "Decision"},
			"reason":   map[string]any{"type": "string", "title": "Reason for a no, which the model is told"},
		}}
}

// decide shows a call and waits for the answer.
func (q *person) decide(ctx context.Context, p *session.Proposal) (session.Decision, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.always[p.Call.Command] && !p.MayHaveRun {
		return session.Decision{Allow: true, Reason: allowAlways}, nil
	}
	shown, ok := work.Shown(p)
	if !ok {
		return work.TooLong(p), nil
	}
	within, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	res, err := q.client.Elicit(within,
		&sdk.ElicitParams{Message: question(p, shown), RequestedSchema: form()})
	switch {
	case within.Err() != nil && ctx.Err() == nil:
		return session.Decision{Reason: fmt.Sprintf("nobody answered within %v.", askWithin)}, nil
	case err != nil:
		return session.Decision{}, fmt.Errorf("ask the person at the client: %w", err)
	case res.Action != "accept":
		return session.Decision{}, nil
	}
	reason, _ := res.Content["reason"].(string)
	switch res.Content["decision"] {
	case allowAlways:
		q.always[p.Call.Command] = true
		return session.Decision{Allow: true, Reason: allowAlways}, nil
	case allowOnce:
		return session.Decision{Allow: true}, nil
	}
	return session.Decision{Reason: reason}, nil
}

func question(p *session.Proposal, shown string) string {
	again := ""
	if p.MayHaveRun {
		again = "\nThis call had begun when the run was cut off. It may have taken effect."
	}
	return fmt.Sprintf("%s wants to %s in %s:%s\n\n%s", legible.Visible(p.Call.Command),
		work.Effect(p), p.WorkDir, again, shown)
}
