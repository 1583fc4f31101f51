package serve_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/internal/serve"
)

// toolModel is a script that calls tools: as many of calls as it may, each with arguments,
// else it says text. It keeps the last request.
type toolModel struct {
	*backend.Scripted
	calls     []string
	arguments string
	text      string
	seen      *backend.Request
	wanted    int
}

func newToolModel(text, arguments string, calls ...string) *toolModel {
	m := &toolModel{text: text, arguments: arguments, calls: calls}
	m.Scripted = backend.NewScripted(backend.ScriptedConfig{
		Claims: &backend.Capabilities{Prefill: true, Schema: true, ExactChoice: true},
		Reply: func(_ context.Context, r *backend.Request) (string, error) {
			m.seen = r
			if len(r.Schema) > 0 {
				return r.Prefill + m.arguments, nil
			}
			return r.Prefill + m.text, nil
		},
		Choose: func(_ context.Context, r *backend.Request, options []backend.Option) (*backend.Choice, error) {
			if strings.HasSuffix(r.Prefill, "<call>") {
				return backend.ChooseOption("scripted", m.calls[m.wanted-1], options)
			}
			p := 0.0
			if m.wanted < len(m.calls) {
				p = 1
			}
			m.wanted++
			return &backend.Choice{Options: []backend.ScoredOption{{Logprob: math.Log(p)}}}, nil
		},
	})
	return m
}

func (m *toolModel) ToolSyntax(context.Context) (backend.ToolSyntax, error) {
	return backend.ToolSyntax{Open: "<call>", Middle: ": ", Close: "</call>", Next: "\n<call>"}, nil
}

func (m *toolModel) CountPrompt(ctx context.Context, r *backend.Request) (int, error) {
	n, err := m.CountTokens(ctx, r.Messages)
	return n + 100*len(r.Tools), err
}

func (m *toolModel) ToolSchema(schema json.RawMessage, _ bool) (json.RawMessage, error) {
	if string(schema) == `"x"` {
		return nil, errors.New("it is no schema")
	}
	return schema, nil
}

const (
	messagesPath = "/v1/messages"
	weather      = `"tools":[{"name":"get_weather","description":"Get it","input_schema":{"type":"object"}},{"name":"wait","input_schema":{"type":"object"}}]`
)

