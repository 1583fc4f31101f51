package serve_test

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sashabaranov/go-openai"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/backend/backendtest"
	"agent/internal/serve"
	"agent/internal/serve/fastchattest"
)

// Real clients drive the server: go-openai, this program's own OpenAI and
// FastChat backends, and the official Python client.

func goOpenAI(url, key string) *openai.Client {
	c := openai.DefaultConfig(key)
	c.BaseURL = url + "/v1"
	return openai.NewClientWithConfig(c)
}

func TestGoOpenAI(t *testing.T) {
	url := start(t, textModel{talkative()}, serve.Config{ModelNames: []string{"tiny"}, APIKey: "sesame"})
	c, ctx := goOpenAI(url, "sesame"), t.Context()
	chat := openai.ChatCompletionRequest{Model: "tiny", Messages: []openai.ChatCompletionMessage{{Role: "user", Content: "hello"}}}

	models, err := c.ListModels(ctx)
	require.NoError(t, err)
	assert.Equal(t, "tiny", models.Models[0].ID)

	whole, err := c.CreateChatCompletion(ctx, chat)
	require.NoError(t, err)
	assert.Equal(t, longReply, whole.Choices[0].Message.Content)
	assert.Equal(t, openai.FinishReasonStop, whole.Choices[0].FinishReason)
	assert.Positive(t, whole.Usage.TotalTokens)

	stream, err := c.CreateChatCompletionStream(ctx, chat)
	require.NoError(t, err)
	defer stream.Close()
	var text strings.Builder
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		text.WriteString(chunk.Choices[0].Delta.Content)
	}
	assert.Equal(t, longReply, text.String())

	completed, err := c.CreateCompletion(ctx, openai.CompletionRequest{Model: "tiny", Prompt: "ab", Echo: true, LogProbs: 1, MaxTokens: 1})
	require.NoError(t, err)
	assert.Equal(t, "abone,", completed.Choices[0].Text)
	assert.Equal(t, []string{"", "a", "b", "one,"}, completed.Choices[0].LogProbs.Tokens)

	vectors, err := c.CreateEmbeddings(ctx, openai.EmbeddingRequestStrings{Model: "tiny", Input: []string{"ab"}})
	require.NoError(t, err)
	assert.Equal(t, []float32{1, 2, -0.5}, vectors.Data[0].Embedding)

	var refused *openai.APIError
	chat.Model = "huge"
	_, err = c.CreateChatCompletion(ctx, chat)
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, 404, refused.HTTPStatusCode)
	assert.Equal(t, "model_not_found", refused.Code)
	_, err = goOpenAI(url, "wrong").ListModels(ctx)
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "invalid_api_key", refused.Code)
}

func ownClient(t *testing.T, url string) *backend.OpenAI {
	b, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: "scripted", ContextLength: 8192, ServerIP: url + "/v1",
		ContinueFinalMessage: true, Warn: func(m string) { t.Log("warn:", m) }})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

// TestOwnClientConforms: what holds for a backend holds for it behind this
// server and this program's own client.
func TestOwnClientConforms(t *testing.T) {
	b := scripted(100*time.Microsecond, func(_ context.Context, r *backend.Request) (string, error) {
		if strings.Contains(r.Messages[len(r.Messages)-1].Content, "JSON Schema") {
			return `{"wet":"yes"}`, nil // the client puts into the prompt what the server can't enforce
		}
		return longReply, nil
	})
	url := start(t, b, serve.Config{})
	backendtest.Run(t, func(t *testing.T) backend.LanguageBackend { return ownClient(t, url) }, backendtest.Options{Deterministic: true})
}

func TestOwnClientChoosesByService(t *testing.T) {
	b := backend.NewScripted(backend.ScriptedConfig{Choices: []string{"no"}})
	c, err := ownClient(t, start(t, b, serve.Config{})).ChooseFromOptions(t.Context(),
		&backend.Request{Messages: []backend.Message{{Role: backend.RoleUser, Content: "Is it?"}}}, backend.Options("yes", "no"))
	require.NoError(t, err)
	assert.Equal(t, "service", c.Method)
	assert.Equal(t, "no", c.Text)
	assert.Equal(t, 1.0, c.Options[1].Probability)
}

