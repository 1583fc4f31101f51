package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/coder/acp-go-sdk"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// summary is what the editor was told, a line each.
func (e *editor) summary() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	diffs := func(content []sdk.ToolCallContent) (text string) {
		for _, c := range content {
			if c.Diff != nil {
				old := "-"
				if c.Diff.OldText != nil {
					old = *c.Diff.OldText
				}
				text += fmt.Sprintf(" diff %s %q %q", filepath.Base(c.Diff.Path), old, c.Diff.NewText)
			}
		}
		return text
	}
	for _, u := range e.told {
		switch {
		case u.UserMessageChunk != nil:
			out = append(out, "user: "+u.UserMessageChunk.Content.Text.Text)
		case u.AgentMessageChunk != nil:
			out = append(out, "agent: "+u.AgentMessageChunk.Content.Text.Text)
		case u.ToolCall != nil:
			out = append(out, fmt.Sprintf("call %s %s %s %s", u.ToolCall.ToolCallId, u.ToolCall.Title,
				u.ToolCall.Kind, u.ToolCall.Status))
		case u.ToolCallUpdate != nil:
			out = append(out, fmt.Sprintf("call %s %s%s", u.ToolCallUpdate.ToolCallId,
				*u.ToolCallUpdate.Status, diffs(u.ToolCallUpdate.Content)))
		case u.Plan != nil:
			var parts []string
			for _, p := range u.Plan.Entries {
				parts = append(parts, p.Content+"="+string(p.Status))
			}
			out = append(out, "plan: "+strings.Join(parts, ", "))
		}
	}
	e.told = nil
	return out
}

// open connects an editor to a program and initialises it.
func (p *started) edit(t *testing.T, e *editor, fs bool) sdk.InitializeResponse {
	t.Helper()
	e.conn = sdk.NewClientSideConnection(e, p.in, p.out)
	res, err := e.conn.Initialize(
		t.Context(),
		sdk.InitializeRequest{
			ProtocolVersion: sdk.ProtocolVersionNumber,
			ClientCapabilities: sdk.ClientCapabilities{
				Fs: sdk.FileSystemCapabilities{ReadTextFile: fs, WriteTextFile: fs},
			},
		},
	)
	require.NoError(t, err, p.err)
	return res
}

func (e *editor) newSession(t *testing.T, dir string) sdk.SessionId {
	t.Helper()
	res, err := e.conn.NewSession(t.Context(), sdk.NewSessionRequest{Cwd: dir, McpServers: []sdk.McpServer{}})
	require.NoError(t, err)
	assert.Len(t, res.Modes.AvailableModes, 3)
	return res.SessionId
}

func (e *editor) say(t *testing.T, id sdk.SessionId, blocks ...sdk.ContentBlock) sdk.PromptResponse {
	t.Helper()
	res, err := e.conn.Prompt(t.Context(), sdk.PromptRequest{SessionId: id, Prompt: blocks})
	require.NoError(t, err)
	return res
}

// allowB refuses what is about a.txt and allows the rest.
func allowB(r sdk.RequestPermissionRequest) string {
	if strings.Contains(fmt.Sprint(r.ToolCall.Locations), "a.txt") {
		return "refuse"
	}
	return "allow"
}