// TestMessagesAreHonoured: what the backend is asked is what the client asked.
func TestMessagesAreHonoured(t *testing.T) {
	m := newToolModel("{}", "{}")
	url := start(t, m, serve.Config{}) + messagesPath
	message := func(role backend.Role, text string) backend.Message {
		return backend.Message{Role: role, Content: text}
	}
	user, system, assistant, tool := backend.RoleUser, backend.RoleSystem, backend.RoleAssistant, backend.RoleTool
	half, k := 0.5, 7
	for name, c := range map[string]struct {
		body string
		want backend.Request
	}{
		"settings": {`{"max_tokens":5,` + hello + `,"temperature":0.5,"top_p":0.5,"top_k":7,"stop_sequences":["x","y"]}`,
			backend.Request{Messages: []backend.Message{message(user, "hello")}, TokensMax: 5, Stop: []string{"x", "y"},
				Sampling: &backend.Sampling{Temperature: &half, TopP: &half, TopK: &k}}},
		"system text": {`{"system":"be brief",` + hello + `}`,
			backend.Request{Messages: []backend.Message{message(system, "be brief"), message(user, "hello")}}},
		"system blocks, and one within": {`{"system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b"}],
			"messages":[{"role":"user","content":[{"type":"text","text":"c"},{"type":"text","text":"d"}]},{"role":"system","content":"e"},{"role":"user","content":"f"}]}`,
			backend.Request{Messages: []backend.Message{message(system, "a\nb"), message(user, "c\nd"), message(system, "e"), message(user, "f")}}},
		"what is for billing": {`{"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=1.2.3;"},{"type":"text","text":"a"}],` + hello + `}`,
			backend.Request{Messages: []backend.Message{message(system, "a"), message(user, "hello")}}},
		"what is for billing, alone": {`{"system":"x-anthropic-billing-header: cc_version=1.2.3;",` + hello + `}`,
			backend.Request{Messages: []backend.Message{message(user, "hello")}}},
		"turns in a row": {`{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":"c"},{"role":"assistant","content":"d"},{"role":"user","content":"e"}]}`,
			backend.Request{Messages: []backend.Message{message(user, "a\nb"), message(assistant, "cd"), message(user, "e")}}},
		"calls, results and thoughts": {`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"z"},
			{"type":"text","text":"b"},{"type":"tool_use","id":"1","name":"f","input":{"x":1}},{"type":"tool_use","id":"2","name":"g","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"c"},{"type":"text","text":"d"}]},{"type":"tool_result","tool_use_id":"2","is_error":true,"content":"e"},
			{"type":"tool_result","tool_use_id":"3"},{"type":"text","text":"go on"}]}]}`,
			backend.Request{Messages: []backend.Message{message(user, "a"),
				{Role: assistant, Content: "b", Calls: []backend.ToolCall{{ID: "1", Name: "f", Arguments: json.RawMessage(`{"x":1}`)}, {ID: "2", Name: "g", Arguments: json.RawMessage(`{}`)}}},
				message(tool, "c\nd"), message(tool, "<error>\ne\n</error>"), message(tool, ""), message(user, "go on")}}},
		"the start of the reply": {`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"The"}]}]}`,
			backend.Request{Messages: []backend.Message{message(user, "a")}, Prefill: "The"}},
		"a schema": {`{` + hello + `,"output_config":{"effort":"high","format":{"type":"json_schema","schema":{"type":"object"}}}}`,
			backend.Request{Messages: []backend.Message{message(user, "hello")}, Schema: json.RawMessage(`{"type":"object"}`)}},
		"a schema by its older name": {`{` + hello + `,"output_format":{"type":"json_schema","schema":{"type":"object"}}}`,
			backend.Request{Messages: []backend.Message{message(user, "hello")}, Schema: json.RawMessage(`{"type":"object"}`)}},
		"fields that ask for nothing": {`{` + hello + `,"metadata":{"user_id":"x"},"thinking":{"type":"enabled","budget_tokens":2000},"context_management":{"edits":[]},"output_config":{"effort":"low"},
			"service_tier":"standard_only","cache_control":{"type":"ephemeral"},"tools":[],"tool_choice":{"type":"auto"},"mcp_servers":[],"container":null,"stream":false}`,
			backend.Request{Messages: []backend.Message{message(user, "hello")}}},
		"tools, and none to be called": {`{` + hello + `,"tools":[{"type":"custom","name":"f","description":"d","input_schema":{"type":"object"},"input_examples":[{"x":1}],"cache_control":null,
			"eager_input_streaming":true,"defer_loading":true,"allowed_callers":["direct"],"strict":true}],"tool_choice":{"type":"none"}}`,
			backend.Request{Messages: []backend.Message{message(user, "hello")},
				Tools: []backend.Tool{{Name: "f", Description: "d\n[{\"x\":1}]", Parameters: json.RawMessage(`{"type":"object"}`)}}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := post(t, url+"?beta=true", c.body)
			require.Equal(t, 200, a.status, a.body)
			if c.want.Sampling == nil {
				c.want.Sampling = &backend.Sampling{}
			}
			assert.Equal(t, &c.want, m.seen)
		})
	}
}

