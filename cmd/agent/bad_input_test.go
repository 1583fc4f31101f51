//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/inference"
	"agent/inference/gguf"
	"agent/inference/gguf/gguftest"
	"agent/internal/exit"
	"agent/internal/legible"
)

// Bad input as a user meets it: the program in a process of its own. Whatever
// it is given, it says what is wrong, ends by itself with a code of docs, and
// leaves neither files nor processes behind. Scripts bad_*.txtar have what
// needs no loops, signals or large files.

// fullTests reports whether long loops are wanted.
func fullTests() bool { return os.Getenv("AGENT_TEST_FULL") != "" }

// commandLine runs the command line in clean folders.
type commandLine struct {
	t    *testing.T
	home string
	env  []string
}

func newProgram(t *testing.T) *commandLine {
	home := t.TempDir()
	tmp := filepath.Join(home, "tmp")
	require.NoError(t, os.Mkdir(tmp, 0o755))
	return &commandLine{t: t, home: home, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + tmp, "HF_ENDPOINT=http://127.0.0.1:1",
		"AGENT_MODELS_DIR=" + filepath.Dir(defaultModelPath()),
	}}
}

// ending is how a run ended.
type ending struct {
	code           int // -1: a signal
	stdout, stderr string
	took           time.Duration
}

// runMax is how long any refusal may take, on a busy machine too.
const runMax = 2 * time.Minute

// command prepares a run in a process group of its own.
func (p *commandLine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = p.env, p.home
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func (p *commandLine) run(stdin io.Reader, args ...string) ending {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), runMax)
	defer cancel()
	cmd := p.command(ctx, append([]string{"agent"}, args...)...)
	cmd.Stdin = stdin
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	require.NoError(p.t, ctx.Err(), "%q did not end; stderr: %s", args, tail(errs.String()))
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		require.NoError(p.t, err)
	}
	p.assertNoProcess(cmd.Process.Pid)
	return ending{cmd.ProcessState.ExitCode(), out.String(), errs.String(), time.Since(start)}
}

// assertNoProcess: nobody of the process group outlived the program, but for the moment
// that a child needs to see that its parent was killed.
func (p *commandLine) assertNoProcess(pgid int) {
	p.t.Helper()
	assert.Eventually(p.t, func() bool { return errors.Is(syscall.Kill(-pgid, 0), syscall.ESRCH) },
		10*time.Second, time.Millisecond, "a process was left behind")
}

// leftovers are the files in the program's folders that are no remembered
// verdicts and no session records.
func (p *commandLine) leftovers() []string {
	var left []string
	require.NoError(p.t, filepath.WalkDir(p.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "/.cache/agent/vetted/") || strings.Contains(path, "/agent/verified/") || strings.Contains(path, "/agent/sessions/") {
			return err
		}
		left = append(left, path)
		return nil
	}))
	return left
}

func tail(s string) string { return s[max(0, len(s)-600):] }

// assertRefused: one clear error, by the program itself.
func assertRefused(t *testing.T, e ending, what string) {
	t.Helper()
	assert.Contains(t, []int{exit.Failed, exit.Usage, exit.Backend}, e.code, "%s: %s", what, tail(e.stderr))
	assert.Regexp(t, `(?m)^agent: error: .{10,}`, e.stderr, what)
	assertNoTrace(t, e.stderr, what)
}

func assertNoTrace(t *testing.T, stderr, what string) {
	t.Helper()
	assert.NotRegexp(t, `panic:|goroutine \d|SIG[A-Z]+:|runtime error|core dumped|terminate called`, stderr, what)
}

func needNative(t *testing.T) {
	if !inference.Built() {
		t.Skip("needs the native engine: make native")
	}
}

// TestTruncatedModel: a model whose download broke off anywhere is an error.
// Package gguf's tests make all these cuts in process; here is what a user
// sees of every tenth, or of all with AGENT_TEST_FULL.
func TestTruncatedModel(t *testing.T) {
	needNative(t)
	p := newProgram(t)
	path := filepath.Join(p.home, "tmp", "cut.gguf")
	whole := gguftest.Model().Bytes()
	for i := range 200 {
		if !fullTests() && i%10 != 0 {
			continue
		}
		cut := i * (len(whole) - 64) / 200
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		e := p.run(nil, "chat", "--model", path, "ab")
		assertRefused(t, e, fmt.Sprintf("cut at byte %d of %d", cut, len(whole)))
		assert.Regexp(t, `(?m)^agent: hint: .*download`, e.stderr)
	}
	require.NoError(t, os.Remove(path))
	assert.Empty(t, p.leftovers())
}