// TestOwnClientChoosesWithoutProbabilities: a model that decides by what it
// writes has decided, and nothing is known of the other options.
func TestOwnClientChoosesWithoutProbabilities(t *testing.T) {
	b := backend.NewScripted(backend.ScriptedConfig{
		Choose: func(_ context.Context, _ *backend.Request, options []backend.Option) (*backend.Choice, error) {
			return backend.ChooseByText("no", options), nil
		},
	})
	c, err := ownClient(t, start(t, b, serve.Config{})).ChooseFromOptions(t.Context(),
		&backend.Request{Messages: []backend.Message{{Role: backend.RoleUser, Content: "Is it?"}}}, backend.Options("yes", "no"))
	require.NoError(t, err)
	assert.Equal(t, "service", c.Method)
	assert.Equal(t, "no", c.Text)
	assert.False(t, c.Abstained)
	assert.Empty(t, c.Reason)
	assert.True(t, math.IsNaN(c.Options[0].Probability), "%v", c.Options[0].Probability)
}

// TestOpenAIPython drives the server with the official client.
func TestOpenAIPython(t *testing.T) {
	python := os.Getenv("AGENT_OPENAI_PYTHON")
	if python == "" {
		t.Skip("needs AGENT_OPENAI_PYTHON=…/bin/python of an environment with: pip install openai")
	}
	b := textModel{backend.NewScripted(backend.ScriptedConfig{
		Reply: func(_ context.Context, r *backend.Request) (string, error) {
			if len(r.Schema) > 0 {
				return `{"wet":"yes"}`, nil
			}
			return longReply, nil
		},
		Claims: &backend.Capabilities{Prefill: true, Logprobs: true, Schema: true},
	})}
	url := start(t, b, serve.Config{ModelNames: []string{"tiny"}, APIKey: "sesame"})
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "openai_client.py"), url+"/v1", "sesame", "tiny", longReply)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

