package acp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"agent/command/mcp"
	"agent/internal/legible"
	"agent/internal/serve/work"
	"agent/session"

	sdk "github.com/coder/acp-go-sdk"
)

// conversation is one open session.
type conversation struct {
	server  *server
	id      sdk.SessionId
	run     *work.Run
	session *session.Session
	tell    *teller
	mode    atomic.Value // of session.ApproveMode
	always  sync.Map     // names of commands that the person allowed for good

	mu     sync.Mutex // held while a prompt is worked on
	cancel atomic.Pointer[context.CancelFunc]
	closed atomic.Bool
}

// close ends the session, after the prompt in work.
func (c *conversation) close() {
	c.closed.Store(true)
	if cancel := c.cancel.Load(); cancel != nil {
		(*cancel)()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run != nil {
		_ = c.session.Close()
		c.run.Close()
		c.run = nil
	}
}

// modes are the ways of approving.
func (c *conversation) modes() *sdk.SessionModeState {
	mode := func(id session.ApproveMode, name, about string) sdk.SessionMode {
		return sdk.SessionMode{Id: sdk.SessionModeId(id), Name: name, Description: &about}
	}
	return &sdk.SessionModeState{
		CurrentModeId: sdk.SessionModeId(c.mode.Load().(session.ApproveMode)),
		AvailableModes: []sdk.SessionMode{
			mode(session.ApproveAsk, "Ask", "Asks before it writes, runs code or reaches out"),
			mode(session.ApproveAuto, "Auto", "Allows all that stays in the folder and the sandbox"),
			mode(session.ApproveNever, "Read only", "Writes nothing, runs nothing, reaches nowhere"),
		},
	}
}

// update tells the editor something.
func (c *conversation) update(u sdk.SessionUpdate) {
	// An editor that is gone ends the connection, and with it the prompt.
	_ = c.server.conn.SessionUpdate(c.server.ctx, sdk.SessionNotification{SessionId: c.id, Update: u})
}

// replay tells the editor an earlier session.
func (c *conversation) replay(events []session.Event) {
	for _, ev := range events {
		if e, ok := ev.Data.(*session.Started); ok && ev.Session == "" {
			c.update(sdk.UpdateUserMessageText(e.Task))
		}
		c.tell.event(ev)
	}
}

// prompt works on one message of the person.
func (c *conversation) prompt(ctx context.Context, r sdk.PromptRequest,
) (out sdk.PromptResponse, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.cancel.Store(&cancel)
	if c.closed.Load() {
		return out, invalid("the session %q is closed", c.id)
	}
	task, err := c.server.task(c.run.Options.Env.WorkDir, r.Prompt)
	if err != nil {
		return out, err
	}
	c.tell.begin()
	result, err := c.session.Run(ctx, task)
	if err != nil {
		var hint interface{ Hint() string }
		if errors.As(err, &hint) && hint.Hint() != "" {
			err = fmt.Errorf("%w; %s", err, hint.Hint())
		}
		return out, &sdk.RequestError{Code: -32603, Message: err.Error()}
	}
	u := result.Usage
	out.StopReason = stopReason(result.Stop)
	out.Usage = &sdk.Usage{
		InputTokens:      u.PromptTokens,
		OutputTokens:     u.CompletionTokens,
		TotalTokens:      u.PromptTokens + u.CompletionTokens,
		CachedReadTokens: &u.CachedTokens,
	}
	return out, nil
}

func stopReason(s session.Stop) sdk.StopReason {
	switch s {
	case session.StopInterrupted:
		return sdk.StopReasonCancelled
	case session.StopTokens:
		return sdk.StopReasonMaxTokens
	case session.StopSteps, session.StopTime, session.StopLoop:
		return sdk.StopReasonMaxTurnRequests
	}
	return sdk.StopReasonEndTurn
}

// task is a message as one text. Files that it mentions are named as they are in the
// work dir; texts that come with it stand below, fenced.
func (s *server) task(workDir string, blocks []sdk.ContentBlock) (string, error) {
	var said, below strings.Builder
	for _, b := range blocks {
		switch {
		case b.Text != nil:
			said.WriteString(b.Text.Text)
		case b.ResourceLink != nil:
			said.WriteString(s.words.Say("link",
				map[string]string{"Name": nameOf(workDir, b.ResourceLink.Uri)}))
		case b.Resource != nil && b.Resource.Resource.TextResourceContents != nil:
			text := b.Resource.Resource.TextResourceContents
			name := nameOf(workDir, text.Uri)
			said.WriteString(s.words.Say("link", map[string]string{"Name": name}))
			below.WriteString(
				"\n\n" + s.words.Say(
					"file",
					map[string]string{
						"Name":  name,
						"Fence": legible.Fence(text.Text),
						"Text":  strings.TrimRight(text.Text, "\n"),
					},
				),
			)
		default:
			return "", invalid("only text can be read here, no pictures, sound or binary files")
		}
	}
	if strings.TrimSpace(said.String()) == "" {
		return "", invalid("the message is empty")
	}
	return strings.TrimSpace(said.String()) + below.String(), nil
}

// nameOf is a file's name in the work dir, or its address.
func nameOf(workDir, uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" {
		return legible.OneLine(uri)
	}
	if rel, err := filepath.Rel(workDir, filepath.FromSlash(u.Path)); err == nil &&
		filepath.IsLocal(rel) {
		return legible.OneLine(filepath.ToSlash(rel))
	}
	return legible.OneLine(u.Path)
}

