package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sashabaranov/go-openai"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/backend/backendtest"
	"agent/backend/hf"
	"agent/inference"
	"agent/internal/exit"
	"agent/internal/serve"
	"agent/internal/serve/fastchattest"
)

// The default model behind the server, asked by real clients.

// defaultModelFile is the model that these tests load.
func defaultModelFile(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../models/SmolLM2-135M-Instruct.Q4_1.gguf")
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil || !inference.Built() {
		t.Skip("needs the native library and the default model: make native model")
	}
	return path
}

// openDefault loads the default model. It computes with one thread: several
// wait for each other by spinning, which takes many times as long while other
// packages' tests keep the cores busy.
func openDefault(t *testing.T) *hf.Backend {
	t.Helper()
	// A bf16 cache, with which a reply does not depend on what is computed beside it: clients compare streamed and whole replies.
	b, err := hf.Open(t.Context(), hf.Config{ModelID: "smollm2", Path: defaultModelFile(t), ContextLength: 1024, Threads: 1, ThreadsBatch: 1, KVType: "bf16"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

// serveDefault serves the default model under the name smollm2.
func serveDefault(t *testing.T) (*hf.Backend, string) {
	t.Helper()
	b := openDefault(t)
	s, err := serve.New(b, serve.Config{})
	require.NoError(t, err)
	h := httptest.NewServer(s.Handler())
	t.Cleanup(h.Close)
	return b, h.URL + "/v1"
}

func newClient(url string) *openai.Client {
	c := openai.DefaultConfig("none")
	c.BaseURL = url
	return openai.NewClientWithConfig(c)
}

func userSays(text string) []backend.Message {
	return []backend.Message{{Role: backend.RoleUser, Content: text}}
}

// TestServeLocal: one loaded model, all that clients may want of it.
func TestServeLocal(t *testing.T) {
	b, url := serveDefault(t)
	t.Run("echo has the log-probabilities that choose has", func(t *testing.T) { echoAgreesWithChoose(t, b, url) })
	t.Run("own client conforms", func(t *testing.T) {
		backendtest.Run(t, func(t *testing.T) backend.LanguageBackend {
			own, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: "smollm2", ContextLength: 1024, ServerIP: url, ContinueFinalMessage: true,
				Warn: func(m string) { t.Log("warn:", m) }})
			require.NoError(t, err)
			t.Cleanup(func() { own.Close() })
			return own
		}, backendtest.Options{Prompt: "Tell me about water in two sentences."})
	})
	t.Run("tools", func(t *testing.T) { toolsOverHTTP(t, url) })
	t.Run("log-probabilities end with the text", func(t *testing.T) { logprobsEndWithTheText(t, url) })
	t.Run("streams side by side", func(t *testing.T) { streamsSideBySide(t, b, url) })
	for client, base := range map[string]string{"openai": url, "anthropic": strings.TrimSuffix(url, "/v1"), "ollama": strings.TrimSuffix(url, "/v1")} {
		t.Run("the official Python client of "+client, func(t *testing.T) {
			name := "AGENT_" + strings.ToUpper(client) + "_PYTHON"
			python := os.Getenv(name)
			if python == "" {
				t.Skipf("needs %s=…/bin/python of an environment with: pip install %s", name, client)
			}
			script := filepath.Join("..", "..", "internal", "serve", "testdata", client+"_client.py")
			out, err := exec.CommandContext(t.Context(), python, script, base, "none", "smollm2").CombinedOutput()
			require.NoError(t, err, "%s", out)
			t.Logf("%s", out)
		})
	}
}

// echoAgreesWithChoose: the tokens of an option after the rendered chat have
// the same log-probabilities whether they are scored or echoed.
func echoAgreesWithChoose(t *testing.T, b *hf.Backend, url string) {
	msgs := userSays("Is fire hot or cold?")
	rendered, err := b.RenderChat(t.Context(), msgs)
	require.NoError(t, err)
	options := []string{"hot", "It is very cold."}
	choice, err := b.ChooseFromOptions(t.Context(), &backend.Request{Messages: msgs, Choose: &backend.ChooseConfig{Scoring: backend.ScoreMean}}, backend.Options(options...))
	require.NoError(t, err)
	for i, option := range options {
		resp, err := newClient(url).CreateCompletion(t.Context(), openai.CompletionRequest{Model: "smollm2", Prompt: rendered + option, Echo: true, LogProbs: 1, MaxTokens: 1})
		require.NoError(t, err)
		l := resp.Choices[0].LogProbs
		n := choice.Options[i].Tokens
		last := resp.Usage.PromptTokens
		require.Equal(t, option, strings.Join(l.Tokens[last-n:last], ""))
		sum := 0.0
		for _, p := range l.TokenLogprobs[last-n : last] {
			sum += float64(p)
		}
		assert.InDelta(t, choice.Options[i].Logprob, sum/float64(n), 0.02, option)
	}
}

// streamsSideBySide: many at a time, a third of them broken off. Batches differ
// in their rounding, so a greedy reply may leave the path of its lonely twin
// where two tokens are nearly equal; texts prove nothing. So each token that
// came is scored again by the same model, alone, after its own prompt and the
// tokens before it: it must have the log-probability it came with, up to
// rounding, and have been the likeliest. Text of another stream, a lost or a
// doubled token, or a stale cache would be nats away, which is shown as well.
func streamsSideBySide(t *testing.T, b *hf.Backend, url string) {
	const streams = 24
	before := runtime.NumGoroutine()
	var replies [streams]streamed
	var wg sync.WaitGroup
	for i := range replies {
		breakAfter := -1
		if i%3 == 0 {
			breakAfter = 2 + rand.IntN(8) // the first chunk is the role
		}
		wg.Go(func() { replies[i] = askStream(t, url, numberQuestion(i), breakAfter) })
	}
	wg.Wait()
	compared, worst := 0, 0.0
	for i, r := range replies {
		assert.NotEmpty(t, r.tokens, "stream %d", i)
		assert.Equal(t, i%3 != 0, r.finish != "", "stream %d ended by %q", i, r.finish)
		if d, same := scoredAlone(t, b, numberQuestion(i), r.tokens); same {
			assert.Less(t, d, roundingNats, "stream %d: %q", i, r.text())
			worst = max(worst, d)
			compared++
		}
	}
	assert.GreaterOrEqual(t, compared, streams*3/4, "replies that are the same tokens when their text is read again")
	foreign, _ := scoredAlone(t, b, numberQuestion(2), replies[1].tokens)
	assert.Greater(t, foreign, 4*roundingNats, "the reply of another stream would not have been noticed")
	t.Logf("%d replies scored again, the largest difference is %.3f nats; for another's prompt it is %.1f", compared, worst, foreign)
	http.DefaultClient.CloseIdleConnections()
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+streams }, 10*time.Second, 20*time.Millisecond)
}