// TestACPRun: a whole run with a refused and an allowed permission, then what follows
// it in another process.
func TestACPRun(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b.txt"), []byte("1\n"), 0o644))
	args := []string{
		"acp",
		"--config-dir",
		scriptedLLM(t, writesTwice),
		"llm=it",
		"agent.aids.cold_logic=false",
	}
	p := startProgram(t, args...)
	e := &editor{decide: allowB}
	can := p.edit(t, e, false)
	assert.True(t, can.AgentCapabilities.LoadSession)
	assert.NotNil(t, can.AgentCapabilities.SessionCapabilities.List)
	id := e.newSession(t, dir)
	res := e.say(t, id, sdk.TextBlock("write two numbers"))
	assert.Equal(t, sdk.StopReasonEndTurn, res.StopReason)
	assert.Positive(t, res.Usage.InputTokens)
	assert.Equal(t, []string{
		"call 1 writer: Write the first edit pending",
		"call 1 failed",
		"call 2 writer: Write the second edit pending",
		"call 2 in_progress",
		`call 2 completed diff b.txt "1\n" "2"`,
		"agent: done",
	}, e.summary())
	require.Len(t, e.asked, 2)
	assert.EqualValues(t, "2", e.asked[1].ToolCall.ToolCallId)
	assert.Equal(t, "2", e.asked[1].ToolCall.Content[0].Diff.NewText)
	assert.Nil(t, e.asked[0].ToolCall.Content[0].Diff.OldText, "a new file")
	assert.NoFileExists(t, filepath.Join(dir, "a.txt"))
	p.cancel()
	assert.Zero(t, <-p.ended)

	p = again(t, args...)
	e = &editor{decide: func(sdk.RequestPermissionRequest) string { return "always" }}
	p.edit(t, e, false)
	list, err := e.conn.ListSessions(t.Context(), sdk.ListSessionsRequest{Cwd: &dir})
	require.NoError(t, err)
	require.Len(t, list.Sessions, 1)
	assert.Equal(t, id, list.Sessions[0].SessionId)
	assert.Equal(t, "write two numbers", *list.Sessions[0].Title)
	elsewhere := t.TempDir()
	list, err = e.conn.ListSessions(t.Context(), sdk.ListSessionsRequest{Cwd: &elsewhere})
	require.NoError(t, err)
	assert.Empty(t, list.Sessions)
	_, err = e.conn.LoadSession(t.Context(),
		sdk.LoadSessionRequest{SessionId: id, Cwd: elsewhere, McpServers: []sdk.McpServer{}})
	assert.ErrorContains(t, err, "was in another folder")

	_, err = e.conn.LoadSession(t.Context(),
		sdk.LoadSessionRequest{SessionId: id, Cwd: dir, McpServers: []sdk.McpServer{}})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"user: write two numbers",
		"call 1 writer: Write the first edit pending", "call 1 failed",
		"call 2 writer: Write the second edit pending", "call 2 in_progress", "call 2 completed",
		"agent: done"}, e.summary())
	e.say(t, id, sdk.TextBlock("and now again"))
	assert.FileExists(t, filepath.Join(dir, "a.txt"))
	assert.Len(t, e.asked, 1, "the second write is allowed for the session")
	_, err = e.conn.CloseSession(t.Context(), sdk.CloseSessionRequest{SessionId: id})
	require.NoError(t, err)
	_, err = e.conn.Prompt(t.Context(), sdk.PromptRequest{SessionId: id, Prompt: []sdk.ContentBlock{sdk.TextBlock("x")}})
	assert.ErrorContains(t, err, "is not open")
}

// TestACPCancel: a cancelled prompt ends at once, and the session goes on.
func TestACPCancel(t *testing.T) {
	conf := scriptedLLM(t, `delta_delay: 40ms
replies:
  - '{"command": "writer", "summary": "", "content": [{"file": "a.txt", "text": "1"}]}'
  - '{"command": "answer", "summary": "", "content": [{"text": "one two three four five six seven eight nine ten eleven twelve"}]}'
  - '{"command": "answer", "summary": "", "content": [{"text": "short"}]}'
  - '{"command": "answer", "summary": "", "content": [{"text": "short"}]}'
`)
	p := startProgram(t, "acp", "--config-dir", conf, "llm=it")
	e := &editor{}
	p.edit(t, e, false)
	id := e.newSession(t, t.TempDir())
	cancel := func() { assert.NoError(t, e.conn.Cancel(t.Context(), sdk.CancelNotification{SessionId: id})) }
	e.decide = func(sdk.RequestPermissionRequest) string { cancel(); return "" } // as the protocol wants it
	start := time.Now()
	assert.Equal(t, sdk.StopReasonCancelled, e.say(t, id, sdk.TextBlock("write")).StopReason)
	time.AfterFunc(300*time.Millisecond, cancel)
	assert.Equal(t, sdk.StopReasonCancelled, e.say(t, id, sdk.TextBlock("count")).StopReason)
	assert.Less(t, time.Since(start), 10*time.Second)
	e.summary()
	e.say(t, id, sdk.TextBlock("just say something"))
	assert.Contains(t, e.summary(), "agent: short")
}