// The answers that a person can give.
const (
	allowOnce   = "allow"
	allowAlways = "always"
	refuse      = "refuse"
)

// ask has the person at the editor decide about a call.
func (c *conversation) ask(ctx context.Context, p *session.Proposal) (session.Decision, error) {
	if _, yes := c.always.Load(p.Call.Command); yes && !p.MayHaveRun {
		return session.Decision{Allow: true, Reason: "always in this session"}, nil
	}
	shown, ok := work.Shown(p)
	if !ok {
		return work.TooLong(p), nil
	}
	res, err := c.server.conn.RequestPermission(
		ctx,
		sdk.RequestPermissionRequest{SessionId: c.id, ToolCall: c.tell.proposal(p, shown),
			Options: []sdk.PermissionOption{
				{OptionId: allowOnce, Kind: sdk.PermissionOptionKindAllowOnce, Name: "Allow"},
				{
					OptionId: allowAlways,
					Kind:     sdk.PermissionOptionKindAllowAlways,
					Name:     "Allow " + p.Call.Command + " in this session",
				},
				{OptionId: refuse, Kind: sdk.PermissionOptionKindRejectOnce, Name: "Refuse"},
			}},
	)
	switch {
	case err != nil:
		return session.Decision{}, fmt.Errorf("ask the person at the editor: %w", err)
	case ctx.Err() != nil:
		return session.Decision{}, ctx.Err()
	case res.Outcome.Selected == nil:
		return session.Decision{Reason: "the user ended the run.", Quit: true}, nil
	}
	switch res.Outcome.Selected.OptionId {
	case allowAlways:
		c.always.Store(p.Call.Command, true)
		return session.Decision{Allow: true, Reason: "always in this session"}, nil
	case allowOnce:
		return session.Decision{Allow: true}, nil
	}
	return session.Decision{}, nil
}

// editorWithin bounds how long a file may take to come from the editor, or to get there.
const editorWithin = 20 * time.Second

// ReadText gives what the editor shows of a file.
func (c *conversation) ReadText(ctx context.Context, path string) (string, bool) {
	if !c.server.client.Fs.ReadTextFile {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, editorWithin)
	defer cancel()
	res, err := c.server.conn.ReadTextFile(ctx, sdk.ReadTextFileRequest{SessionId: c.id, Path: path})
	return res.Content, err == nil
}

// WriteText has the editor write a file.
func (c *conversation) WriteText(ctx context.Context, path, text string) (bool, error) {
	if !c.server.client.Fs.WriteTextFile {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, editorWithin)
	defer cancel()
	_, err := c.server.conn.WriteTextFile(ctx,
		sdk.WriteTextFileRequest{SessionId: c.id, Path: path, Content: text})
	if err != nil {
		return true, fmt.Errorf("the editor did not write it: %w", err)
	}
	return true, nil
}

// toolServers are the MCP servers that the editor names, as this program has them.
func toolServers(servers []sdk.McpServer) (map[string]mcp.Server, error) {
	out := map[string]mcp.Server{}
	for _, s := range servers {
		switch {
		case s.Stdio != nil:
			env := map[string]string{}
			for _, v := range s.Stdio.Env {
				env[v.Name] = v.Value
			}
			out[serverName(s.Stdio.Name)] = mcp.Server{
				Command: s.Stdio.Command,
				Args:    s.Stdio.Args,
				Env:     env,
			}
		case s.Http != nil:
			headers := map[string]string{}
			for _, h := range s.Http.Headers {
				headers[h.Name] = h.Value
			}
			out[serverName(s.Http.Name)] = mcp.Server{URL: s.Http.Url, Headers: headers}
		default:
			return nil, invalid("MCP servers must be programs, or speak streamable HTTP")
		}
	}
	if err := mcp.Check(out); err != nil {
		return nil, invalid("%s", err)
	}
	return out, nil
}

// serverName makes a name valid for this program.
func serverName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		name = "s" + name
	}
	return name[:min(len(name), 32)]
}
