package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rogpeppe/go-internal/testscript"
)

// notesServer is a real MCP server over standard input and output, for scripts:
// mcp-notes, with a tool whose description a variable gives.
func notesServer() {
	s := sdk.NewServer(&sdk.Implementation{Name: "notes", Version: "1"}, nil)
	type note struct {
		Title string `json:"title" jsonschema:"a few words"`
	}
	sdk.AddTool(s, &sdk.Tool{Name: "add_note", Description: os.Getenv("NOTE_DESCRIPTION")},
		func(_ context.Context, _ *sdk.CallToolRequest, in note) (*sdk.CallToolResult, any, error) {
			text := fmt.Sprintf("noted %q for %s", in.Title, os.Getenv("NOTES_TOKEN"))
			return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}, nil, nil
		})
	if err := s.Run(context.Background(), &sdk.StdioTransport{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// searchService answers as SearXNG does, and as Brave does to who has the key.
func searchService(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/search" && r.URL.Query().Get("format") == "json":
		_, _ = io.WriteString(w, `{"results":[{"url":"https://example.org/a","title":"About `+r.URL.Query().Get("q")+`","content":"All of it."}]}`)
	case r.URL.Path == "/brave" && r.Header.Get("X-Subscription-Token") == "brave-key-of-a-user":
		_, _ = io.WriteString(w, `{"type":"search","web":{"results":[{"url":"https://example.org/b","title":"B","description":"With a key."}]}}`)
	case r.URL.Path == "/brave":
		http.Error(w, "{}", http.StatusUnauthorized)
	default:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>a page</html>")
	}
}

// TestOutsideScripts runs testdata/outside/*.txtar: what reaches beyond the
// work dir. $SERVICE is a search service on loopback, $MCP_NOTES the program of
// an MCP server.
func TestOutsideScripts(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(searchService))
	t.Cleanup(service.Close)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "outside"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("SERVICE", service.URL)
			return setUpScript(env)
		},
		Condition: scriptCondition,
		Cmds:      map[string]func(*testscript.TestScript, bool, []string){"exits": cmdExits},
	})
}
