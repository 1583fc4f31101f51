package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/inference"
	"agent/internal/legible"
)

// hostileText is what a stranger would have a terminal do: titles, the clipboard,
// clearing, concealed text, moves, returns that overwrite, and turned text.
const hostileText = "evil\x1b]0;owned\x07\x1b[2J\x1b]52;c;cm0=\x07\x1b[8mhid\u009b31m\x1bP+q\x1b\\\x7f\b\rover\u202eback\u2066\U000e0041"

// hostileHome is a home and a work dir in which every name and value that a
// person may be shown is hostileText, and a server that says nothing else.
type hostileHome struct{ dir, config, server string }

func newHostileHome(t *testing.T) *hostileHome {
	h := &hostileHome{dir: t.TempDir()}
	h.config = filepath.Join(h.dir, "chosen")
	service := httptest.NewServer(hostileService(t))
	t.Cleanup(service.Close)
	h.server = service.URL
	h.write(t, "notes "+hostileText+".txt", hostileText+"\n")
	h.write(t, "chosen/llm/quoting.yaml", "_target_: scripted\nmodel_id: "+inYAML(hostileText)+"\nreplies: ["+inYAML(hostileText)+", "+inYAML(hostileText)+"]\nchoices: ["+inYAML(hostileText)+"]\n")
	h.write(t, "chosen/llm/remote.yaml", "_target_: openai\nserver_ip: "+h.server+"/v1\nmodel_id: "+inYAML(hostileText)+"\nmax_retries: 0\napi_key: EMPTY\n")
	h.write(t, "chosen/llm/template.yaml", "_target_: hf\nmodel_id: "+inYAML(hostileText)+"\nchat_template: "+inYAML("missing "+hostileText)+"\n")
	h.write(t, "chosen/llm/target.yaml", "_target_: "+inYAML(hostileText)+"\n")
	h.write(t, "chosen/llm/"+hostileText+".yaml", "_target_: scripted\n"+inYAML(hostileText)+": "+inYAML(hostileText)+"\n")
	h.write(t, "chosen/llm/broken.yaml", "_target_: scripted\nreplies: [\x1b[2J\n")
	h.write(t, "value/config.yaml", "defaults:\n  - _self_\n  - llm: scripted\nagent:\n  max_steps: "+inYAML(hostileText)+"\n  disable: ["+inYAML(hostileText)+"]\n")
	h.write(t, "mcp/config.yaml", "defaults:\n  - _self_\n  - llm: scripted\nmcp:\n  servers:\n    here: {url: \""+h.server+"/mcp\"}\n    "+inYAML(hostileText)+": {command: "+inYAML(hostileText)+"}\n")
	h.write(t, "lone/config.yaml", "defaults:\n  - _self_\n  - llm: scripted\nmcp:\n  servers:\n    here: {url: \""+h.server+"/mcp\"}\n")
	h.write(t, "commands/"+hostileText+".py", "# "+hostileText+"\nprint(1\n")
	h.write(t, "commands/tool.py", "\"\"\"\ndescription: "+hostileText+"\n"+hostileText+": x\n\"\"\"\nprint(1)\n")
	h.write(t, "tasks.jsonl", line(t, map[string]any{"id": hostileText, "prompt": hostileText, "expected": hostileText})+line(t, map[string]any{"prompt": hostileText, "options": []string{hostileText, "b"}}))
	h.write(t, "bad.jsonl", `{"prompt": "a", "`+strings.Trim(inYAML(hostileText), `"`)+`": 1}`+"\n")
	h.write(t, "raw.jsonl", hostileText+"\n")
	h.write(t, "table.csv", "q,"+hostileText+"\nx,"+hostileText+"\n")
	h.write(t, "chat.json", `[{"role":`+inYAML(hostileText)+`,"content":"x"}]`)
	h.write(t, "broken "+hostileText+".gguf", "GGUF"+hostileText)
	return h
}

func (h *hostileHome) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(h.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// inYAML is text as a quoted scalar, of YAML and JSON alike, in ASCII.
func inYAML(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == '"' || r == '\\' || r > 0x7f && r <= 0xffff {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return `"` + out.String() + `"`
}

func line(t *testing.T, v any) string {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data) + "\n"
}

// hostileService is a model server, a model hub and an MCP server whose errors,
// names and tools are hostileText.
func hostileService(t *testing.T) http.Handler {
	tools := sdk.NewServer(&sdk.Implementation{Name: hostileText, Version: hostileText}, nil)
	for _, name := range []string{"plain", "tool" + hostileText} {
		tools.AddTool(&sdk.Tool{Name: name, Description: hostileText, InputSchema: json.RawMessage(`{"type":"object","properties":{"x` + strings.Trim(inYAML(hostileText), `"`) + `":{"type":"string"}}}`)},
			func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
				return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: hostileText}}}, nil
			})
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return tools }, nil))
	mux.HandleFunc("/v1/models", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, line(t, map[string]any{"data": []any{map[string]any{"id": hostileText}}}))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Error-Message", "evil\x1b[2J")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, line(t, map[string]any{"error": map[string]any{"message": hostileText, "type": hostileText, "code": hostileText}}))
	})
	return mux
}