// TestServeSoak keeps 64 streams going for as long as AGENT_SOAK says, a third of
// them broken off at random: what arrives is right, and memory does not grow.
func TestServeSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("AGENT_SOAK"))
	if err != nil {
		t.Skip("takes long: AGENT_SOAK=5m runs it for so long")
	}
	b, url := serveDefault(t)
	const streams = 64
	round := func(until time.Time) (whole, broken int) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range streams {
			wg.Go(func() {
				for time.Now().Before(until) {
					breakAfter := -1
					if rand.IntN(3) == 0 {
						breakAfter = 2 + rand.IntN(20)
					}
					r := askStream(t, url, numberQuestion(i), breakAfter)
					d, same := scoredAlone(t, b, numberQuestion(i), r.tokens)
					assert.False(t, same && d > roundingNats, "%.2f nats: %q", d, r.text())
					mu.Lock()
					if breakAfter < 0 {
						whole++
						assert.NotEmpty(t, r.finish)
					} else {
						broken++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		http.DefaultClient.CloseIdleConnections()
		return whole, broken
	}
	round(time.Now().Add(length / 5)) // caches and pools find their size
	goroutines, bytes := runtime.NumGoroutine(), residentBytes(t)
	whole, broken := round(time.Now().Add(length))
	t.Logf("%d whole replies, %d broken off; resident memory %d MB, then %d MB", whole, broken, bytes>>20, residentBytes(t)>>20)
	assert.Less(t, residentBytes(t), bytes+bytes/10+16<<20, "memory grows")
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < goroutines+streams }, 10*time.Second, 20*time.Millisecond)
}

// residentBytes is the memory that this process holds.
func residentBytes(t *testing.T) int {
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("needs /proc to see the memory held: ", err)
	}
	var total, resident int
	_, err = fmt.Sscan(string(text), &total, &resident)
	require.NoError(t, err)
	return resident * os.Getpagesize()
}