// TestMutatedModel flips single bytes of a model's header. What the pre-check
// lets pass is loaded, first in the child and then here, and asked for a
// reply: it may work or be an error, and nothing else.
func TestMutatedModel(t *testing.T) {
	needNative(t)
	p := newProgram(t)
	path := filepath.Join(p.home, "tmp", "mutated.gguf")
	b := gguftest.Model()
	data, header := b.Bytes(), len(b.Header())
	rng := rand.New(rand.NewPCG(3, 4))
	count := map[string]int{}
	for i := range 1000 {
		m := bytes.Clone(data)
		at, flip := rng.IntN(header), byte(1+rng.IntN(255))
		m[at] ^= flip
		require.NoError(t, os.WriteFile(path, m, 0o600))
		_, err := gguf.Check(path)
		if err != nil {
			count["refused by the pre-check"]++
		}
		if !fullTests() && i%25 != 0 {
			continue
		}
		what := fmt.Sprintf("byte %d ^ %#x", at, flip)
		e := p.run(nil, "chat", "--model", path, "--max-tokens", "4", "ab")
		switch e.code {
		case exit.OK:
			count["worked"]++
			assert.NoError(t, err, "%s: the pre-check refused it, and it was run", what)
			assertNoTrace(t, e.stderr, what)
		default:
			count["error seen by the user"]++
			assertRefused(t, e, what)
		}
		if strings.Contains(e.stderr, "llama.cpp gave up") {
			count["the child died of it"]++
			t.Logf("%s: %s", what, tail(e.stderr))
		}
	}
	t.Logf("of 1000 mutations: %v", count)
	require.NoError(t, os.Remove(path))
	assert.Empty(t, p.leftovers())
}

// TestMutatedRealModel does the same to the default model's header, which has
// what the tiny one lacks: a vocabulary and a template of real size.
func TestMutatedRealModel(t *testing.T) {
	src := defaultModelFile(t)
	p := newProgram(t)
	path := filepath.Join(p.home, "tmp", "mutated.gguf")
	data, err := os.ReadFile(src)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	rounds := 4
	if fullTests() {
		rounds = 150
	}
	rng := rand.New(rand.NewPCG(5, 6))
	count := map[int]int{}
	for i := range rounds {
		at, flip := int64(rng.IntN(1_780_000)), byte(1+rng.IntN(255)) // vocabulary and merges, mostly
		if i%2 == 0 {
			at = int64(rng.IntN(3000)) // names, numbers, types
		}
		_, err = f.WriteAt([]byte{data[at] ^ flip}, at)
		require.NoError(t, err)
		what := fmt.Sprintf("byte %d ^ %#x", at, flip)
		e := p.run(nil, "chat", "--model", path, "--max-tokens", "4", "--temperature", "0", "hello", "llm.context_length=256")
		count[e.code]++
		if e.code != exit.OK {
			assertRefused(t, e, what)
		}
		assertNoTrace(t, e.stderr, what)
		_, err = f.WriteAt(data[at:at+1], at)
		require.NoError(t, err)
	}
	t.Logf("exit codes of %d mutations: %v", rounds, count)
	require.NoError(t, os.Remove(path))
	assert.Empty(t, p.leftovers())
}

// TestTooMuchInput: ten megabytes of text are refused with both numbers, soon.
func TestTooMuchInput(t *testing.T) {
	defaultModelFile(t)
	p := newProgram(t)
	text := strings.Repeat("The quick brown fox jumps over the lazy dog.\n", 10_000_000/45)
	commands := [][]string{{"chat"}, {"choose", "--option", "a", "--option", "b"}, {"run"}}
	if !fullTests() {
		commands = commands[1:2] // the one that tokenises the prompt with each option
	}
	for _, args := range commands {
		e := p.run(strings.NewReader(text), args...)
		assertRefused(t, e, args[0])
		assert.Equal(t, exit.Failed, e.code)
		assert.Regexp(t, `prompt has at least \d{5,} tokens, more than the context length of 8192`, e.stderr)
		assert.Less(t, e.took, time.Minute)
		t.Logf("%s: refused after %s", args[0], e.took.Round(10*time.Millisecond))
	}
	e := p.run(strings.NewReader(text), "tokens")
	assert.Equal(t, exit.OK, e.code, e.stderr)
	assert.Equal(t, "2444442\n", e.stdout)
}

