package mcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"agent/internal/legible"
)

// olderProtocol is the last version of the protocol with a handshake, for servers
// that do not answer the newer one.
const olderProtocol = "2025-11-25"

// server is one server, connected or not.
type server struct {
	name    string
	config  Server
	secrets secrets
	version string
	dir     string // where its program runs

	stale    atomic.Bool             // it said that its tools changed
	starting atomic.Pointer[process] // not connected yet

	mu       sync.Mutex
	now      *link    // nil: not connected
	newest   *listing // of its tools; nil: not connected
	restarts int
	closed   bool
}

// listing is what a server says about its tools over a connection. Each tool
// looks itself up in the newest one.
type listing struct {
	link  *link
	tools map[string]*sdk.Tool
}

func newListing(l *link, tools []*sdk.Tool) *listing {
	out := &listing{link: l, tools: make(map[string]*sdk.Tool, len(tools))}
	for _, t := range tools {
		out.tools[t.Name] = t
	}
	return out
}

// link is one connection to a server.
type link struct {
	session *sdk.ClientSession
	process *process      // nil over HTTP
	ended   chan struct{} // closed when the server ended the connection
	dropped atomic.Bool   // by this side
}

func newServer(name string, c Server, o Options) *server {
	dir := c.Dir
	if dir == "" {
		dir = filepath.Join(o.StateDir, "mcp", name)
	}
	return &server{name: name, config: c, secrets: newSecrets(c), version: o.Version, dir: dir}
}

// start connects for the first time and lists the tools, and what was left out
// of them.
func (s *server) start(ctx context.Context) (tools []*sdk.Tool, leftOut []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type started struct {
		link    *link
		tools   []*sdk.Tool
		leftOut []string
	}
	done, err := within(ctx, s, func(ctx context.Context) (started, error) {
		l, err := s.connect(ctx)
		if err != nil {
			return started{}, err
		}
		tools, leftOut, err := s.list(ctx, l)
		if err != nil {
			l.end(ctx)
			return started{}, s.failure("list its tools", err, l)
		}
		return started{l, tools, leftOut}, nil
	}, func(late started) { late.link.close() })
	if err != nil {
		return nil, nil, err
	}
	s.now, s.newest = done.link, newListing(done.link, done.tools)
	return done.tools, done.leftOut, nil
}

// startLimit is how long a run waits for it.
func (s *server) startLimit() time.Duration { return cmp.Or(s.config.TimeoutStart, startTimeout) }

// within makes a connection and waits no longer than the server has to start,
// whatever it sends meanwhile. A late connection is closed.
func within[T any](ctx context.Context, s *server, do func(context.Context) (T, error),
	undo func(T),
) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	limited, cancel := context.WithTimeout(ctx, s.startLimit())
	done := make(chan outcome, 1)
	go func() {
		defer cancel()
		value, err := do(limited)
		done <- outcome{value, err}
	}()
	var out outcome
	select {
	case out = <-done:
		if out.err == nil || limited.Err() != context.DeadlineExceeded {
			return out.value, out.err
		}
	case <-limited.Done():
		go func() {
			if late := <-done; late.err == nil {
				undo(late.value)
			}
		}()
	}
	p := s.starting.Load()
	p.kill()
	if ctx.Err() != nil {
		return out.value, ctx.Err()
	}
	e := &Error{Server: s.name, Detail: fmt.Sprintf(
		"it was not ready within %s; mcp.servers.%s.timeout_start gives it longer", s.startLimit(),
		s.name)}
	e.Advice = s.printedBy(p)
	return out.value, e
}

// connect makes a connection. It uses the older handshake if the newer one gets
// no answer in half of the time.
func (s *server) connect(ctx context.Context) (*link, error) {
	first, cancel := context.WithTimeout(ctx, s.startLimit()/2)
	defer cancel()
	l, err := s.connectAs(first, "")
	if err != nil && ctx.Err() == nil && errors.Is(first.Err(), context.DeadlineExceeded) {
		l, err = s.connectAs(ctx, olderProtocol)
	}
	return l, err
}

