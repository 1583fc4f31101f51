package backend

import (
	"context"
	"encoding/json"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scriptedTools is a model that wants calls with the given probabilities, one after
// another, and of the given names.
type scriptedTools struct {
	LanguageBackend
	wants     []float64
	asking    []float64 // the same, where nothing but calls is asked for; 1 after the last
	names     []string
	texts     []string
	arguments []string
	asked     []string // prefills of generations
}

func (s *scriptedTools) Capabilities() Capabilities {
	return Capabilities{Prefill: true, Schema: true, ExactChoice: true}
}

func (s *scriptedTools) ToolSyntax(context.Context) (ToolSyntax, error) {
	return ToolSyntax{Open: "<call>", Middle: ": ", Close: "</call>", Next: "\n<call>"}, nil
}

func (s *scriptedTools) CountPrompt(_ context.Context, req *Request) (int, error) {
	return 100 + len(req.Prefill), nil
}

func (s *scriptedTools) ToolSchema(schema json.RawMessage, _ bool) (json.RawMessage, error) {
	return schema, nil
}

func take[T any](list *[]T) (v T) {
	if len(*list) > 0 {
		v, *list = (*list)[0], (*list)[1:]
	}
	return v
}

func (s *scriptedTools) ChooseFromOptions(_ context.Context, req *Request, options []Option) (*Choice, error) {
	if strings.HasSuffix(req.Prefill, "<call>") {
		name := take(&s.names)
		if known := slices.ContainsFunc(options, func(o Option) bool { return o.Text == name }); !known {
			return &Choice{Text: options[0].Text, Options: []ScoredOption{{Logprob: math.Log(0.1)}}}, nil
		}
		return &Choice{Text: name, Options: []ScoredOption{{}}}, nil
	}
	p := 1.0
	if !strings.HasPrefix(req.Messages[len(req.Messages)-1].Content, `{"name": `) {
		p = take(&s.wants)
	} else if len(s.asking) > 0 {
		p = take(&s.asking)
	}
	return &Choice{Options: []ScoredOption{{Logprob: math.Log(p)}}}, nil
}

func (s *scriptedTools) ChatCompletion(_ context.Context, req *Request) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		s.asked = append(s.asked, req.Prefill)
		text := take(&s.texts)
		if len(req.Schema) > 0 {
			text = take(&s.arguments)
		}
		finish, stop := FinishStop, ""
		for _, s := range req.Stop {
			if before, _, found := strings.Cut(text, s); found {
				text, stop = before, s
			}
		}
		if req.TokensMax > 0 && len(text) > req.TokensMax {
			text, finish = text[:req.TokensMax], FinishLength
		}
		_ = yield(Delta{Text: text}, nil) && yield(Delta{Finish: finish, Stop: stop, Usage: &Usage{PromptTokens: 100 + len(req.Prefill), CompletionTokens: len(text)}}, nil)
	}
}

