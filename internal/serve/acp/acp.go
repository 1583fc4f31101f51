// Package acp is the agent of an editor: it speaks the Agent Client Protocol on
// standard input and output.
//
// [Serve] answers one editor until it goes. A session of the protocol is a session of
// this program, kept and resumed like any other; its modes are the ways of approving;
// a request for permission is a call awaiting approval.
//
// Promises: what changes something runs only as the mode and the person at the editor
// allow; files that the editor has open are read and written through it; a cancelled
// prompt ends at the next token.
package acp

import (
	"context"
	"embed"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"agent/internal/legible"
	"agent/internal/serve/work"
	"agent/internal/words"
	"agent/session"

	sdk "github.com/coder/acp-go-sdk"
)

// Config says what answers the editor.
type Config struct {
	Open     work.Opener
	Mode     session.ApproveMode // of new sessions; "": ask
	Sessions string              // the folder of session files
	Version  string
	Log      *slog.Logger // nil: none
}

// Limits of one editor.
const (
	openMax   = 64  // sessions at a time
	listedMax = 200 // sessions told of, the newest first

	titleRunes = 120 // of a session
)

//go:embed prompts
var prompts embed.FS

// server is the agent's side of one connection.
type server struct {
	cfg    Config
	words  *words.Book
	conn   *sdk.AgentSideConnection
	client sdk.ClientCapabilities
	ctx    context.Context // ends with the connection

	mu   sync.Mutex
	open map[sdk.SessionId]*conversation
}

// Serve answers an editor until its input ends or ctx does.
func Serve(ctx context.Context, cfg Config, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Mode == "" {
		cfg.Mode = session.ApproveAsk
	}
	s := &server{
		cfg:   cfg,
		words: words.Open(prompts),
		ctx:   ctx,
		open:  map[sdk.SessionId]*conversation{},
	}
	begun := make(chan struct{})
	input, gate := io.Pipe()
	go func() { // nothing is answered before conn is set
		<-begun
		_, err := io.Copy(gate, in)
		gate.CloseWithError(err)
	}()
	s.conn = sdk.NewAgentSideConnection(s, out, input)
	s.conn.SetLogger(cfg.Log)
	close(begun)
	select {
	case <-s.conn.Done():
	case <-ctx.Done():
	}
	cancel()
	s.mu.Lock()
	all := s.open
	s.open = nil
	s.mu.Unlock()
	for _, c := range all {
		c.close()
	}
	return nil
}

// Initialize tells what this agent can do.
func (s *server) Initialize(_ context.Context, r sdk.InitializeRequest,
) (sdk.InitializeResponse, error) {
	s.client = r.ClientCapabilities
	title := "agent"
	return sdk.InitializeResponse{
		ProtocolVersion: sdk.ProtocolVersionNumber,
		AgentInfo:       &sdk.Implementation{Name: "agent", Title: &title, Version: s.cfg.Version},
		AuthMethods:     []sdk.AuthMethod{},
		AgentCapabilities: sdk.AgentCapabilities{
			LoadSession:        true,
			PromptCapabilities: sdk.PromptCapabilities{EmbeddedContext: true},
			McpCapabilities:    sdk.McpCapabilities{Http: true},
			SessionCapabilities: sdk.SessionCapabilities{List: &sdk.SessionListCapabilities{},
				Resume: &sdk.SessionResumeCapabilities{}, Close: &sdk.SessionCloseCapabilities{}},
		},
	}, nil
}

// Authenticate has nothing to do: whoever started this program is the user.
func (s *server) Authenticate(context.Context, sdk.AuthenticateRequest,
) (sdk.AuthenticateResponse, error) {
	return sdk.AuthenticateResponse{}, nil
}

// NewSession begins a session in the editor's folder.
func (s *server) NewSession(ctx context.Context, r sdk.NewSessionRequest,
) (sdk.NewSessionResponse, error) {
	c, err := s.begin(ctx, r.Cwd, "", r.McpServers)
	if err != nil {
		return sdk.NewSessionResponse{}, err
	}
	return sdk.NewSessionResponse{SessionId: c.id, Modes: c.modes()}, nil
}

// LoadSession goes on with an earlier session, and tells the editor what was said.
func (s *server) LoadSession(ctx context.Context, r sdk.LoadSessionRequest,
) (sdk.LoadSessionResponse, error) {
	c, err := s.begin(ctx, r.Cwd, string(r.SessionId), r.McpServers)
	if err != nil {
		return sdk.LoadSessionResponse{}, err
	}
	past, err := session.Load(c.session.Path())
	if err != nil {
		return sdk.LoadSessionResponse{}, err
	}
	c.replay(past.Events)
	return sdk.LoadSessionResponse{Modes: c.modes()}, nil
}

// ResumeSession goes on with an earlier session, whose events the editor already has.
func (s *server) ResumeSession(ctx context.Context, r sdk.ResumeSessionRequest,
) (sdk.ResumeSessionResponse, error) {
	c, err := s.begin(ctx, r.Cwd, string(r.SessionId), r.McpServers)
	if err != nil {
		return sdk.ResumeSessionResponse{}, err
	}
	return sdk.ResumeSessionResponse{Modes: c.modes()}, nil
}