func (s *server) connectAs(ctx context.Context, protocol string) (*link, error) {
	l := &link{ended: make(chan struct{})}
	transport, err := s.transport(l)
	if err != nil {
		return nil, s.failure("start it", err, l)
	}
	s.starting.Store(l.process)
	client := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: s.version}, &sdk.ClientOptions{
		Capabilities:   &sdk.ClientCapabilities{}, // no files, no model, no questions for it
		MultiRoundTrip: &sdk.MultiRoundTripOptions{Disabled: true},
		ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) {
			s.stale.Store(true)
		},
	})
	l.session, err = client.Connect(ctx, transport,
		&sdk.ClientSessionOptions{ProtocolVersion: protocol})
	if err != nil {
		l.end(ctx)
		return nil, s.failure("connect", err, l)
	}
	go func() {
		_ = l.session.Wait()
		close(l.ended)
	}()
	return l, nil
}

// transport connects to the server; its program runs already.
func (s *server) transport(l *link) (sdk.Transport, error) {
	if s.config.URL != "" {
		return &sdk.StreamableClientTransport{
			Endpoint: s.config.URL, HTTPClient: s.httpClient(), MaxEventSize: messageBytesMax,
		}, nil
	}
	if s.config.Dir == "" {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
	}
	var err error
	if l.process, err = startProcess(s.config, s.dir); err != nil {
		return nil, err
	}
	messages := newMessages(l.process.out, l.process.stderr)
	return &sdk.IOTransport{Reader: messages, Writer: l.process.in, MaxLineLength: messageBytesMax},
		nil
}

// httpClient sends the configured headers, to this server and no other, and
// reads no more than a message may have.
func (s *server) httpClient() *http.Client {
	return &http.Client{
		Transport: headers{s.config.Headers, http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects; give the address that it redirects to")
		},
	}
}

// errPages: a cursor came again, or new ones would for ever.
var errPages = fmt.Errorf("its pages come again, or are more than %d", definedMax)

// pages are the tools of all pages of a server's list.
func pages(ctx context.Context, session *sdk.ClientSession) iter.Seq2[*sdk.Tool, error] {
	return func(yield func(*sdk.Tool, error) bool) {
		read := map[string]bool{}
		for cursor := ""; !read[cursor] && len(read) < definedMax; {
			read[cursor] = true
			page, err := session.ListTools(ctx, &sdk.ListToolsParams{Cursor: cursor})
			if err != nil {
				yield(nil, err)
				return
			}
			for _, t := range page.Tools {
				if !yield(t, nil) {
					return
				}
			}
			if cursor = page.NextCursor; cursor == "" {
				return
			}
		}
		yield(nil, errPages)
	}
}