// TestMessagesRefusals: what can't be honoured is refused with Anthropic's names, in its form.
func TestMessagesRefusals(t *testing.T) {
	able, plain := start(t, newToolModel("{}", "{}"), serve.Config{ModelNames: []string{"tiny"}}), start(t, backend.NewScripted(backend.ScriptedConfig{
		Replies: []string{"x"}, Claims: &backend.Capabilities{}}), serve.Config{})
	for name, c := range map[string]struct {
		url, body string
		status    int
		kind      string
		message   string
	}{
		"not JSON":               {able, `{`, 400, "invalid_request_error", "not a JSON object"},
		"no messages":            {able, `{"max_tokens":5,"messages":[]}`, 400, "invalid_request_error", `"messages"`},
		"nothing said":           {able, `{"system":"x","messages":[{"role":"user","content":[]}]}`, 400, "invalid_request_error", `"messages"`},
		"input that is null":     {able, `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","name":"f","input":null}]}]}`, 400, "invalid_request_error", `"messages[1].content[0]"`},
		"no tokens":              {able, `{"max_tokens":0,` + hello + `}`, 400, "invalid_request_error", `"max_tokens"`},
		"the assistant alone":    {able, `{"messages":[{"role":"assistant","content":"x"}]}`, 400, "invalid_request_error", "after another"},
		"results are missing":    {able, `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","name":"f","input":{}}]}]}`, 400, "invalid_request_error", "results"},
		"unknown role":           {able, `{"messages":[{"role":"tool","content":"x"}]}`, 400, "invalid_request_error", `"messages[0].role"`},
		"unknown in a message":   {able, `{"messages":[{"role":"user","contnt":"x"}]}`, 400, "invalid_request_error", "contnt"},
		"an image":               {able, `{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image","source":{}}]}]}`, 400, "invalid_request_error", `"messages[0].content[1]" is of the type "image"`},
		"an image as a result":   {able, `{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}`, 400, "invalid_request_error", `"messages[0].content[0].content[0]"`},
		"input that is none":     {able, `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","name":"f","input":"{}"}]}]}`, 400, "invalid_request_error", `"messages[1].content[0]"`},
		"content of numbers":     {able, `{"messages":[{"role":"user","content":5}]}`, 400, "invalid_request_error", `"messages[0].content"`},
		"system of images":       {able, `{"system":[{"type":"image"}],` + hello + `}`, 400, "invalid_request_error", `"system[0]"`},
		"a server's tool":        {able, `{` + hello + `,"tools":[{"type":"web_search_20250305","name":"web_search"}]}`, 400, "invalid_request_error", `"web_search_20250305"`},
		"a tool with no schema":  {able, `{` + hello + `,"tools":[{"name":"f"}]}`, 400, "invalid_request_error", `"tools[0].input_schema"`},
		"a tool with a bad one":  {able, `{` + hello + `,"tools":[{"name":"f","input_schema":"x"}]}`, 400, "invalid_request_error", `"tools[0].input_schema": it is no schema`},
		"misspelt in a tool":     {able, `{` + hello + `,"tools":[{"name":"f","input_schema":{"type":"object"},"descripton":"x"}]}`, 400, "invalid_request_error", `"tools[0].descripton"`},
		"misspelt in a block":    {able, `{"max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","txt":"x"}]}]}`, 400, "invalid_request_error", `"messages[0].content[0].txt"`},
		"misspelt in a result":   {able, `{"max_tokens":5,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","contents":"x"}]}]}`, 400, "invalid_request_error", `"messages[0].content[0].contents"`},
		"misspelt in a choice":   {able, `{` + hello + `,` + weather + `,"tool_choice":{"type":"tool","nme":"wait"}}`, 400, "invalid_request_error", `"tool_choice.nme"`},
		"a nameless tool":        {able, `{` + hello + `,"tools":[{"input_schema":{}}]}`, 400, "invalid_request_error", `"tools[0].name"`},
		"no such tool":           {able, `{` + hello + `,` + weather + `,"tool_choice":{"type":"tool","name":"g"}}`, 400, "invalid_request_error", `"g"`},
		"a tool of none":         {able, `{` + hello + `,"tool_choice":{"type":"any"}}`, 400, "invalid_request_error", "none is offered"},
		"odd choice":             {able, `{` + hello + `,` + weather + `,"tool_choice":{"type":"some"}}`, 400, "invalid_request_error", "auto, any, tool or none"},
		"odd form":               {able, `{` + hello + `,"output_config":{"format":{"type":"xml"}}}`, 400, "invalid_request_error", `"output_config.format"`},
		"unknown of the output":  {able, `{` + hello + `,"output_config":{"colour":"red"}}`, 400, "invalid_request_error", "colour"},
		"misspelt":               {able, `{` + hello + `,"max_tokns":5}`, 400, "invalid_request_error", `Did you mean "max_tokens"?`},
		"servers of MCP":         {able, `{` + hello + `,"mcp_servers":[{"url":"x"}]}`, 400, "invalid_request_error", `"mcp_servers"`},
		"an empty stop sequence": {able, `{` + hello + `,"stop_sequences":[""]}`, 400, "invalid_request_error", `"stop_sequences"`},
		"wrong model":            {able, `{"model":"claude-opus",` + hello + `}`, 404, "not_found_error", "tiny"},
		"too long":               {able, `{"messages":[{"role":"user","content":"` + strings.Repeat("seven green ", 5000) + `"}]}`, 400, "invalid_request_error", "prompt is too long: 10008 tokens > 8192 maximum"},
		"tools of no use":        {plain, `{` + hello + `,` + weather + `}`, 400, "invalid_request_error", "local model"},
		"a schema of no use":     {plain, `{` + hello + `,"output_config":{"format":{"type":"json_schema","schema":{}}}}`, 400, "invalid_request_error", `"output_config.format" asks for JSON`},
		"no start of the reply":  {plain, `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}`, 400, "invalid_request_error", `"messages" is not possible`},
	} {
		for _, more := range []string{"", "/count_tokens"} {
			if more != "" && name == "too long" {
				continue // of a script that does not refuse to count it
			}
			t.Run(name+more, func(t *testing.T) {
				a := post(t, c.url+messagesPath+more, c.body)
				assert.Equal(t, c.status, a.status)
				require.Equal(t, "error", a.json["type"], a.body)
				assert.Equal(t, c.kind, at(t, a.json, "error.type"))
				assert.Contains(t, at(t, a.json, "error.message"), c.message)
			})
		}
	}
}

