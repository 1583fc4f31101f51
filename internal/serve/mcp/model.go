package mcp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"agent/backend"
	"agent/command"
	"agent/command/stock"
	"agent/session/policy"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

type chooseInput struct {
	Question string   `json:"question"         jsonschema:"the question, with all that is needed to decide it"`
	Options  []string `json:"options"          jsonschema:"the answers that there are"`
	Method   string   `json:"method,omitempty" jsonschema:"how options are scored: sum (default), mean, per_byte or pmi"`
}

// judgement is a decision. Numbers that the model does not give are left out.
type judgement struct {
	Item    *int           `json:"item,omitempty"         jsonschema:"number of the text, from 0"`
	Index   int            `json:"index"                  jsonschema:"number of the chosen option, from 0; -1: none"`
	Text    string         `json:"text"`
	Margin  *float64       `json:"margin,omitempty"       jsonschema:"lead over the next option, in nats"`
	Tie     bool           `json:"tie,omitempty"`
	Outside *float64       `json:"outside_mass,omitempty" jsonschema:"probability of replies that are none of the options"`
	Method  string         `json:"method,omitempty"`
	Options []scoredOption `json:"options,omitempty"`
	Error   string         `json:"error,omitempty"`
}

type scoredOption struct {
	Text        string   `json:"text"`
	Probability *float64 `json:"probability,omitempty"`
	Logprob     *float64 `json:"logprob,omitempty"`
}

// choose decides one question.
func (s *Server) choose(ctx context.Context, _ *sdk.CallToolRequest, in chooseInput,
) (*sdk.CallToolResult, judgement, error) {
	if strings.TrimSpace(in.Question) == "" {
		return nil, judgement{}, errors.New("the question is empty")
	}
	cfg := &backend.ChooseConfig{Scoring: backend.Scoring(in.Method), List: true}
	req := &backend.Request{Choose: cfg, Messages: []backend.Message{
		{Role: backend.RoleUser, Content: in.Question}}}
	out, err := s.judge(ctx, req, in.Options)
	return nil, out, err
}

// judge scores the options as answers to a request that lists them.
func (s *Server) judge(ctx context.Context, req *backend.Request, texts []string,
) (judgement, error) {
	options := backend.Options(texts...)
	if err := checkOptions(options, req.Choose.Scoring); err != nil {
		return judgement{}, err
	}
	c, err := s.cfg.Model.ChooseFromOptions(ctx, req, options)
	if err != nil {
		return judgement{}, err
	}
	out := judgement{
		Index:   c.Index,
		Text:    c.Text,
		Margin:  known(c.Margin),
		Tie:     c.Tie,
		Outside: known(c.OutsideMass),
		Method:  c.Method,
		Error:   c.Reason,
	}
	for _, o := range c.Options {
		out.Options = append(out.Options, scoredOption{o.Text, known(o.Probability), known(o.Logprob)})
	}
	return out, nil
}

func checkOptions(options []backend.Option, method backend.Scoring) error {
	switch method {
	case "", backend.ScoreSum, backend.ScoreMean, backend.ScorePerByte, backend.ScorePMI:
	default:
		return fmt.Errorf("method is %q; it must be sum, mean, per_byte or pmi", method)
	}
	if len(options) > optionsMax {
		return fmt.Errorf("%d options; at most %d can be given", len(options), optionsMax)
	}
	return backend.CheckOptions(options)
}

func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

type classifyInput struct {
	Items    []string `json:"items"              jsonschema:"the texts"`
	Options  []string `json:"options"            jsonschema:"the labels"`
	Question string   `json:"question,omitempty" jsonschema:"what is asked of each text; default: which label fits best"`
	Method   string   `json:"method,omitempty"   jsonschema:"how labels are scored: sum (default), mean, per_byte or pmi"`
}

type classifyOutput struct {
	Results []judgement    `json:"results"`
	Counts  map[string]int `json:"counts"           jsonschema:"how many texts got each label"`
	Failed  int            `json:"failed,omitempty"`
}