// list asks for the tools. Tools over the limits are left out with a warning.
func (s *server) list(ctx context.Context, l *link) (out []*sdk.Tool, leftOut []string, err error) {
	s.stale.Store(false)
	note := func(format string, args ...any) {
		leftOut = append(leftOut, fmt.Sprintf("mcp server %q: ", s.name)+fmt.Sprintf(format, args...))
	}
	seen, looked := map[string]bool{}, 0
	for t, err := range pages(ctx, l.session) {
		if errors.Is(err, errPages) {
			note("its list of tools does not end: %v; what came before is used", err)
			return out, leftOut, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if looked++; len(out) == toolsMax || looked > definedMax {
			note("it has more than %d tools; the others are left out", len(out))
			return out, leftOut, nil
		}
		if seen[t.Name] {
			continue
		}
		if err := checkDefinition(t); err != nil {
			note("its tool %q is left out: %v", legible.OneLine(t.Name), err)
			continue
		}
		seen[t.Name] = true
		out = append(out, t)
	}
	return out, leftOut, nil
}

// warnOfUnknownReadOnly names tools that the configuration calls read-only and
// the server does not have: probably a typo.
func (s *server) warnOfUnknownReadOnly(tools []*sdk.Tool, warn func(string)) {
	if s.now == nil {
		return
	}
	for _, name := range s.config.ReadOnly {
		if !slices.ContainsFunc(tools, func(t *sdk.Tool) bool { return t.Name == name }) {
			warn(fmt.Sprintf("mcp server %q: read_only names %q, which it does not have", s.name, name))
		}
	}
}

// live is the connection, made again once if the server has died. The mutex is
// held.
func (s *server) live(ctx context.Context) (*link, error) {
	if s.closed {
		return nil, s.failure("call it", errors.New("it is closed"), nil)
	}
	if s.now != nil && !s.now.hasEnded() {
		return s.now, nil
	}
	old := s.now
	if old != nil {
		old.close()
	}
	if s.restarts == restartsMax {
		return nil, s.failure("call it", errors.New("it ended again after it was restarted"), old)
	}
	s.restarts++
	l, err := within(ctx, s, s.connect, (*link).close)
	if err != nil {
		return nil, err
	}
	s.now = l
	return l, nil
}

// drop closes a broken connection.
func (s *server) drop(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.dropped.Store(true)
	l.close()
}

// call calls a tool over the connection on which it was admitted: a restarted
// server may be another one. If the connection has broken or ended, the error is
// a brokenError.
func (s *server) call(ctx context.Context, l *link, params *sdk.CallToolParams,
	timeout time.Duration,
) (*sdk.CallToolResult, error) {
	if l.hasEnded() {
		return nil, s.failure("call it", &brokenError{err: errors.New("it ended"), notDone: true}, l)
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := l.session.CallTool(limited, params)
	var answered *jsonrpc.Error
	switch {
	case err == nil:
		return res, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, &Error{Server: s.name, Detail: fmt.Sprintf("no answer within %s; it may still be at work", timeout),
			Advice: "raise mcp.servers." + s.name + ".timeout"}
	case errors.As(err, &answered):
		return nil, s.failure("call it", err, nil)
	}
	s.drop(l)
	broke := &brokenError{err: err, notDone: errors.Is(err, sdk.ErrSessionMissing)}
	return nil, s.failure("call it", broke, l)
}

// brokenError is a connection that broke during a call.
type brokenError struct {
	err     error
	notDone bool // the server did not take the call
}

func (e *brokenError) Error() string {
	return "the connection broke; whether the call did its work is not known: " + e.err.Error()
}

func (e *brokenError) Unwrap() error { return e.err }

// refresh is the newest listing. It is made again if the server said that its
// tools changed or was restarted. It waits for one in progress.
func (s *server) refresh(ctx context.Context) (*listing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.live(ctx)
	if err != nil {
		return nil, err
	}
	if s.newest != nil && s.newest.link == l && !s.stale.Load() {
		return s.newest, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.startLimit())
	defer cancel()
	tools, _, err := s.list(ctx, l)
	if err != nil {
		s.stale.Store(true)
		return nil, s.failure("list its tools", err, l)
	}
	s.newest = newListing(l, tools)
	return s.newest, nil
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.now != nil {
		s.now.close()
		s.now = nil
	}
}

// failure is an error with what the program printed last.
func (s *server) failure(what string, err error, l *link) error {
	why := s.secrets.hide(legible.Clip(legible.OneLine(err.Error()), errorBytesMax))
	e := &Error{Server: s.name, err: err, Detail: "can't " + what + ": " + why}
	if l != nil {
		e.Advice = s.printedBy(l.process)
	}
	return e
}

// printedBy is what a server's program printed, if anything.
func (s *server) printedBy(p *process) string {
	if p == nil {
		return ""
	}
	if printed := s.secrets.hide(clean(p.printed())); printed != "" {
		return "it printed: " + printed
	}
	return ""
}

const errorBytesMax = 500

// Error is a server that could not be used.
type Error struct {
	Server string
	Detail string
	Advice string
	err    error // for errors.As; what it says is in Detail, without secrets
}

func (e *Error) Unwrap() error { return e.err }

func (e *Error) Error() string { return fmt.Sprintf("mcp server %q: %s", e.Server, e.Detail) }

// Hint says what can be done, or what the server printed.
func (e *Error) Hint() string { return e.Advice }

func (l *link) hasEnded() bool {
	if l.dropped.Load() {
		return true
	}
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// close ends the connection and the program with all that it started. The program
// goes first: a session waits for calls that a hung one never answers.
func (l *link) close() {
	if l.process != nil {
		l.process.stop()
	}
	if l.session == nil {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.session.Close()
	}()
	select {
	case <-ended:
	case <-time.After(stopGrace): // a server on the network that does not answer
	}
}

// end closes a connection that was not established, at once if its time is up.
func (l *link) end(ctx context.Context) {
	if ctx.Err() != nil {
		l.process.kill()
	}
	l.close()
}
