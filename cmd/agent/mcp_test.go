package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/internal/cli"
)

// started is one start of the command line in this process.
type started struct {
	in     io.WriteCloser
	out    io.Reader
	err    *lockedText
	ended  chan int
	cancel context.CancelFunc
}

// lockedText gathers what is written.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startProgram runs a command line with a home of its own.
func startProgram(t *testing.T, args ...string) *started {
	t.Helper()
	home := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"} {
		t.Setenv(name, home)
	}
	t.Chdir(t.TempDir())
	return again(t, args...)
}

// again is startProgram in the home that there is.
func again(t *testing.T, args ...string) *started {
	t.Helper()
	theirIn, in := io.Pipe()
	out, theirOut := io.Pipe()
	p := &started{in: in, out: out, err: &lockedText{}, ended: make(chan int, 1)}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		a := cli.New(theirIn, theirOut, p.err, nil)
		code := a.Run(ctx, a.Root(root(a)), args)
		theirOut.Close()
		theirIn.Close()
		p.ended <- code
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.cancel()
		in.Close()
		out.Close()
		<-p.ended
		if t.Failed() {
			t.Log(p.err)
		}
	})
	return p
}

// scriptedLLM is a folder of configuration with the option llm=it.
func scriptedLLM(t *testing.T, yaml string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "llm"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "llm", "it.yaml"),
		[]byte("_target_: scripted\n"+yaml), 0o644))
	return dir
}

// writesTwice writes two files, and answers.
const writesTwice = `replies:
  - '{"command": "writer", "summary": "Write the first", "content": [{"file": "a.txt", "text": "1"}]}'
  - '{"command": "writer", "summary": "Write the second", "content": [{"file": "b.txt", "text": "2"}]}'
  - '{"command": "answer", "summary": "", "content": [{"text": "done"}]}'
choices: [pear, apple, pear]
`

// mcpArgs serve MCP with a scripted model, in a folder.
func mcpArgs(t *testing.T, script, dir string, more ...string) []string {
	t.Helper()
	return append([]string{"mcp", "--config-dir", scriptedLLM(t, script), "llm=it", "--workdir", dir}, more...)
}

// notesAndSecret is a folder with notes, and a secret that a rule keeps.
func notesAndSecret(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"notes.txt": "one\ntwo\nthree\n", "secret.txt": "hidden\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

const keepsSecret = "agent.approve_rules=[{path: secret.txt, do: deny}]"

// dial connects a client to a program's standard streams.
func (p *started) dial(t *testing.T, o *sdk.ClientOptions) *sdk.ClientSession {
	t.Helper()
	c := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, o)
	cs, err := c.Connect(t.Context(), &sdk.IOTransport{Reader: io.NopCloser(p.out), Writer: p.in}, nil)
	require.NoError(t, err, p.err)
	t.Cleanup(func() { cs.Close() })
	return cs
}

func callTool(t *testing.T, cs *sdk.ClientSession, name string, args map[string]any) *sdk.CallToolResult {
	t.Helper()
	params := &sdk.CallToolParams{Name: name, Arguments: args}
	params.SetProgressToken("p")
	res, err := cs.CallTool(t.Context(), params)
	require.NoError(t, err)
	return res
}

// fieldsOf are the fields of a result, shown as JSON has them.
func fieldsOf(t *testing.T, r *sdk.CallToolResult) map[string]any {
	t.Helper()
	fields, ok := r.StructuredContent.(map[string]any)
	require.True(t, ok, "%+v", r.Content[0])
	return fields
}

// writeTwo has the script of writesTwice run, and gives what the client is told.
func writeTwo(t *testing.T, cs *sdk.ClientSession) map[string]any {
	t.Helper()
	return fieldsOf(t, callTool(t, cs, "run", map[string]any{"task": "write two numbers"}))
}

// TestMCPRun: one call is refused and one allowed by the person at the client, who
// sees what they do, and follows the run.
func TestMCPRun(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "in"), 0o755))
	p := startProgram(t, mcpArgs(t, writesTwice, dir, "agent.aids.cold_logic=false")...)
	var asked, told []string
	var mu sync.Mutex
	cs := p.dial(t, &sdk.ClientOptions{
		ElicitationHandler: func(_ context.Context, r *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
			asked = append(asked, r.Params.Message)
			if strings.Contains(r.Params.Message, "a.txt") {
				return &sdk.ElicitResult{
					Action:  "accept",
					Content: map[string]any{"decision": "refuse", "reason": "not that one"},
				}, nil
			}
			return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"decision": "allow"}}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, r.Params.Message)
		},
	})
	out := fieldsOf(t, callTool(t, cs, "run", map[string]any{"task": "write two numbers",
		"folder": "in"}))
	assert.Equal(t, "answered", out["stop"])
	assert.Equal(t, "done", out["answer"])
	assert.Equal(t, []any{"b.txt"}, out["files"])
	assert.Equal(t, []any{"writer: not that one"}, out["refused"])
	assert.NoFileExists(t, filepath.Join(dir, "in", "a.txt"))
	assert.FileExists(t, filepath.Join(dir, "in", "b.txt"))
	require.Len(t, asked, 2)
	assert.Contains(t, asked[1], "writer wants to write files in "+filepath.Join(dir, "in"))
	assert.Contains(t, asked[1], "+2")
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(told) >= 6 },
		5*time.Second, 10*time.Millisecond)
	assert.Regexp(t, "writer", strings.Join(told, "\n"))

	for folder, want := range map[string]string{"..": "outside", "/": "outside",
		"nowhere": "no folder"} {
		res := callTool(t, cs, "run", map[string]any{"task": "x", "folder": folder})
		assert.True(t, res.IsError, folder)
		assert.Contains(t, res.Content[0].(*sdk.TextContent).Text, want)
	}
	res := callTool(t, cs, "run", map[string]any{"task": " "})
	assert.Contains(t, res.Content[0].(*sdk.TextContent).Text, "the task is empty")
}