// classify decides about each text. One that can't be decided has an error of its
// own, and the others are decided all the same.
func (s *Server) classify(ctx context.Context, req *sdk.CallToolRequest, in classifyInput,
) (*sdk.CallToolResult, classifyOutput, error) {
	out := classifyOutput{Results: []judgement{}, Counts: map[string]int{}}
	switch {
	case len(in.Items) == 0:
		return nil, out, errors.New("no items are given")
	case len(in.Items) > itemsMax:
		return nil, out, fmt.Errorf("%d items; at most %d can be given at once", len(in.Items), itemsMax)
	}
	if err := checkOptions(backend.Options(in.Options...), backend.Scoring(in.Method)); err != nil {
		return nil, out, err
	}
	if strings.TrimSpace(in.Question) == "" {
		in.Question = s.words.Say("question", nil)
	}
	watch := &watcher{ctx: ctx, req: req}
	cfg := &backend.ChooseConfig{Scoring: backend.Scoring(in.Method), List: true}
	for i, item := range in.Items {
		// Question and options come first: they are evaluated once for all items.
		one, err := s.judge(ctx, backend.AboutText(in.Question, item, cfg), in.Options)
		if ctx.Err() != nil {
			return nil, out, ctx.Err()
		}
		if err != nil {
			one = judgement{Index: -1, Error: err.Error()}
			out.Failed++
		} else if one.Index >= 0 {
			out.Counts[one.Text]++
		}
		one.Item = &i
		out.Results = append(out.Results, one)
		watch.progress(fmt.Sprintf("%d: %s", i, one.Text), len(in.Items))
	}
	return nil, out, nil
}

type countInput struct {
	Text     *string   `json:"text,omitempty"     jsonschema:"plain text, or"`
	Messages []message `json:"messages,omitempty" jsonschema:"a chat, counted as the model's template renders it"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type countOutput struct {
	Tokens  int    `json:"tokens"`
	Source  string `json:"source"`
	Exact   bool   `json:"exact"`
	Context int    `json:"context_length" jsonschema:"most tokens of prompt and reply together"`
}

// countTokens counts a text or a chat.
func (s *Server) countTokens(ctx context.Context, _ *sdk.CallToolRequest, in countInput,
) (*sdk.CallToolResult, countOutput, error) {
	out := countOutput{Context: s.cfg.Model.ContextLength()}
	counter, ok := backend.As[backend.Counter](s.cfg.Model)
	if !ok {
		return nil, out, fmt.Errorf("%s can't count tokens", s.cfg.Model.ModelID())
	}
	var c backend.Count
	var err error
	switch {
	case (in.Text == nil) == (len(in.Messages) == 0):
		return nil, out, errors.New("give either text or messages")
	case in.Text != nil:
		c, err = counter.CountText(ctx, *in.Text)
	default:
		var msgs []backend.Message
		for _, m := range in.Messages {
			msgs = append(msgs, backend.Message{Role: backend.Role(m.Role), Content: m.Content})
		}
		if err = backend.CheckMessages(msgs); err == nil {
			c, err = counter.CountChat(ctx, msgs)
		}
	}
	out.Tokens, out.Source, out.Exact = c.Tokens, c.Source, c.Exact
	return nil, out, err
}

type readInput struct {
	File  string `json:"file"            jsonschema:"its name in the server's folder"`
	Lines string `json:"lines,omitempty" jsonschema:"which lines, such as 20-80"`
	Find  string `json:"find,omitempty"  jsonschema:"show the lines around this phrase"`
}

// readDocument reads as the agent's own command does, within the same rules.
func (s *Server) readDocument(ctx context.Context, _ *sdk.CallToolRequest, in readInput,
) (*sdk.CallToolResult, any, error) {
	reader := stock.Reader()
	entry := map[string]any{"file": in.File}
	for name, value := range map[string]string{"lines": in.Lines, "find": in.Find} {
		if value != "" {
			entry[name] = value
		}
	}
	call := &command.Call{Command: command.ReaderName, Content: []map[string]any{entry}}
	spec := reader.Spec()
	if spec.Effect = command.EffectOf(reader, call); spec.Effect > command.EffectRead {
		return nil, nil, errors.New("only files of the server's folder can be read")
	}
	p := policy.Policy{Mode: policy.ModeNever, Rules: s.cfg.Rules}
	if do, rule := p.Decide(call, spec, s.cfg.Env.WorkDir, false); do != policy.Allow {
		return nil, nil, fmt.Errorf("a rule of the user is against it: %s", rule)
	}
	env := *s.cfg.Env
	res, err := reader.Run(ctx, &env, call)
	if err != nil {
		return nil, nil, err
	}
	return text(res.Text, res.Failed), nil, nil
}