// roundingNats is how far the log-probability of a token may move with the
// shape of the batch that it is computed in (docs/dev/benchmarks.md).
const roundingNats = 0.75

func numberQuestion(i int) string {
	return fmt.Sprintf("Write a sentence about the number %d.", 11*i+7)
}

// streamed is what arrived of one reply. finish is empty when it was broken off.
type streamed struct {
	tokens []openai.ChatCompletionTokenLogprob
	finish openai.FinishReason
}

func (s streamed) text() string {
	var text []byte
	for _, token := range s.tokens {
		text = append(text, tokenBytes(token)...)
	}
	return string(text)
}

func tokenBytes(token openai.ChatCompletionTokenLogprob) []byte {
	var out []byte
	for _, b := range token.Bytes {
		out = append(out, byte(b))
	}
	return out
}

// askStream reads a greedy reply, up to its end or for breakAfter chunks, and
// checks that it is well formed.
func askStream(t *testing.T, url, question string, breakAfter int) (s streamed) {
	stream, err := newClient(url).CreateChatCompletionStream(t.Context(), openai.ChatCompletionRequest{Model: "smollm2", MaxCompletionTokens: 24,
		Temperature: math.SmallestNonzeroFloat32, LogProbs: true, TopLogProbs: 1,
		Messages: []openai.ChatCompletionMessage{{Role: "user", Content: question}}})
	if !assert.NoError(t, err) {
		return s
	}
	defer stream.Close()
	var text strings.Builder
	for n := 0; n != breakAfter; n++ {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if !assert.NoError(t, err) || !assert.Len(t, chunk.Choices, 1) {
			return s
		}
		choice := chunk.Choices[0]
		assert.Empty(t, s.finish, "a chunk came after the last one")
		text.WriteString(choice.Delta.Content)
		s.finish = choice.FinishReason
		if choice.Logprobs != nil {
			s.tokens = append(s.tokens, choice.Logprobs.Content...)
		}
	}
	assert.True(t, strings.HasPrefix(s.text(), text.String()), "the tokens %q are not the text %q", s.text(), text.String())
	for _, token := range s.tokens {
		if assert.Len(t, token.TopLogprobs, 1) {
			assert.GreaterOrEqual(t, token.Logprob, token.TopLogprobs[0].Logprob-1e-6, "%q is not the likeliest token", token.Token)
		}
	}
	return s
}

// scoredAlone is the largest difference between the log-probabilities that
// tokens came with and those that they have in a prompt of their own. same is
// false when the text of the reply is read as other tokens than were generated.
func scoredAlone(t *testing.T, b *hf.Backend, question string, tokens []openai.ChatCompletionTokenLogprob) (worst float64, same bool) {
	rendered, err := b.RenderChat(t.Context(), userSays(question))
	require.NoError(t, err)
	ids, _, err := b.TokenizePrompt(rendered + streamed{tokens: tokens}.text())
	require.NoError(t, err)
	alone, _, err := b.PromptLogprobsTokens(t.Context(), ids, 0)
	require.NoError(t, err)
	alone = alone[max(0, len(alone)-len(tokens)):]
	for i, token := range alone {
		if token.Text != string(tokenBytes(tokens[i])) {
			return 0, false
		}
		worst = max(worst, math.Abs(token.Logprob-tokens[i].Logprob))
	}
	return worst, true
}