// TestBinaryFiles: what is no text can't be counted, judged or read.
func TestBinaryFiles(t *testing.T) {
	defaultModelFile(t)
	p := newProgram(t)
	junk := make([]byte, 100_000)
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range junk {
		junk[i] = byte(rng.Uint32())
	}
	path := filepath.Join(p.home, "tmp", "junk.bin")
	require.NoError(t, os.WriteFile(path, junk, 0o600))
	for _, args := range [][]string{
		{"tokens", path}, {"tokens", "--chat", path}, {"tokens", "--tokenizer", path, path}, {"chat", "--model", path, "hello"},
		{"chat", "llm.tokenizer=" + path, "hello"}, {"choose", "--batch"}, {"chat"}, {"run"}, {"config", "show", "--config-dir", path},
		{"chat", "llm.chat_template=" + path, "hello"}, {"models", "inspect", path}, {"sessions", "show", path},
	} {
		e := p.run(bytes.NewReader(junk), args...)
		assertRefused(t, e, strings.Join(args, " "))
		assert.Less(t, len(e.stderr), 2000, "an error is a line or two")
	}
	require.NoError(t, os.Remove(path))
	assert.Empty(t, p.leftovers())
}

// TestInterrupt: Ctrl-C in any phase ends the program soon, with 130.
func TestInterrupt(t *testing.T) {
	defaultModelFile(t)
	p := newProgram(t)
	require.Equal(t, exit.OK, p.run(nil, "chat", "--max-tokens", "1", "hello").code) // tried, and its pages are read
	long := strings.Repeat("some words to evaluate, ", 1200)
	endless := []string{"llm.temperature=5", "llm.top_k=0", "llm.top_p=1", "llm.min_p=0"} // all tokens alike: hardly ever the last one
	for _, tt := range []struct {
		name  string
		after time.Duration
		stdin string
		sig   syscall.Signal
		args  []string
	}{
		{"while loading", 300 * time.Millisecond, long, syscall.SIGINT, []string{"chat"}},
		{"in prefill", time.Second, long, syscall.SIGINT, []string{"chat"}},
		{"in decode", 1500 * time.Millisecond, "", syscall.SIGINT, append([]string{"chat", "Write a very long story."}, endless...)},
		{"terminated", time.Second, "", syscall.SIGTERM, append([]string{"chat", "Write a very long story."}, endless...)},
		{"in a decision", time.Second, long, syscall.SIGINT, []string{"choose", "--option", "a", "--option", "b"}},
		{"in a run", time.Second, long, syscall.SIGINT, []string{"run", "--json"}},
		{"in a benchmark", time.Second, "", syscall.SIGINT, []string{"bench", "engine", "--gen", "400", "--repeat", "20"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &commandLine{t, p.home, p.env}
			cmd := p.command(t.Context(), append([]string{"agent"}, tt.args...)...)
			cmd.Stdin = strings.NewReader(tt.stdin)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			require.NoError(t, cmd.Start())
			time.Sleep(tt.after)
			signalled := time.Now()
			require.NoError(t, cmd.Process.Signal(tt.sig))
			_ = cmd.Wait()
			assert.Equal(t, exit.Interrupted, cmd.ProcessState.ExitCode(), "%s", tail(errs.String()))
			assert.Less(t, time.Since(signalled), 30*time.Second)
			assert.Contains(t, errs.String(), "interrupted")
			assertNoTrace(t, errs.String(), tt.name)
			p.assertNoProcess(cmd.Process.Pid)
			if tt.args[0] == "run" {
				assert.Contains(t, out.String(), `"stop":"interrupted"`)
			}
		})
	}
	assert.Empty(t, p.leftovers())
}

// TestReaderGone: a closed pipe at standard output ends the program as every
// Unix tool ends, without a stack trace.
func TestReaderGone(t *testing.T) {
	defaultModelFile(t)
	p := newProgram(t)
	for _, args := range []string{"chat --seed 1 'Tell a long story.'", "run --json 'say hi'", "choose --batch --json"} {
		script := fmt.Sprintf("for i in 1 2 3 4 5 6 7 8 9; do echo '{\"prompt\":\"a or b?\",\"options\":[\"a\",\"b\"]}'; done | agent %s | head -c 20", args)
		cmd := p.command(t.Context(), "sh", "-c", script)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		require.NoError(t, err)
		assert.Len(t, out, 20)
		assertNoTrace(t, errs.String(), args)
	}
}