// TestACPModes: the modes are those of approving, and hold from the moment they are set.
func TestACPModes(t *testing.T) {
	dir := t.TempDir()
	conf := scriptedLLM(t, writesTwice+"delta_delay: 1ms\n")
	p := startProgram(t, "acp", "--config-dir", conf, "llm=it", "--approve", "never")
	e := &editor{}
	p.edit(t, e, false)
	id := e.newSession(t, dir)
	set := func(mode string) error {
		_, err := e.conn.SetSessionMode(t.Context(),
			sdk.SetSessionModeRequest{SessionId: id, ModeId: sdk.SessionModeId(mode)})
		return err
	}
	assert.ErrorContains(t, set("yolo"), "known are ask, auto, never")
	require.NoError(t, set("ask"))
	e.decide = func(sdk.RequestPermissionRequest) string { assert.NoError(t, set("auto")); return "allow" }
	e.say(t, id, sdk.TextBlock("write two numbers"))
	assert.Len(t, e.asked, 1)
	assert.FileExists(t, filepath.Join(dir, "b.txt"))
	assert.Contains(t, e.summary(), `call 2 completed diff b.txt "-" "2"`, "a diff without a question")

	p = again(t, "acp", "--config-dir", conf, "llm=it", "--approve", "never")
	e = &editor{decide: func(sdk.RequestPermissionRequest) string { return "allow" }}
	p.edit(t, e, false)
	empty := t.TempDir()
	e.say(t, e.newSession(t, empty), sdk.TextBlock("write two numbers"))
	assert.Empty(t, e.asked)
	assert.NoFileExists(t, filepath.Join(empty, "b.txt"))
}

// TestACPFiles: what the editor has open counts, and it does the writing; a link that
// leads out is not followed on its account.
func TestACPFiles(t *testing.T) {
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret.txt")
	require.NoError(t, os.WriteFile(secret, []byte("hidden"), 0o644))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "link.txt")))
	open := filepath.Join(dir, "open.txt")
	require.NoError(t, os.WriteFile(open, []byte("saved\n"), 0o644))
	p := startProgram(t, "acp", "--config-dir", scriptedLLM(t, `replies:
  - '{"command": "reader", "summary": "", "content": [{"file": "open.txt"}, {"file": "link.txt"}]}'
  - '{"command": "writer", "summary": "", "content": [{"file": "open.txt", "old": "unsaved", "text": "changed"}]}'
  - '{"command": "writer", "summary": "", "content": [{"file": "link.txt", "text": "overwritten"}]}'
  - '{"command": "writer", "summary": "", "content": [{"file": "deep/new.txt", "text": "new"}]}'
  - '{"command": "answer", "summary": "", "content": [{"text": "done"}]}'
`), "llm=it", "--approve", "auto", "agent.aids.cold_logic=false")
	e := &editor{buffers: map[string]string{open: "unsaved\n"}}
	p.edit(t, e, true)
	id := e.newSession(t, dir)
	res := e.say(
		t,
		id,
		sdk.TextBlock("look at "),
		sdk.ResourceLinkBlock("open.txt", "file://"+open),
		sdk.ResourceBlock(
			sdk.EmbeddedResourceResource{
				TextResourceContents: &sdk.TextResourceContents{
					Uri:  "file:///elsewhere/notes.md",
					Text: "``` a fence",
				},
			},
		),
	)
	assert.Equal(t, sdk.StopReasonEndTurn, res.StopReason)
	var texts []string
	for _, u := range e.told {
		if c := u.ToolCallUpdate; c != nil && len(c.Content) > 0 && c.Content[0].Content != nil {
			texts = append(texts, c.Content[0].Content.Content.Text.Text)
		}
	}
	require.Len(t, texts, 4)
	assert.Contains(t, texts[0], "unsaved")
	assert.NotContains(t, strings.Join(texts, ""), "hidden")
	assert.Equal(t, "changed\n", e.buffers[open])
	assert.Equal(t, "new", e.buffers[filepath.Join(dir, "deep", "new.txt")])
	data, err := os.ReadFile(secret)
	require.NoError(t, err)
	assert.Equal(t, "hidden", string(data))
	assert.Contains(t, e.summary(), `call 2 completed diff open.txt "unsaved\n" "changed\n"`)

	_, err = e.conn.LoadSession(t.Context(),
		sdk.LoadSessionRequest{SessionId: id, Cwd: dir, McpServers: []sdk.McpServer{}})
	require.NoError(t, err)
	assert.Contains(t, e.summary()[0], "user: look at [open.txt][/elsewhere/notes.md]\n\nFile /elsewhere/notes.md:\n````\n``` a fence\n````")
}

