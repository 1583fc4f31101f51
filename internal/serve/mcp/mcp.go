// Package mcp offers the agent and its model as the tools of an MCP server, over
// standard input and output or streamable HTTP.
//
// Make a [Server] with [New]; run it with [Server.Stdio], or mount
// [Server.Handler] behind what keeps strangers out.
//
// Promises: a task works in the server's folder or below it; what changes something
// is asked about by elicitation, and refused where the client can't ask; a call that
// the client cancels stops; whatever a call gets wrong is an error of that call.
package mcp

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"agent/backend"
	"agent/command"
	"agent/internal/serve/work"
	"agent/internal/words"
	"agent/session"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Config says what is offered.
type Config struct {
	Model   backend.LanguageBackend // decides and counts
	Open    work.Opener             // makes tasks ready
	Env     *command.Env            // of the folder: documents are read in it, and tasks work in it or below
	Rules   session.Rules           // say also what may be read
	Version string
	Log     *slog.Logger // nil: none
}

// Limits of a server.
const (
	runsMax      = 4    // at once
	itemsMax     = 2000 // of one call of classify
	optionsMax   = 255  // of a question
	bodyBytesMax = 16 << 20
	progressRune = 300              // of one notification
	idleWithin   = time.Hour        // between requests of a client, over HTTP
	askWithin    = 15 * time.Minute // for a person to decide
)

// Server offers the tools. It is safe for concurrent use.
type Server struct {
	cfg   Config
	mcp   *sdk.Server
	words *words.Book
	runs  chan struct{} // holds a place for each run
}

//go:embed prompts
var prompts embed.FS

// protocols are those in which a server may ask the person while a call goes on. In
// later ones each question ends the call, and clients give up after some.
func protocols() []string { return []string{"2025-11-25", "2025-06-18"} }

// New makes a server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, words: words.Open(prompts), runs: make(chan struct{}, runsMax)}
	s.mcp = sdk.NewServer(
		&sdk.Implementation{Name: "agent", Title: "agent: " + cfg.Model.ModelID(), Version: cfg.Version},
		&sdk.ServerOptions{
			Logger:                    cfg.Log,
			Capabilities:              &sdk.ServerCapabilities{},
			SupportedProtocolVersions: protocols(),
		},
	)
	closed := false
	quiet := &sdk.ToolAnnotations{ReadOnlyHint: true, OpenWorldHint: &closed}
	sdk.AddTool(s.mcp, s.tool("run", &sdk.ToolAnnotations{OpenWorldHint: &closed}), s.run)
	sdk.AddTool(s.mcp, s.tool("choose", quiet), s.choose)
	sdk.AddTool(s.mcp, s.tool("classify", quiet), s.classify)
	sdk.AddTool(s.mcp, s.tool("count_tokens", quiet), s.countTokens)
	sdk.AddTool(s.mcp, s.tool("read_document", quiet), s.readDocument)
	return s
}

// tool describes a tool as prompts/tools.md has it.
func (s *Server) tool(name string, hints *sdk.ToolAnnotations) *sdk.Tool {
	for line := range strings.Lines(s.words.Text("tools.md")) {
		if of, about, ok := strings.Cut(line, ": "); ok && of == name {
			return &sdk.Tool{Name: name, Description: strings.TrimSpace(about), Annotations: hints}
		}
	}
	panic("no description of the tool " + name)
}

// Stdio serves one client until its input ends.
func (s *Server) Stdio(ctx context.Context, in io.Reader, out io.Writer) error {
	err := s.mcp.Run(ctx, &sdk.IOTransport{Reader: io.NopCloser(in), Writer: noCloser{out}})
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil
	}
	return err
}

type noCloser struct{ io.Writer }

func (noCloser) Close() error { return nil }

// Handler serves streamable HTTP. It asks for no key.
func (s *Server) Handler() http.Handler {
	return sdk.NewStreamableHTTPHandler(
		func(*http.Request) *sdk.Server { return s.mcp },
		&sdk.StreamableHTTPOptions{
			Logger:                     s.cfg.Log,
			SessionTimeout:             idleWithin,
			MaxRequestBodyBytes:        bodyBytesMax,
			DisableLocalhostProtection: true,
		},
	) // with a key any name will do; without one the caller checks it
}

// enter takes a place for a run, or refuses it.
func (s *Server) enter() (leave func(), err error) {
	select {
	case s.runs <- struct{}{}:
		return func() { <-s.runs }, nil
	default:
		return nil, fmt.Errorf("%d tasks are worked on already; wait until one has ended", runsMax)
	}
}

// text is a result that is shown as text beside its fields.
func text(text string, failed bool) *sdk.CallToolResult {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}, IsError: failed}
}