// surfaces are command lines that show a person what a stranger wrote: every
// subcommand with a hostileText argument and each flag that takes a text, and those
// that read hostileText files or ask hostileText servers.
func (h *hostileHome) surfaces() [][]string {
	out := [][]string{
		{"run", "llm=quoting", "--approve", "auto", hostileText}, {"run", "llm=quoting", "-q", hostileText},
		{"run", "--config-dir", "mcp", "llm.replies=[a]", hostileText}, {"run", "--config-dir", "value", hostileText},
		{"run", "llm=remote", hostileText}, {"run", "llm=template", hostileText}, {"run", "llm=quoting", "--multirun", "agent.max_steps=1,2", hostileText},
		{"chat", "llm=quoting", hostileText}, {"chat", "llm=remote", hostileText}, {"chat", "llm=quoting"}, {"chat", "--json", "llm=quoting", hostileText},
		{"chat", "llm=human", hostileText}, {"choose", "llm=human", hostileText, "--option", hostileText, "--option", "b"},
		{"choose", "llm=quoting", hostileText, "--option", hostileText, "--option", "b"}, {"choose", "llm=remote", hostileText, "-o", hostileText, "-o", "b"},
		{"choose", "llm=scripted", "llm.choices=[" + hostileText + "]", hostileText, "-o", hostileText, "-o", "b"},
		{"choose", "llm=scripted", "--json", "llm.choices=[b]", hostileText, "-o", hostileText, "-o", "b"},
		{"tokens", "llm=quoting", "notes " + hostileText + ".txt"}, {"tokens", "llm=quoting", "missing " + hostileText}, {"tokens", "llm=quoting", "--chat", "chat.json"},
		{"config", "show", "llm=quoting"}, {"config", "show", "llm=quoting", "--origin"}, {"config", "show", "llm=" + hostileText}, {"config", "check"},
		{"config", "check", "llm=target"}, {"config", "check", "llm=broken"}, {"config", "list"}, {"config", "list", "--json"},
		{"config", "check", "--config-dir", "value"}, {"config", "show", "--config-dir", "value"}, {"config", "check", "--config-dir", "mcp"},
		{"commands", "list"}, {"commands", "list", "--config-dir", "lone"}, {"commands", "list", "--config-dir", "mcp"}, {"commands", "show", "plain", "--config-dir", "lone"},
		{"commands", "check"}, {"commands", "check", "commands/" + hostileText + ".py", "commands/tool.py"}, {"commands", "trust"}, {"commands", "list"},
		{"compare", "--llm", "quoting", "--llm", "remote", "--input", "tasks.jsonl"}, {"compare", "--llm", "quoting", "--input", "bad.jsonl"},
		{"compare", "--llm", "quoting", "--input", "raw.jsonl"}, {"compare", "--llm", hostileText, "--input", "tasks.jsonl"},
		{"models", "inspect", "broken " + hostileText + ".gguf"}, {"models", "list"}, {"models", "pull", "owner/name"}, {"models", "verify", "owner/name"},
		{"sessions", "list"}, {"sessions", "list", "--json"}, {"doctor"}, {"serve", "--addr", hostileText}, {"version"},
	}
	forKinds := wholeTree()
	for _, c := range leaves(forKinds) {
		path := strings.Fields(c.CommandPath())[1:]
		with := func(args ...string) { out = append(out, append(path[:len(path):len(path)], args...)) }
		with(hostileText)
		with(hostileText + "=1")
		with("--" + hostileText)
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() != "bool" {
				with("--" + f.Name + "=" + hostileText)
			}
		})
	}
	return out
}

func leaves(c *cobra.Command) []*cobra.Command {
	if !c.HasSubCommands() {
		return []*cobra.Command{c}
	}
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		out = append(out, leaves(sub)...)
	}
	return out
}

// ours are the colours and moves of the cursor that this program makes.
var ours = regexp.MustCompile(`\x1b\[(?:[01239]|22|3[129]|39)?m|\r\x1b\[(?:K|J|\d+A\x1b\[J)|\r\n`)

// notText finds what a terminal would not show as text, with its surroundings.
func notText(shown string) string {
	shown = ours.ReplaceAllString(shown, "\n")
	at := strings.IndexFunc(shown, func(r rune) bool { return r != '\n' && r != '\t' && legible.Unseen(r) })
	if at < 0 {
		return ""
	}
	return shown[max(0, at-60):min(len(shown), at+30)]
}

// TestNothingHostileReachesATerminal tries every surface on a terminal.
func TestNothingHostileReachesATerminal(t *testing.T) {
	if inference.Built() {
		t.Skip("without the native engine it is the same and takes a fifth of the time: CGO_ENABLED=0 go test ./cmd/agent")
	}
	h := newHostileHome(t)
	quoting := 0
	seen := func(args []string) {
		args = append(args[:len(args):len(args)], "--config-dir", h.config)
		shown, _ := tryOnTerminal(t, h.dir, "n\n.\n\x04\x04\x04", args, "HF_ENDPOINT="+h.server) // most are errors
		if bad := notText(shown); bad != "" {
			t.Errorf("%q shows %q", args, bad)
		}
		if strings.Contains(shown, `\x1b`) {
			quoting++
		}
	}
	surfaces := h.surfaces()
	for _, args := range surfaces {
		seen(args)
	}
	kept, err := filepath.Glob(filepath.Join(h.dir, "agent", "sessions", "*.jsonl"))
	require.NoError(t, err)
	require.NotEmpty(t, kept, "runs were kept")
	for _, sub := range []string{"show", "export", "resume"} {
		seen([]string{"sessions", sub, strings.TrimSuffix(filepath.Base(kept[0]), ".jsonl")})
	}
	seen([]string{"sessions", "list"})
	assert.Greater(t, quoting, len(surfaces)/3, "surfaces that quote what is hostileText, as escapes")
	t.Logf("%d surfaces, %d of them quote", len(surfaces)+4, quoting)
}