// TestACPPlan: a task that is split is a plan.
func TestACPPlan(t *testing.T) {
	p := startProgram(t, "acp", "--config-dir", scriptedLLM(t, `replies:
  - '{"command": "delegate", "summary": "", "content": [{"tasks": ["Say one", "Then say two"]}]}'
  - '{"command": "answer", "summary": "", "content": [{"text": "one"}]}'
  - '{"command": "answer", "summary": "", "content": [{"text": "two"}]}'
  - '{"command": "answer", "summary": "", "content": [{"text": "both"}]}'
choices: [none, none, none, none]
`), "llm=it", "agent.delegate.width=1")
	e := &editor{}
	p.edit(t, e, false)
	e.say(t, e.newSession(t, t.TempDir()), sdk.TextBlock("say two numbers"))
	told := e.summary()
	assert.Contains(t, told, "plan: Say one=completed, Then say two=completed")
	assert.Contains(t, told, "plan: Say one=in_progress")
	assert.Equal(t, "agent: both", told[len(told)-1])
}

// TestACPMistakes: each is one clear error of the request, and the connection stays.
func TestACPMistakes(t *testing.T) {
	p := startProgram(t, "acp", "--config-dir", scriptedLLM(t, writesTwice), "llm=it")
	e := &editor{}
	p.edit(t, e, false)
	for cwd, want := range map[string]string{".": "absolute path", "/nowhere/at/all": "absolute path of a folder"} {
		_, err := e.conn.NewSession(t.Context(), sdk.NewSessionRequest{Cwd: cwd, McpServers: []sdk.McpServer{}})
		assert.ErrorContains(t, err, want)
	}
	_, err := e.conn.LoadSession(t.Context(),
		sdk.LoadSessionRequest{SessionId: "nope", Cwd: t.TempDir(), McpServers: []sdk.McpServer{}})
	assert.ErrorContains(t, err, "nope")
	_, err = e.conn.NewSession(t.Context(), sdk.NewSessionRequest{
		Cwd: t.TempDir(),
		McpServers: []sdk.McpServer{
			{
				Http: &sdk.McpServerHttpInline{
					Type:    "http",
					Name:    "My Server",
					Url:     "ftp://x",
					Headers: []sdk.HttpHeader{},
				},
			},
		},
	})
	assert.ErrorContains(t, err, "no http or https URL")
	id := e.newSession(t, t.TempDir())
	for _, blocks := range [][]sdk.ContentBlock{{sdk.ImageBlock("AAAA", "image/png")}, {sdk.TextBlock(" ")}} {
		_, err = e.conn.Prompt(t.Context(), sdk.PromptRequest{SessionId: id, Prompt: blocks})
		assert.Error(t, err)
	}
	_, err = e.conn.SetSessionConfigOption(
		t.Context(),
		sdk.SetSessionConfigOptionRequest{
			ValueId: &sdk.SetSessionConfigOptionValueId{SessionId: id, ConfigId: "x", Value: "y"},
		},
	)
	assert.Error(t, err)
	require.NotEmpty(t, e.newSession(t, t.TempDir()))
}

// TestACPDefaultModel: the real engine behind the protocol.
func TestACPDefaultModel(t *testing.T) {
	model := defaultModelFile(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("The meeting is on Friday.\n"), 0o644))
	p := startProgram(t, "acp", "--model", model, "--temperature", "0", "--max-steps", "2",
		"llm.threads=1", "llm.threads_batch=1")
	e := &editor{decide: func(sdk.RequestPermissionRequest) string { return "refuse" }}
	p.edit(t, e, true)
	res := e.say(t, e.newSession(t, dir), sdk.TextBlock("When is the meeting? Look into notes.txt."))
	assert.Positive(t, res.Usage.OutputTokens)
	told := strings.Join(e.summary(), "\n")
	assert.Contains(t, told, "agent: ")
	assert.Contains(t, told, "call 1 ")
	t.Log(told)
}