// TestBrokenSchemas: a client's bad schema or grammar is its own mistake; the
// server says what is wrong and goes on.
func TestBrokenSchemas(t *testing.T) {
	defaultModelFile(t)
	p := newProgram(t)
	cmd := p.command(t.Context(), "agent", "serve", "--port", "0", "llm.context_length=1024")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	url := servedAt(t, stderr)

	deep := strings.Repeat(`{"type":"array","items":`, 5000) + `{}` + strings.Repeat(`}`, 5000)
	for name, schema := range map[string]string{
		"not an object":     `"x"`,
		"unknown type":      `{"type":"strng"}`,
		"absent reference":  `{"$ref":"#/definitions/none"}`,
		"remote reference":  `{"$ref":"https://example.com/schema.json"}`,
		"wrong properties":  `{"type":"object","properties":[1,2]}`,
		"broken pattern":    `{"type":"string","pattern":"^(a)b)$"}`,
		"impossible bounds": `{"type":"string","minLength":5000000}`,
		"deep":              deep,
		"list of types":     `{"type":["object",3]}`,
	} {
		body := `{"model":"smollm2-135m-instruct","max_tokens":8,"messages":[{"role":"user","content":"hi"}],` +
			`"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":` + schema + `}}}`
		status, reply := post(t, url+"/chat/completions", body)
		assert.Equal(t, http.StatusBadRequest, status, "%s: %s", name, tail(reply))
		assert.Contains(t, reply, `"message"`, name)
		t.Logf("%s: %s", name, legible.Line(reply, 200))
	}
	status, reply := post(t, url+"/chat/completions", `{"model":"smollm2-135m-instruct","max_tokens":8,"messages":[{"role":"user","content":"hi"}],`+
		`"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object","properties":{"a":{"type":"integer"}}}}}}`)
	assert.Equal(t, http.StatusOK, status, reply)
}

// servedAt reads the address from what a server says on standard error.
func servedAt(t *testing.T, stderr io.Reader) string {
	var seen strings.Builder
	buf := make([]byte, 4096)
	address := regexp.MustCompile(`at (http://\S+)`)
	for {
		n, err := stderr.Read(buf)
		seen.Write(buf[:n])
		if m := address.FindStringSubmatch(seen.String()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return m[1]
		}
		require.NoError(t, err, seen.String())
	}
}

// TestWithoutNetwork: in a network namespace without interfaces everything but
// pull works.
func TestWithoutNetwork(t *testing.T) {
	defaultModelFile(t)
	cut := []string{"unshare", "-rn"}
	if os.Geteuid() == 0 {
		cut = []string{"unshare", "-n"}
	}
	if out, err := exec.Command(cut[0], append(cut[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("needs the right to make a network namespace: %s", out)
	}
	p := newProgram(t)
	p.env = slices.DeleteFunc(p.env, func(v string) bool { return strings.HasPrefix(v, "HF_ENDPOINT=") }) // as it is for users
	alone := func(stdin string, args ...string) ending {
		ctx, cancel := context.WithTimeout(t.Context(), runMax)
		defer cancel()
		cmd := p.command(ctx, append(append(cut[:len(cut):len(cut)], "agent"), args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		start := time.Now()
		_ = cmd.Run()
		return ending{cmd.ProcessState.ExitCode(), out.String(), errs.String(), time.Since(start)}
	}

	e := alone("Hello, world!", "tokens")
	assert.Equal(t, "4\n", e.stdout, e.stderr)
	e = alone("", "choose", "Is fire hot?", "--option", "yes", "--option", "no", "--json")
	assert.Equal(t, exit.OK, e.code, e.stderr)
	assert.Contains(t, e.stdout, `"method":"logits/sum"`)
	e = alone("", "chat", "--temperature", "0", "--max-tokens", "24", "What is the capital of France? Answer with one word.")
	assert.Equal(t, exit.OK, e.code, e.stderr)
	assert.Contains(t, e.stdout, "Paris")
	require.NoError(t, os.WriteFile(filepath.Join(p.home, "tmp", "note.txt"), []byte("The meeting is at noon.\n"), 0o600))
	e = alone("", "run", "--workdir", "tmp", "--approve", "never", "--temperature", "0", "--max-steps", "3", "When is the meeting? Read note.txt.")
	assert.Contains(t, []int{exit.OK, exit.Budget}, e.code, e.stderr) // a model this small may not find its way
	assert.Contains(t, e.stderr, "reader")
	for _, args := range []string{"models list", "config check", "doctor", "commands list", "sessions list"} {
		e = alone("", strings.Fields(args)...)
		assert.Equal(t, exit.OK, e.code, "%s: %s", args, e.stderr)
	}
	e = alone("", "models", "pull", "hf://acme/Small-GGUF/small-Q4_0.gguf")
	assertRefused(t, e, "pull")
	assert.Regexp(t, `hint: check the network`, e.stderr)
	assert.Less(t, e.took, 30*time.Second, "not there is known at once")
	t.Logf("pull: %s after %s", strconv.Quote(tail(e.stderr)), e.took.Round(10*time.Millisecond))
}
