package serve_test

import (
	"bufio"
	"context"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/internal/serve"
)

// PromptInfo makes textModel one that tells its tokens.
func (m textModel) PromptInfo() (bos, eos, template string) { return "<s>", "</s>", "{{ x }}" }

// Base addresses are typed with and without /v1, and with a slash too many.
func TestPathsAsClientsMakeThem(t *testing.T) {
	url := start(t, textModel{talkative()}, serve.Config{ModelNames: []string{"tiny"}})
	for _, path := range []string{"/v1/chat/completions", "//v1/chat/completions", "/chat/completions", "/v1/chat/completions/", "/v1/v1/chat/completions", "/v1//chat/completions"} {
		assert.Equal(t, 200, post(t, url+path, `{`+hello+`,"max_tokens":2}`).status, path)
	}
	assert.Equal(t, get(t, url+"/v1/models").body, get(t, url+"/models/").body)
	assert.Contains(t, get(t, url+"/v1/models/").body, `"list"`)
	for _, path := range []string{"/v2/chat/completions", "/v1/chat", "/", "/v1/../etc/passwd"} {
		a := post(t, url+path, `{`+hello+`}`)
		assert.Equal(t, 404, a.status, path)
		assert.Contains(t, a.body, "Unknown request URL: POST", path)
	}
	for path, meant := range map[string]string{
		"/openai/v1/chat/completions": "/v1/chat/completions", "/openai/deployments/x/chat/completions": "/v1/chat/completions", "/V1/Chat/Completions": "/v1/chat/completions",
		"/v1/chat/completion": "/v1/chat/completions", "/v2/embeddings": "/v1/embeddings", "/v1/mesages": "/v1/messages", "/api/v1/models": "/v1/models",
	} {
		a := post(t, url+path, `{`+hello+`}`)
		assert.Equal(t, 404, a.status, path)
		assert.Contains(t, a.body, "Did you mean "+meant+"?", path)
	}
}

// Before the first token of a long prompt the head is there, and comments follow.
func TestStreamsSaySomethingMeanwhile(t *testing.T) {
	goOn := make(chan struct{})
	b := scripted(0, func(ctx context.Context, _ *backend.Request) (string, error) {
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		return "done", ctx.Err()
	})
	url := start(t, textModel{b}, serve.Config{})
	for path, body := range map[string]string{
		"/v1/chat/completions": hello, "/v1/messages": hello, "/v1/responses": `"input":"x"`, "/v1/completions": `"prompt":"x"`,
		"/chat/completions": hello + `,"max_tokens":5`, "//v1/messages": hello + `,"max_tokens":5`, "/v1/responses/": `"input":[{"role":"user","content":"x"}]`,
	} {
		body = `{"stream":true,` + body + `}`
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, strings.NewReader(body))
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req) // returns with the head
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, "text/event-stream; charset=utf-8", resp.Header.Get("Content-Type"))
		lines := bufio.NewScanner(resp.Body)
		require.True(t, lines.Scan())
		assert.Equal(t, ": ", lines.Text())
		goOn <- struct{}{}
		text := ""
		for lines.Scan() {
			text += lines.Text() + "\n"
		}
		assert.Contains(t, text, "done")
	}
}

// What evaluation harnesses ask for.
func TestTokensOfPrompts(t *testing.T) {
	url := start(t, textModel{talkative()}, serve.Config{})
	assert.JSONEq(t, `{"bos_token":"<s>","eos_token":"</s>","pad_token":"</s>","chat_template":"{{ x }}"}`, get(t, url+"/tokenizer_info").body)
	for body, want := range map[string][]any{
		`{"prompt":"a","add_special_tokens":true}`: {1.0, 97.0}, `{"prompt":"a","add_special_tokens":false}`: {97.0}, `{"prompt":"<s>","add_special_tokens":false}`: {60.0, 115.0, 62.0},
		`{"content":"a","add_special_tokens":true}`: {1.0, 97.0}, `{"content":"","add_special_tokens":true}`: {1.0},
		`{"content":"<s>a","add_special_tokens":true}`: {1.0, 60.0, 115.0, 62.0, 97.0}, `{"add_special_tokens":false,"content":"é"}`: {233.0},
	} {
		a := post(t, url+"/tokenize", body)
		assert.Equal(t, want, a.json["tokens"], "%s %s", body, a.body)
		assert.EqualValues(t, len(want), a.json["count"], body)
		assert.Equal(t, a.body, post(t, url+"/v1/tokenize", body).body)
	}
	assert.Equal(t, 400, post(t, url+"/tokenize", `{"content":"a","add_special_tokens":"yes"}`).status)
	assert.Equal(t, "ab", post(t, url+"/detokenize", `{"tokens":[97,98]}`).json["prompt"])
	assert.Equal(t, 400, post(t, url+"/detokenize", `{}`).status)
	other := start(t, talkative(), serve.Config{})
	assert.Equal(t, 404, get(t, other+"/tokenizer_info").status)
}