// ListSessions tells of earlier sessions, the newest first.
func (s *server) ListSessions(_ context.Context, r sdk.ListSessionsRequest,
) (sdk.ListSessionsResponse, error) {
	all, err := session.List(s.cfg.Sessions)
	out := sdk.ListSessionsResponse{Sessions: []sdk.SessionInfo{}}
	slices.Reverse(all)
	for _, info := range all {
		if r.Cwd != nil && filepath.Clean(*r.Cwd) != info.WorkDir || !filepath.IsAbs(info.WorkDir) {
			continue
		}
		if len(out.Sessions) == listedMax {
			break
		}
		title, at := legible.Line(info.Task, titleRunes), info.Started.UTC().Format(time.RFC3339)
		out.Sessions = append(
			out.Sessions,
			sdk.SessionInfo{
				SessionId: sdk.SessionId(info.ID),
				Cwd:       info.WorkDir,
				Title:     &title,
				UpdatedAt: &at,
			},
		)
	}
	return out, err
}

// CloseSession ends what a session has open.
func (s *server) CloseSession(_ context.Context, r sdk.CloseSessionRequest,
) (sdk.CloseSessionResponse, error) {
	s.mu.Lock()
	c := s.open[r.SessionId]
	delete(s.open, r.SessionId)
	s.mu.Unlock()
	if c != nil {
		c.close()
	}
	return sdk.CloseSessionResponse{}, nil
}

// SetSessionMode changes how calls are approved, at once.
func (s *server) SetSessionMode(_ context.Context, r sdk.SetSessionModeRequest,
) (sdk.SetSessionModeResponse, error) {
	c, err := s.find(r.SessionId)
	if err != nil {
		return sdk.SetSessionModeResponse{}, err
	}
	mode := session.ApproveMode(r.ModeId)
	if err := mode.Check(); err != nil || mode == "" {
		return sdk.SetSessionModeResponse{},
			invalid("unknown mode %q: known are ask, auto, never", r.ModeId)
	}
	c.mode.Store(mode)
	return sdk.SetSessionModeResponse{}, nil
}

// SetSessionConfigOption refuses: there are none.
func (s *server) SetSessionConfigOption(context.Context, sdk.SetSessionConfigOptionRequest,
) (sdk.SetSessionConfigOptionResponse, error) {
	return sdk.SetSessionConfigOptionResponse{},
		sdk.NewMethodNotFound(sdk.AgentMethodSessionSetConfigOption)
}

// Prompt works on what the person says until it is answered or stopped.
func (s *server) Prompt(ctx context.Context, r sdk.PromptRequest) (sdk.PromptResponse, error) {
	c, err := s.find(r.SessionId)
	if err != nil {
		return sdk.PromptResponse{}, err
	}
	return c.prompt(ctx, r)
}

// Cancel has nothing to do: the connection ends the context of the prompt.
func (s *server) Cancel(context.Context, sdk.CancelNotification) error { return nil }

func (s *server) find(id sdk.SessionId) (*conversation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.open[id]; c != nil {
		return c, nil
	}
	return nil, invalid("the session %q is not open: begin it with session/new or session/load", id)
}

// begin opens a run in a folder, new or for an earlier session.
func (s *server) begin(ctx context.Context, cwd, resume string, servers []sdk.McpServer,
) (*conversation, error) {
	if st, err := os.Stat(cwd); !filepath.IsAbs(cwd) || err != nil || !st.IsDir() {
		return nil, invalid("cwd must be the absolute path of a folder, not %q", cwd)
	}
	tools, err := toolServers(servers)
	if err != nil {
		return nil, err
	}
	if err := s.makeRoom(sdk.SessionId(resume)); err != nil {
		return nil, err
	}
	c := &conversation{server: s, id: sdk.SessionId(resume)}
	c.mode.Store(s.cfg.Mode)
	run, err := s.cfg.Open(ctx, work.Order{Folder: filepath.Clean(cwd), Ask: c.ask, Resume: resume,
		Servers: tools})
	if err != nil {
		return nil, err
	}
	c.run = run
	run.Options.Mode = func() session.ApproveMode { return c.mode.Load().(session.ApproveMode) }
	c.tell = newTeller(c.update, &run.Options)
	run.Options.Sink = c.tell.event
	if s.client.Fs.ReadTextFile || s.client.Fs.WriteTextFile {
		run.Options.Env.Buffers = c
	}
	if c.session, err = run.Start(resume); err != nil {
		run.Close()
		return nil, invalid("%s", err)
	}
	c.id = sdk.SessionId(c.session.ID())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		c.close()
		return nil, io.ErrClosedPipe
	}
	s.open[c.id] = c
	return c, nil
}

// makeRoom closes a session that is to be opened anew, since its file has one writer, and
// refuses one too many.
func (s *server) makeRoom(id sdk.SessionId) error {
	s.mu.Lock()
	full, old := len(s.open) >= openMax, s.open[id]
	s.mu.Unlock()
	switch {
	case old != nil:
		old.close()
	case full:
		return invalid("%d sessions are open; close one", openMax)
	}
	return nil
}

// invalid is the error of a request that can't be carried out as it is.
func invalid(format string, args ...any) error {
	return &sdk.RequestError{Code: -32602, Message: fmt.Sprintf(format, args...)}
}