// agentServe runs `agent serve` as a process of its own.
type agentServe struct {
	cmd    *exec.Cmd
	url    string
	ended  chan error
	mu     sync.Mutex
	stderr strings.Builder
}

var servingAt = regexp.MustCompile(`agent: serving .* at (http://\S+)/v1`)

// startServe starts the program and waits until it says where it serves.
func startServe(t *testing.T, args ...string) *agentServe {
	t.Helper()
	p := &agentServe{ended: make(chan error, 1)}
	p.cmd = exec.Command("agent", append([]string{"serve", "--port", "0"}, args...)...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(os.Environ(), "GOCOVERDIR="+t.TempDir())
	out, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	at := make(chan string, 1)
	go p.follow(out, at)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("agent serve %v:\n%s", args, p.log())
		}
	})
	select {
	case p.url = <-at:
	case err := <-p.ended:
		p.ended <- err
		require.NoError(t, err, "%s", p.log())
	case <-time.After(2 * time.Minute):
		require.Fail(t, "agent serve does not start", "%s", p.log())
	}
	return p
}

func (p *agentServe) follow(out io.Reader, at chan<- string) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		p.mu.Lock()
		p.stderr.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		if m := servingAt.FindStringSubmatch(lines.Text()); m != nil {
			at <- m[1]
		}
	}
	p.ended <- p.cmd.Wait()
	close(p.ended)
}

func (p *agentServe) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// TestServeCommand: the command line, on a scripted model.
func TestServeCommand(t *testing.T) {
	p := startServe(t, "llm=scripted", `llm.replies=["one two three four"]`, "llm.delta_delay=50ms", "--model-names", "tiny")
	got := make(chan string, 1)
	go func() {
		resp, err := newClient(p.url+"/v1").CreateChatCompletion(context.Background(), openai.ChatCompletionRequest{Model: "tiny",
			Messages: []openai.ChatCompletionMessage{{Role: "user", Content: "hi"}}})
		if assert.NoError(t, err) {
			got <- resp.Choices[0].Message.Content
		}
		close(got)
	}()
	require.Eventually(t, func() bool {
		resp, err := http.Get(p.url + "/metrics")
		require.NoError(t, err)
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(body), "agent_replies_in_flight 1")
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, "one two three four", <-got, "a reply in work is finished")
	assert.NoError(t, <-p.ended, "exit code 0")
	assert.Contains(t, p.log(), "shutting down")
}

// TestServeRefusals: mistakes that end `agent serve` before it serves.
func TestServeRefusals(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte("  \n"), 0o600))
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no key":             {[]string{"--host", "0.0.0.0"}, "not a loopback address"},
		"empty key file":     {[]string{"--api-key-file", key}, "must hold one key"},
		"port":               {[]string{"--port", "70000"}, "not between 0 and 65535"},
		"stray argument":     {[]string{"hello"}, `takes key=value arguments`},
		"worker of nothing":  {[]string{"--worker-address", "http://x"}, "--worker-address: serve.worker_address: needs --fastchat-controller"},
		"bad controller":     {[]string{"--fastchat-controller", "localhost:21001"}, "not an http or https URL"},
		"bad allow":          {[]string{"--fastchat-controller", "http://127.0.0.1:1", "--worker-allow", "x/y"}, "neither an address nor a network"},
		"origin":             {[]string{"--origin", "chat.example"}, "origin"},
		"misspelt serve key": {[]string{"serve.prot=1"}, `did you mean "serve.port"`},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("agent", append([]string{"serve", "--port", "0", "llm=scripted"}, c.args...)...)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "AGENT_API_KEY=", "GOCOVERDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			var ended *exec.ExitError
			require.ErrorAs(t, err, &ended, "%s", out)
			assert.Equal(t, exit.Usage, ended.ExitCode(), "%s", out)
			assert.Contains(t, string(out), c.want)
		})
	}
}