// atOnce gives its whole reply, the reason of its end and the cost in one delta.
type atOnce struct{ *backend.Scripted }

func (b atOnce) ChatCompletion(ctx context.Context, req *backend.Request) iter.Seq2[backend.Delta, error] {
	return func(yield func(backend.Delta, error) bool) {
		var all backend.Delta
		for d, err := range b.Scripted.ChatCompletion(ctx, req) {
			if err != nil {
				yield(d, err)
				return
			}
			all.Text, all.Tokens = all.Text+d.Text, append(all.Tokens, d.Tokens...)
			all.Finish, all.Usage = d.Finish, d.Usage
		}
		yield(all, nil)
	}
}

// Why and with what cost a reply ended is told where that comes with text, too.
func TestEndThatComesWithText(t *testing.T) {
	url := start(t, atOnce{talkative()}, serve.Config{})
	for _, stream := range []string{"false", "true"} {
		for path, tt := range map[string]struct {
			body  string
			tells []string
		}{
			"/v1/chat/completions": {`{"max_tokens":2,"stream_options":{"include_usage":true},` + hello, []string{`"finish_reason":"length"`, `"completion_tokens":2`}},
			"/v1/responses":        {`{"max_output_tokens":2,"input":"x"`, []string{`"status":"incomplete"`, `"reason":"max_output_tokens"`, `"output_tokens":2`}},
			"/v1/messages":         {`{"max_tokens":2,` + hello, []string{`"stop_reason":"max_tokens"`, `"output_tokens":2`}},
			"/api/chat":            {`{"options":{"num_predict":2},` + hello, []string{`"done_reason":"length"`, `"eval_count":2`}},
			"/api/generate":        {`{"options":{"num_predict":2},"prompt":"x"`, []string{`"done_reason":"length"`, `"eval_count":2`}},
		} {
			if stream == "false" {
				tt.body = strings.Replace(tt.body, `"stream_options":{"include_usage":true},`, "", 1)
			}
			a := post(t, url+path, tt.body+`,"stream":`+stream+`}`)
			for _, want := range append(tt.tells, "one, two,") {
				assert.Contains(t, a.body, want, path)
			}
		}
	}
}

// Log-probabilities are sent where OpenAI's clients ask for them.
func TestLogprobsOfResponses(t *testing.T) {
	url := start(t, talkative(), serve.Config{}) + "/v1/responses"
	for fields, logprobs := range map[string]bool{
		`"include":["message.output_text.logprobs"]`: true, `"top_logprobs":2`: true, `"include":["reasoning.encrypted_content"]`: false,
		`"include":[]`: false, `"include":null`: false, `"top_logprobs":0`: false,
		`"include":["file_search_call.results","message.output_text.logprobs"],"top_logprobs":0`: true,
	} {
		for _, stream := range []string{"false", "true"} {
			a := post(t, url, `{"input":"x","max_output_tokens":2,`+fields+`,"stream":`+stream+`}`)
			require.Equal(t, 200, a.status, a.body)
			assert.Equal(t, logprobs, strings.Contains(a.body, `"logprob":`), "%s %s", fields, a.body)
		}
	}
	assert.Equal(t, 400, post(t, url, `{"input":"x","include":"logprobs"}`).status)
}