// A conversation of very many parts is read in a time that grows with its length alone.
func TestMessagesOfManyParts(t *testing.T) {
	url := start(t, newToolModel("x", ""), serve.Config{}) + messagesPath
	took := func(n int) time.Duration {
		least := time.Hour
		for range 2 { // of a busy machine the better moment counts
			begun := time.Now()
			parts := strings.Repeat(`{"type":"text","text":""},`, n/3) + strings.Repeat(`{"type":"text","text":"a"},`, n)
			a := post(t, url, `{"messages":[{"role":"user","content":[`+strings.TrimSuffix(parts, ",")+`]}]}`)
			assert.Contains(t, a.body, "prompt is too long")
			a = post(t, url, `{"messages":[`+strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"a"},`, n), ",")+`]}`)
			assert.Contains(t, a.body, "prompt is too long")
			least = min(least, time.Since(begun))
		}
		return least
	}
	assert.Less(t, took(150_000), 40*took(15_000), "ten times the parts, not a hundred times the time")
}

// messageOf puts a streamed message together, as the official client does, and checks the order.
func messageOf(t *testing.T, stream string) (message map[string]any, finished bool) {
	t.Helper()
	var blocks []any
	open := false
	for _, event := range strings.Split(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		first, second, _ := strings.Cut(event, "\n")
		var e map[string]any
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(second, "data: ")), &e))
		require.Equal(t, "event: "+fmt.Sprint(e["type"]), first)
		require.False(t, finished, "nothing comes after the end")
		require.Equal(t, e["type"] != "message_start", message != nil)
		switch e["type"] {
		case "message_start":
			message = e["message"].(map[string]any)
			require.Empty(t, message["content"])
		case "content_block_start":
			require.False(t, open)
			open = true
			require.EqualValues(t, len(blocks), e["index"])
			blocks = append(blocks, e["content_block"])
		case "content_block_delta":
			require.True(t, open)
			require.EqualValues(t, len(blocks)-1, e["index"])
			block, delta := blocks[len(blocks)-1].(map[string]any), e["delta"].(map[string]any)
			if delta["type"] == "text_delta" {
				block["text"] = block["text"].(string) + delta["text"].(string)
			} else {
				require.Equal(t, "input_json_delta", delta["type"])
				soFar, _ := block["json"].(string)
				block["json"] = soFar + delta["partial_json"].(string)
			}
		case "content_block_stop":
			require.True(t, open)
			open = false
			block := blocks[len(blocks)-1].(map[string]any)
			if text, ok := block["json"].(string); ok {
				var input any
				_ = json.Unmarshal([]byte(text), &input)
				block["input"] = input
				delete(block, "json")
			}
		case "message_delta":
			require.False(t, open)
			maps.Copy(message, e["delta"].(map[string]any))
			message["usage"] = e["usage"]
		case "message_stop":
			finished = true
		case "error":
			message["error"] = e["error"]
		default:
			require.Fail(t, "unknown event", event)
		}
	}
	message["content"] = blocks
	return message, finished
}

// TestMessagesAnswers: whole or as events, the same message comes.
func TestMessagesAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		text, arguments string
		calls           []string
		body            string
		content         string // of the whole reply, without ids
		streamed        string // where it differs
		reason          string
		stop            any
	}{
		"text":             {text: "a reply", body: `{` + hello + `}`, content: `[{"type":"text","text":"a reply"}]`, reason: "end_turn"},
		"nothing":          {text: "", body: `{` + hello + `}`, content: `[{"type":"text","text":""}]`, reason: "end_turn"},
		"cut":              {text: "a reply", body: `{` + hello + `,"max_tokens":1}`, content: `[{"type":"text","text":"a"}]`, reason: "max_tokens"},
		"a stop sequence":  {text: "a reply", body: `{` + hello + `,"stop_sequences":["z","rep"]}`, content: `[{"type":"text","text":"a "}]`, reason: "stop_sequence", stop: "rep"},
		"text, with tools": {text: "a reply", body: `{` + hello + `,` + weather + `,"stop_sequences":["y"]}`, content: `[{"type":"text","text":"a repl"}]`, reason: "stop_sequence", stop: "y"},
		"a call": {arguments: `{"city":"Paris"}`, calls: []string{"get_weather"}, body: `{` + hello + `,` + weather + `}`,
			content: `[{"type":"tool_use","name":"get_weather","input":{"city":"Paris"}}]`, reason: "tool_use"},
		"calls": {arguments: `{}`, calls: []string{"wait", "get_weather"}, body: `{` + hello + `,` + weather + `}`,
			content: `[{"type":"tool_use","name":"wait","input":{}},{"type":"tool_use","name":"get_weather","input":{}}]`, reason: "tool_use"},
		"one call at most": {arguments: `{}`, calls: []string{"wait", "get_weather"}, body: `{` + hello + `,` + weather + `,"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}`,
			content: `[{"type":"tool_use","name":"wait","input":{}}]`, reason: "tool_use"},
		"a named call": {arguments: `{}`, body: `{` + hello + `,` + weather + `,"tool_choice":{"type":"tool","name":"wait"}}`,
			content: `[{"type":"tool_use","name":"wait","input":{}}]`, reason: "tool_use"},
		"none may be called": {text: "a reply", calls: []string{"wait"}, body: `{` + hello + `,` + weather + `,"tool_choice":{"type":"none"}}`,
			content: `[{"type":"text","text":"a reply"}]`, reason: "end_turn"},
		"a call that is cut": {arguments: `{"city":"Paris"}`, calls: []string{"wait"}, body: `{` + hello + `,` + weather + `,"max_tokens":1}`,
			content: `[{"type":"text","text":""}]`, streamed: `[{"type":"tool_use","name":"wait","input":null}]`, reason: "max_tokens"},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream=%v", name, stream), func(t *testing.T) {
				url := start(t, newToolModel(c.text, c.arguments, c.calls...), serve.Config{ModelNames: []string{"tiny"}}) + messagesPath
				a := post(t, url, strings.TrimSuffix(c.body, "}")+fmt.Sprintf(`,"stream":%v}`, stream))
				require.Equal(t, 200, a.status, a.body)
				message, finished := a.json, true
				if stream {
					message, finished = messageOf(t, a.body)
				}
				require.True(t, finished)
				assert.Regexp(t, "^msg_.", message["id"])
				assert.Equal(t, []any{"message", "assistant", "tiny"}, []any{message["type"], message["role"], message["model"]})
				assert.Equal(t, []any{c.reason, c.stop}, []any{message["stop_reason"], message["stop_sequence"]})
				for _, b := range message["content"].([]any) {
					if block := b.(map[string]any); block["type"] == "tool_use" {
						assert.Regexp(t, "^toolu_[A-Z0-9]+$", block["id"])
						delete(block, "id")
					}
				}
				want := c.content
				if stream && c.streamed != "" {
					want = c.streamed
				}
				content, err := json.Marshal(message["content"])
				require.NoError(t, err)
				assert.JSONEq(t, want, string(content))
				if counted := post(t, url+"/count_tokens", c.body); name != "none may be called" { // the script's prompt has no tools then
					assert.Equal(t, counted.json["input_tokens"], at(t, message, "usage.input_tokens").(float64)+at(t, message, "usage.cache_read_input_tokens").(float64))
				}
				assert.Zero(t, at(t, message, "usage.cache_creation_input_tokens"))
				assert.Contains(t, message["usage"], "output_tokens")
			})
		}
	}
}