// TestMCPRefuses: where the client can't ask a person, nothing is changed.
func TestMCPRefuses(t *testing.T) {
	dir := t.TempDir()
	p := startProgram(t, mcpArgs(t, writesTwice, dir, "--approve", "ask")...)
	assert.Len(t, writeTwo(t, p.dial(t, nil))["refused"], 2)
	assert.NoFileExists(t, filepath.Join(dir, "b.txt"))

	p = again(t, mcpArgs(t, writesTwice, dir, "--approve", "auto")...)
	assert.Len(t, writeTwo(t, p.dial(t, nil))["files"], 2)
}

// TestMCPCancel: a call that the client gives up stops, and its session is kept.
func TestMCPCancel(t *testing.T) {
	const late = `delta_delay: 10s
replies: ['{"command": "answer", "summary": "", "content": [{"text": "late"}]}']
`
	p := startProgram(t, mcpArgs(t, late, t.TempDir())...)
	began := make(chan struct{})
	once := sync.OnceFunc(func() { close(began) })
	cs := p.dial(
		t,
		&sdk.ClientOptions{
			ProgressNotificationHandler: func(context.Context, *sdk.ProgressNotificationClientRequest) {
				once()
			},
		},
	)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	params := &sdk.CallToolParams{Name: "run", Arguments: map[string]any{"task": "wait"}}
	params.SetProgressToken("p")
	_, err := cs.CallTool(ctx, params)
	require.ErrorIs(t, err, context.Canceled)
	kept := filepath.Join(os.Getenv("XDG_STATE_HOME"), "agent", "sessions")
	require.Eventually(t, func() bool {
		names, _ := filepath.Glob(filepath.Join(kept, "*"))
		for _, name := range names {
			if data, _ := os.ReadFile(name); strings.Contains(string(data), `"stop":"interrupted"`) {
				return true
			}
		}
		return false
	}, 5*time.Second, 20*time.Millisecond)
}

// TestMCPTools: what needs no run.
func TestMCPTools(t *testing.T) {
	p := startProgram(t, mcpArgs(t, writesTwice, notesAndSecret(t), keepsSecret)...)
	mcpTools(t, p.dial(t, nil))
}

func mcpTools(t *testing.T, cs *sdk.ClientSession) {
	t.Helper()
	list, err := cs.ListTools(t.Context(), nil)
	require.NoError(t, err)
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
		assert.NotEmpty(t, tool.Description)
	}
	assert.ElementsMatch(t, []string{"run", "choose", "classify", "count_tokens",
		"read_document"}, names)

	chosen := fieldsOf(t, callTool(t, cs, "choose",
		map[string]any{"question": "Which?", "options": []string{"apple", "pear"}}))
	assert.Equal(t, "pear", chosen["text"])
	assert.EqualValues(t, 1, chosen["index"])
	sorted := fieldsOf(t, callTool(t, cs, "classify",
		map[string]any{"items": []string{"red", "green", "blue"}, "options": []string{"apple", "pear"}}))
	assert.Equal(t, map[string]any{"apple": 1.0, "pear": 1.0}, sorted["counts"])
	assert.EqualValues(t, 1, sorted["failed"], "the script has two choices left")
	assert.Contains(t, fmt.Sprint(sorted["results"]), "script has ended")
	counted := fieldsOf(t, callTool(t, cs, "count_tokens", map[string]any{"text": "a few words"}))
	assert.Positive(t, counted["tokens"])
	assert.Equal(t, false, counted["exact"])
	assert.Greater(t, fieldsOf(t, callTool(t, cs, "count_tokens",
		map[string]any{"messages": []map[string]any{{"role": "user",
			"content": "a few words"}}}))["tokens"], counted["tokens"])

	read := func(args map[string]any) string {
		return callTool(t, cs, "read_document", args).Content[0].(*sdk.TextContent).Text
	}
	assert.Contains(t, read(map[string]any{"file": "notes.txt"}), "two\nthree")
	assert.NotContains(t, read(map[string]any{"file": "notes.txt", "lines": "1-2"}), "three")
	assert.Contains(t, read(map[string]any{"file": "secret.txt"}), "a rule of the user")
	assert.NotContains(t,
		read(map[string]any{"file": "../" + filepath.Base(os.Getenv("HOME"))}), "hidden")
	assert.Contains(t, read(map[string]any{"file": "http://127.0.0.1/x"}),
		"only files of the server's folder")
	for name, args := range map[string]map[string]any{
		"choose":       {"question": "Which?", "options": []string{"same", "same"}},
		"classify":     {"items": []string{}, "options": []string{"a", "b"}},
		"count_tokens": {},
	} {
		assert.True(t, callTool(t, cs, name, args).IsError, name)
	}
	assert.True(t, callTool(t, cs, "choose", map[string]any{"question": "Which?",
		"options": []string{"a", "b"}, "method": "best"}).IsError)
	bad, err := cs.CallTool(
		t.Context(),
		&sdk.CallToolParams{
			Name:      "choose",
			Arguments: map[string]any{"question": "Which?", "options": []string{"a", "b"}, "optoins": 1},
		},
	)
	assert.True(t, err != nil || bad.IsError, "an unknown field is refused")
}