// TestFastChat joins a real cluster and is asked through its API server.
func TestFastChat(t *testing.T) {
	c := fastchattest.Start(t)
	var seen atomic.Pointer[backend.Request]
	b := textModel{scripted(time.Millisecond, func(_ context.Context, r *backend.Request) (string, error) { seen.Store(r); return longReply, nil })}
	join := serve.Config{ModelNames: []string{"tiny"}, Worker: &serve.WorkerConfig{Controller: c.Controller, HeartBeat: 200 * time.Millisecond}}
	_, stop, ended := running(t, b, join)
	fastchattest.Eventually(t, func() bool { return c.Knows(t, "tiny") })
	client, ctx := goOpenAI(strings.TrimSuffix(c.API, "/v1"), "EMPTY"), t.Context()
	//lint:ignore SA1019 FastChat knows only this name
	chat := openai.ChatCompletionRequest{Model: "tiny", Stop: []string{"fourteen"}, Temperature: 0.25, MaxTokens: 100, Messages: []openai.ChatCompletionMessage{
		{Role: "system", Content: "be <|brief|>"}, {Role: "user", Content: " one {x} "}, {Role: "assistant", Content: "two\n\nthree"}, {Role: "user", Content: "four"}}}

	t.Run("a chat arrives as it was sent", func(t *testing.T) {
		whole, err := client.CreateChatCompletion(ctx, chat)
		require.NoError(t, err)
		assert.Equal(t, longReply, whole.Choices[0].Message.Content)
		assert.Equal(t, openai.FinishReasonStop, whole.Choices[0].FinishReason)
		assert.Equal(t, []backend.Message{{Role: "system", Content: "be <|brief|>"}, {Role: "user", Content: " one {x} "},
			{Role: "assistant", Content: "two\n\nthree"}, {Role: "user", Content: "four"}}, seen.Load().Messages)
		assert.Equal(t, 0.25, *seen.Load().Sampling.Temperature)
		assert.Equal(t, []string{"fourteen"}, seen.Load().Stop)
		assert.Equal(t, 100, seen.Load().TokensMax)
		want, err := b.CountTokens(ctx, seen.Load().Messages)
		require.NoError(t, err)
		assert.Equal(t, want, whole.Usage.PromptTokens)
	})
	t.Run("parts of text", func(t *testing.T) {
		parts := openai.ChatCompletionRequest{Model: "tiny", Messages: []openai.ChatCompletionMessage{{Role: "user",
			MultiContent: []openai.ChatMessagePart{{Type: "text", Text: "one"}, {Type: "text", Text: "two"}}}}}
		_, err := client.CreateChatCompletion(ctx, parts)
		require.NoError(t, err)
		assert.Equal(t, []backend.Message{{Role: "user", Content: "one\ntwo"}}, seen.Load().Messages)
	})
	t.Run("stream", func(t *testing.T) {
		stream, err := client.CreateChatCompletionStream(ctx, chat)
		require.NoError(t, err)
		defer stream.Close()
		var text strings.Builder
		var finish openai.FinishReason
		for {
			chunk, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			text.WriteString(chunk.Choices[0].Delta.Content)
			if f := chunk.Choices[0].FinishReason; f != "" {
				finish = f
			}
		}
		assert.Equal(t, longReply, text.String())
		assert.Equal(t, openai.FinishReasonStop, finish)
	})
	t.Run("prompt log-probabilities", func(t *testing.T) {
		done, err := client.CreateCompletion(ctx, openai.CompletionRequest{Model: "tiny", Prompt: "ab", Echo: true, LogProbs: 1, MaxTokens: 1})
		require.NoError(t, err)
		assert.Equal(t, "abone,", done.Choices[0].Text)
		assert.InDelta(t, -0.097, done.Choices[0].LogProbs.TokenLogprobs[1], 1e-6)
	})
	t.Run("embeddings", func(t *testing.T) {
		vectors, err := client.CreateEmbeddings(ctx, openai.EmbeddingRequestStrings{Model: "tiny", Input: []string{"ab", "c"}})
		require.NoError(t, err)
		assert.Equal(t, []float32{1, 1, -0.5}, vectors.Data[1].Embedding)
	})
	t.Run("errors are told", func(t *testing.T) {
		long := chat
		long.Messages = []openai.ChatCompletionMessage{{Role: "user", Content: strings.Repeat("seven green ", 5000)}}
		_, err := client.CreateChatCompletion(ctx, long)
		assert.ErrorContains(t, err, "maximum context length is 8192 tokens")
		odd := chat
		odd.PresencePenalty = 3
		_, err = client.CreateChatCompletion(ctx, odd)
		assert.ErrorContains(t, err, "presence_penalty")
	})
	t.Run("own client conforms", func(t *testing.T) {
		backendtest.Run(t, func(t *testing.T) backend.LanguageBackend {
			own, err := backend.NewFastChat(backend.FastChatConfig{ModelID: "tiny", ContextLength: 8192, ServerIP: c.API,
				APIKey: "EMPTY", Warn: func(m string) { t.Log("warn:", m) }})
			require.NoError(t, err)
			t.Cleanup(func() { own.Close() })
			return own
		}, backendtest.Options{Deterministic: true})
	})
	t.Run("restart of the controller", func(t *testing.T) {
		c.RestartController()
		start := time.Now()
		fastchattest.Eventually(t, func() bool { return c.Knows(t, "tiny") })
		t.Logf("registered again after %v", time.Since(start))
		_, err := client.CreateChatCompletion(ctx, chat)
		require.NoError(t, err)
	})
	t.Run("a worker leaves", func(t *testing.T) {
		stop()
		require.NoError(t, <-ended)
		assert.False(t, c.Knows(t, "tiny"), "the controller still has it")
	})
}