// cachedModel has computed a part of its prompt before, and breaks off with an error.
type cachedModel struct {
	*toolModel
	err error
}

func (m cachedModel) ChatCompletion(context.Context, *backend.Request) iter.Seq2[backend.Delta, error] {
	return func(yield func(backend.Delta, error) bool) {
		if !yield(backend.Delta{Text: "half"}, nil) {
			return
		}
		if m.err != nil {
			yield(backend.Delta{}, m.err)
			return
		}
		yield(backend.Delta{Finish: backend.FinishContext, Usage: &backend.Usage{PromptTokens: 50, CachedTokens: 30, CompletionTokens: 7}}, nil)
	}
}

func TestMessagesCountTheCacheApart(t *testing.T) {
	a := post(t, start(t, cachedModel{toolModel: newToolModel("", "")}, serve.Config{})+messagesPath, `{`+hello+`}`)
	assert.Equal(t, "model_context_window_exceeded", a.json["stop_reason"])
	assert.Equal(t, map[string]any{"input_tokens": 20.0, "cache_read_input_tokens": 30.0, "cache_creation_input_tokens": 0.0, "output_tokens": 7.0}, a.json["usage"])
}

func TestMessagesBrokenOff(t *testing.T) {
	url := start(t, cachedModel{newToolModel("", ""), errors.New("the disk burns")}, serve.Config{}) + messagesPath
	a := post(t, url, `{`+hello+`}`)
	assert.Equal(t, 500, a.status)
	assert.Equal(t, "api_error", at(t, a.json, "error.type"))
	message, finished := messageOf(t, post(t, url, `{`+hello+`,"stream":true}`).body)
	assert.False(t, finished)
	assert.Equal(t, map[string]any{"type": "api_error", "message": "the disk burns"}, message["error"])
}