func TestCallTools(t *testing.T) {
	tools := []Tool{{Name: "a", Parameters: json.RawMessage(`{"type":"object"}`)}, {Name: "b"}}
	for name, c := range map[string]struct {
		model  scriptedTools
		choice ToolChoice
		max    int
		want   string // name(arguments) of each call, and the text
		finish FinishReason
		stop   string
		asked  []string
	}{
		"text":      {model: scriptedTools{wants: []float64{0.3}, texts: []string{"hi"}}, want: "hi", finish: FinishStop, asked: []string{""}},
		"a call":    {model: scriptedTools{wants: []float64{0.7, 0.1}, names: []string{"b"}, arguments: []string{"{}"}}, want: "b({})", finish: FinishCalls, asked: []string{"<call>b:"}},
		"two calls": {model: scriptedTools{wants: []float64{0.7, 0.9, 0}, names: []string{"b", "a"}, arguments: []string{"{}", `{"x":1}`}}, want: `b({})a({"x":1})`, finish: FinishCalls, asked: []string{"<call>b:", "<call>b: {}</call>\n<call>a:"}},
		"two of a model that never finds it likely": {model: scriptedTools{wants: []float64{0.7, 1e-9, 1e-12}, asking: []float64{1e-11, 0.01, 1e-11}, names: []string{"b", "a"},
			arguments: []string{"{}", `{"x":1}`}}, want: `b({})a({"x":1})`, finish: FinishCalls, asked: []string{"<call>b:", "<call>b: {}</call>\n<call>a:"}},
		"one of a model that finds two likely where they are asked for": {model: scriptedTools{wants: []float64{0.7, 0.01}, asking: []float64{1e-3, 0.9}, names: []string{"b"},
			arguments: []string{"{}"}}, want: "b({})", finish: FinishCalls, asked: []string{"<call>b:"}},
		"the same call again": {model: scriptedTools{wants: []float64{0.7, 1e-9}, asking: []float64{1e-11, 0.01}, names: []string{"b", "b"}, arguments: []string{"{}", "{}"}},
			want: "b({})", finish: FinishCalls, asked: []string{"<call>b:", "<call>b: {}</call>\n<call>b:"}},
		"a compared call that is cut": {model: scriptedTools{wants: []float64{0.7, 1e-9}, asking: []float64{1e-11, 0.01}, names: []string{"b", "b"}, arguments: []string{"{}", `{"long":"text"}`}},
			max: 34, want: "b({})", finish: FinishLength, asked: []string{"<call>b:", "<call>b: {}</call>\n<call>b:"}},
		"one at most":        {model: scriptedTools{wants: []float64{0.7, 0.9}, names: []string{"b"}, arguments: []string{"{}"}}, choice: ToolChoice{One: true}, want: "b({})", finish: FinishCalls, asked: []string{"<call>b:"}},
		"required":           {model: scriptedTools{wants: []float64{0}, names: []string{"a"}, arguments: []string{"{}"}}, choice: ToolChoice{Required: true}, want: "a({})", finish: FinishCalls, asked: []string{"<call>a:"}},
		"named":              {model: scriptedTools{arguments: []string{"{}"}}, choice: ToolChoice{Required: true, Names: []string{"b"}, One: true}, want: "b({})", finish: FinishCalls, asked: []string{"<call>b:"}},
		"within text":        {model: scriptedTools{wants: []float64{0.2, 0.8, 0}, texts: []string{"I look. "}, names: []string{"a"}, arguments: []string{"{}"}}, want: "I look. a({})", finish: FinishCalls, asked: []string{"", "I look. <call>a:"}},
		"a stop string":      {model: scriptedTools{wants: []float64{0.2}, texts: []string{"one; two <call>"}}, want: "one", finish: FinishStop, stop: ";", asked: []string{""}},
		"within text, bare":  {model: scriptedTools{wants: []float64{0.2, 0.8, 0}, texts: []string{"Action:\n{\n  \"name\": \"a\""}, names: []string{"a"}, arguments: []string{"{}"}}, want: "Action:\na({})", finish: FinishCalls, asked: []string{"", "Action:\n<call>a:"}},
		"no call after all":  {model: scriptedTools{wants: []float64{0.2, 0.1}, texts: []string{"one <call>", "<call> is a tag"}}, want: "one <call> is a tag", finish: FinishStop, asked: []string{"", "one "}},
		"a made-up name":     {model: scriptedTools{wants: []float64{0.9, 0.9}, names: []string{"c", "c"}, texts: []string{"<call>c: {}</call>", "<call>c: {}</call>"}}, want: "<call>c: {}</call>", finish: FinishStop, asked: []string{"", ""}},
		"fenced":             {model: scriptedTools{wants: []float64{0.2, 0.8, 0}, texts: []string{"So:\n```json\n{\"name\": \"a\""}, names: []string{"a"}, arguments: []string{"{}"}}, want: "So:\na({})", finish: FinishCalls, asked: []string{"", "So:\n```json\n<call>a:"}},
		"JSON that is none":  {model: scriptedTools{wants: []float64{0.2, 0.1, 0.1}, texts: []string{`{"name": "Ada"}`, `{"name": "Ada"}`}}, want: `{"name": "Ada"}`, finish: FinishStop, asked: []string{"", ""}},
		"text that is cut":   {model: scriptedTools{wants: []float64{0.2}, texts: []string{"a long text"}}, max: 6, want: "a long", finish: FinishLength, asked: []string{""}},
		"arguments, cut":     {model: scriptedTools{wants: []float64{1}, names: []string{"a"}, arguments: []string{`{"text":"long"}`}}, max: 12, want: `a({"te)`, finish: FinishLength, asked: []string{"<call>a:"}},
		"no room for a call": {model: scriptedTools{wants: []float64{1}, names: []string{"a"}}, max: 5, want: "", finish: FinishLength},
	} {
		t.Run(name, func(t *testing.T) {
			req := &Request{Messages: []Message{{Role: RoleUser, Content: "?"}}, Tools: tools, TokensMax: c.max, Stop: []string{";"}}
			var got strings.Builder
			var last Delta
			open := -1
			for d, err := range CallTools(t.Context(), &c.model, req, c.choice) {
				require.NoError(t, err)
				require.Empty(t, last.Finish, "nothing comes after the end")
				if d.Call != nil && d.Call.Name != "" {
					assert.Equal(t, open+1, d.Call.Index)
					if open++; open > 0 {
						got.WriteString(")")
					}
					got.WriteString(d.Call.Name + "(")
				}
				if d.Call != nil {
					got.WriteString(d.Call.Arguments)
				}
				got.WriteString(d.Text)
				last = d
			}
			if open >= 0 {
				got.WriteString(")")
			}
			assert.Equal(t, c.want, got.String())
			assert.Equal(t, c.finish, last.Finish)
			assert.Equal(t, c.stop, last.Stop)
			assert.Equal(t, c.asked, c.model.asked)
			assert.Equal(t, 100, last.Usage.PromptTokens)
		})
	}
}