// TestFastChatCluster: two workers with the default model in a real cluster,
// asked through this program's FastChat backend; one dies, the controller
// restarts.
func TestFastChatCluster(t *testing.T) {
	model := defaultModelFile(t)
	c := fastchattest.Start(t)
	worker := func() *agentServe {
		return startServe(t, "--fastchat-controller", c.Controller, "--model-names", "smollm2", "--model", model,
			"llm.context_length=1024", "llm.threads=1", "llm.threads_batch=1", "llm.kv_type=bf16", "serve.fastchat_heart_beat=1s")
	}
	first, second := worker(), worker()
	registered := func(p *agentServe, times int) func() bool {
		return func() bool { return strings.Count(p.log(), "registered with the FastChat controller") >= times }
	}
	fastchattest.Eventually(t, registered(first, 1))
	fastchattest.Eventually(t, registered(second, 1))
	b, err := backend.NewFastChat(backend.FastChatConfig{ModelID: "smollm2", ContextLength: 1024, ServerIP: c.API, APIKey: "EMPTY",
		Warn: func(m string) { t.Log("warn:", m) }})
	require.NoError(t, err)
	defer b.Close()
	zero := 0.0
	req := &backend.Request{Messages: userSays("What is water?"), TokensMax: 24, Sampling: &backend.Sampling{Temperature: &zero}}

	t.Run("replies are the model's own", func(t *testing.T) {
		got, last, err := backend.Collect(b.ChatCompletion(t.Context(), req))
		require.NoError(t, err)
		local := openDefault(t)
		want, _, err := backend.Collect(local.ChatCompletion(t.Context(), req))
		require.NoError(t, err)
		assert.Equal(t, want, got, "the chat template reached the model")
		assert.Equal(t, backend.FinishLength, last.Finish)
	})
	t.Run("counts and choices", func(t *testing.T) {
		n, err := b.CountText(t.Context(), "hello world")
		require.NoError(t, err)
		assert.Equal(t, 2, n.Tokens)
		choice, err := b.ChooseFromOptions(t.Context(), &backend.Request{Messages: userSays("Is fire hot or cold?")}, backend.Options("hot", "cold"))
		require.NoError(t, err)
		assert.Equal(t, "logprobs", choice.Method)
	})
	t.Run("a worker dies in the middle of a stream", func(t *testing.T) {
		// Both are asked at once, so that one of the two streams is the victim's.
		long := *req
		long.TokensMax = 400
		victim := first
		var once sync.Once
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i := range errs {
			wg.Go(func() {
				for _, err := range b.ChatCompletion(t.Context(), &long) {
					errs[i] = err
					once.Do(func() { assert.NoError(t, victim.cmd.Process.Kill()) })
				}
			})
		}
		wg.Wait()
		failed := errors.Join(errs...)
		require.Error(t, failed, "a broken stream must not pass for a whole reply")
		t.Logf("the client was told: %v", failed)
	})
	t.Run("the next request is served by the other", func(t *testing.T) {
		// The controller forgets a dead worker when it looks at all of them,
		// which its API server makes it do for a list of models.
		_, err := newClient(c.API).ListModels(t.Context())
		require.NoError(t, err)
		text, _, err := backend.Collect(b.ChatCompletion(t.Context(), req))
		require.NoError(t, err)
		assert.NotEmpty(t, text)
	})
	t.Run("the controller restarts", func(t *testing.T) {
		c.RestartController()
		start := time.Now()
		fastchattest.Eventually(t, registered(second, 2))
		t.Logf("registered again after %v", time.Since(start))
		_, _, err := backend.Collect(b.ChatCompletion(t.Context(), req))
		require.NoError(t, err)
	})
	t.Run("the worker leaves", func(t *testing.T) {
		require.True(t, c.Knows(t, "smollm2"))
		require.NoError(t, second.cmd.Process.Signal(os.Interrupt))
		require.NoError(t, <-second.ended)
		assert.False(t, c.Knows(t, "smollm2"))
	})
}