func TestMessagesKey(t *testing.T) {
	url := start(t, newToolModel("x", ""), serve.Config{APIKey: "sesame"})
	ask := func(path, header, key string) answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(`{`+hello+`}`))
		require.NoError(t, err)
		req.Header.Set(header, key)
		return send(t, req)
	}
	assert.Equal(t, 200, ask(messagesPath, "X-Api-Key", "sesame").status)
	assert.Equal(t, 200, ask(messagesPath, "Authorization", "Bearer sesame").status)
	assert.Equal(t, 401, ask(messagesPath, "Authorization", "Basic sesame").status)
	for _, path := range []string{messagesPath, messagesPath + "/count_tokens"} {
		a := ask(path, "X-Api-Key", "guess")
		assert.Equal(t, 401, a.status)
		assert.Equal(t, "authentication_error", at(t, a.json, "error.type"))
	}
	assert.Equal(t, "not_found_error", at(t, ask(messagesPath+"/batches", "X-Api-Key", "sesame").json, "error.type"))
	a := get(t, url+messagesPath)
	assert.Equal(t, 405, a.status)
	assert.Equal(t, "invalid_request_error", at(t, a.json, "error.type"))
}

// TestMessagesOfRealClients replays what real clients sent.
func TestMessagesOfRealClients(t *testing.T) {
	for _, client := range []string{"anthropic", "claude"} {
		data, err := os.ReadFile(filepath.Join(os.Getenv("AGENT_SHARED"), "clients", client+".json"))
		if os.Getenv("AGENT_SHARED") == "" || err != nil {
			t.Skip("needs clients/*.json, what real clients sent: set AGENT_SHARED")
		}
		var sent []struct {
			Case, Method, Path string
			Body               json.RawMessage
		}
		require.NoError(t, json.Unmarshal(data, &sent))
		for i, r := range sent {
			t.Run(fmt.Sprintf("%s %d", r.Case, i), func(t *testing.T) {
				m := newToolModel("a reply", "{}")
				url := start(t, m, serve.Config{ModelNames: []string{"smol", "qwen"}})
				if r.Method == http.MethodGet {
					assert.Equal(t, "model", at(t, get(t, url+r.Path).json, "data.0.type"))
					return
				}
				var body map[string]any
				require.NoError(t, json.Unmarshal(r.Body, &body))
				if tools, ok := body["tools"].([]any); ok { // the last may be a note of how many were left out
					for len(tools) > 0 && fmt.Sprintf("%T", tools[len(tools)-1]) == "string" {
						tools = tools[:len(tools)-1]
					}
					body["tools"] = tools
				}
				sentBody, err := json.Marshal(body)
				require.NoError(t, err)
				a := post(t, url+r.Path, string(sentBody))
				switch {
				case r.Case == "anthropic-bad":
					assert.Equal(t, 400, a.status)
					assert.Equal(t, "invalid_request_error", at(t, a.json, "error.type"))
					return
				case strings.HasSuffix(r.Path, "count_tokens"):
					assert.Positive(t, a.json["input_tokens"], a.body)
				case body["stream"] == true:
					_, finished := messageOf(t, a.body)
					assert.True(t, finished, a.body)
				default:
					assert.Equal(t, "message", a.json["type"], a.body)
				}
				assert.Equal(t, 200, a.status)
				if m.seen != nil {
					for _, message := range m.seen.Messages {
						assert.NotContains(t, message.Content, "billing-header")
					}
				}
			})
		}
	}
}

// TestAnthropicPython drives the server with the official client.
func TestAnthropicPython(t *testing.T) {
	python := os.Getenv("AGENT_ANTHROPIC_PYTHON")
	if python == "" {
		t.Skip("needs AGENT_ANTHROPIC_PYTHON=…/bin/python of an environment with: pip install anthropic")
	}
	url := start(t, newToolModel("a reply", `{"city":"Paris"}`, "get_weather"), serve.Config{ModelNames: []string{"tiny"}, APIKey: "sesame"})
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "anthropic_client.py"), url, "sesame", "tiny", "a reply")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}