// TestMCPOverHTTP: the same over streamable HTTP, with the key.
func TestMCPOverHTTP(t *testing.T) {
	t.Setenv("AGENT_API_KEY", "sesame")
	p := startProgram(t, mcpArgs(t, writesTwice, notesAndSecret(t), keepsSecret, "--http", "--port", "0")...)
	url := p.address(t)
	for _, key := range []string{"", "wrong"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
	}
	asked := 0
	c := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
		ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
			asked++
			return &sdk.ElicitResult{
				Action:  "accept",
				Content: map[string]any{"decision": "allow this command in the whole task"},
			}, nil
		}})
	cs, err := c.Connect(
		t.Context(),
		&sdk.StreamableClientTransport{
			Endpoint:   url,
			HTTPClient: &http.Client{Transport: withKey("sesame")},
		},
		nil,
	)
	require.NoError(t, err)
	defer cs.Close()
	assert.Len(t, writeTwo(t, cs)["files"], 2)
	assert.Equal(t, 1, asked)
	mcpTools(t, cs)
}

// withKey sends a key with each request.
type withKey string

func (k withKey) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(k))
	return http.DefaultTransport.RoundTrip(r)
}

// address is where a program says that it serves.
func (p *started) address(t *testing.T) string {
	t.Helper()
	var url string
	require.Eventually(t, func() bool {
		url = regexp.MustCompile(`http://127\.0\.0\.1:\d+\S*`).FindString(p.err.String())
		return url != ""
	}, 20*time.Second, 10*time.Millisecond, "%s", p.err)
	return url
}

// TestMCPOfficialTypeScript drives the server with the official TypeScript client,
// over both transports.
func TestMCPOfficialTypeScript(t *testing.T) {
	modules := os.Getenv("AGENT_NODE_MODULES")
	if modules == "" {
		t.Skip("needs AGENT_NODE_MODULES=…/node_modules with: npm install @modelcontextprotocol/sdk")
	}
	source, err := os.ReadFile(filepath.Join("testdata", "mcp_client.mjs"))
	require.NoError(t, err)
	dir := t.TempDir()
	args := mcpArgs(t, writesTwice, dir)
	p := startProgram(t, append(args, "--http", "--port", "0")...)
	client := filepath.Join(t.TempDir(), "client.mjs")
	require.NoError(t, os.WriteFile(client, source, 0o644))
	require.NoError(t, os.Symlink(modules, filepath.Join(filepath.Dir(client), "node_modules")))
	self, err := os.Executable()
	require.NoError(t, err)
	// the name by which this binary is the program
	agent := filepath.Join(filepath.Dir(client), "agent")
	require.NoError(t, os.Symlink(self, agent))
	for _, how := range [][]string{{"http", p.address(t)}, append([]string{"stdio", agent}, args...)} {
		cmd := exec.CommandContext(t.Context(), "node", append([]string{client, dir}, how...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", out, p.err)
		t.Logf("%s", out)
		require.NoError(t, os.Remove(filepath.Join(dir, "b.txt")))
	}
}

// TestMCPDefaultModel: decisions and counts of the real engine.
func TestMCPDefaultModel(t *testing.T) {
	p := startProgram(t, "mcp", "--model", defaultModelFile(t), "llm.threads=1", "llm.threads_batch=1")
	cs := p.dial(t, nil)
	options := []string{"Paris", "Rome", "Madrid"}
	chosen := fieldsOf(t, callTool(t, cs, "choose", map[string]any{
		"question": "What is the capital of France?", "options": options}))
	assert.Equal(t, "Paris", chosen["text"])
	assert.Equal(t, "logits/sum", chosen["method"])
	assert.Positive(t, chosen["margin"])
	sorted := fieldsOf(t, callTool(t, cs, "classify", map[string]any{
		"items": []string{"The Seine flows through it.", "It has the Colosseum."}, "options": options}))
	assert.Len(t, sorted["results"], 2)
	assert.NotContains(t, sorted, "failed")
	counted := fieldsOf(t, callTool(t, cs, "count_tokens", map[string]any{"text": "a few words"}))
	assert.Equal(t, true, counted["exact"])
	assert.EqualValues(t, 3, counted["tokens"])
}
