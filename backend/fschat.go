package backend

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sashabaranov/go-openai"
)

// fastchatServer is where FastChat's API server is by default.
const fastchatServer = "http://127.0.0.1:8000/v1"

const (
	// fastchatRoom is kept free in the context. FastChat's workers cut a prompt on
	// the left, silently, when prompt and reply would fill the context exactly.
	fastchatRoom = 8
	// echoOptionsMax is the most options scored by prompt log-probabilities: each
	// costs the worker the whole prompt.
	echoOptionsMax = 64
	// echoBatch is how many prompts go into one request.
	echoBatch = 16
)

// FastChatConfig configures [NewFastChat]; the keys are those of OpenAIConfig.
type FastChatConfig OpenAIConfig

// FastChat is a model of a FastChat cluster, reached through its API server.
// That server speaks OpenAI's protocol with differences: it counts tokens, has
// neither schemas nor log-probabilities of a chat, tells no usage when it
// streams, and hears one system message only.
type FastChat struct{ *OpenAI }

// NewFastChat makes a backend for one model of a cluster. Nothing is sent yet.
func NewFastChat(cfg FastChatConfig) (*FastChat, error) {
	cfg.ServerIP = or(cfg.ServerIP, fastchatServer)
	o, err := newRemote(OpenAIConfig(cfg),
		dialect{name: "fastchat", systemOnce: true, plain: true, room: fastchatRoom,
			ignored: []string{"seed", "min_p", "repetition_penalty", "reasoning_effort", "logit_bias"}})
	if err != nil {
		return nil, err
	}
	if cfg.Tokenizer == nil {
		o.counter = &tokenCheck{o}
	}
	o.dialect.chooseBy = []chooseMethod{
		{"prompt_logprobs", o.chooseByEcho},
		{"text", o.chooseByReply},
	}
	return &FastChat{o}, nil
}

// tokenCheck counts with the workers' tokenizer, through FastChat's own API.
// It can't render the chat template and adds a start token, so that its counts
// are estimates.
type tokenCheck struct{ o *OpenAI }

type tokenCheckRequest struct {
	Prompts []tokenCheckPrompt `json:"prompts"`
}

type tokenCheckPrompt struct {
	Model     string `json:"model"`
	Prompt    string `json:"prompt"`
	TokensMax int    `json:"max_tokens"`
}

type tokenCheckResponse struct {
	Prompts []struct {
		Fits          bool `json:"fits"`
		TokenCount    int  `json:"tokenCount"`
		ContextLength int  `json:"contextLength"`
	} `json:"prompts"`
}

// CountText asks for the count of a text.
func (c *tokenCheck) CountText(ctx context.Context, text string) (Count, error) {
	if text == "" {
		return Count{Source: "estimate"}, ctx.Err()
	}
	in := tokenCheckRequest{[]tokenCheckPrompt{{Model: c.o.cfg.ModelID, Prompt: text}}}
	var out tokenCheckResponse
	root := strings.TrimSuffix(c.o.cfg.ServerIP, "/v1")
	if err := c.o.post(ctx, root+"/api/v1/token_check", in, &out); err != nil {
		return Count{}, c.o.explain(ctx, "count", err)
	}
	if len(out.Prompts) != 1 || out.Prompts[0].TokenCount <= 0 {
		return Count{}, &Error{Op: c.o.cfg.ModelID + ": count",
			Err:    errors.New("the FastChat server gave no count"),
			Advice: "set llm.tokenizer to the model's tokenizer.json to count here"}
	}
	c.noteContext(out.Prompts[0].ContextLength)
	return Count{Tokens: out.Prompts[0].TokenCount, Source: "estimate"}, nil
}

// noteContext warns when the worker takes less than what is configured.
func (c *tokenCheck) noteContext(length int) {
	if length > 0 && length < c.o.cfg.ContextLength {
		c.o.learn(fmt.Sprintf("llm.context_length=%d", c.o.cfg.ContextLength),
			fmt.Sprintf("its worker takes %d tokens and refuses more", length))
	}
}

// CountChat counts the chat in a plain rendering, with an overhead for what the
// template adds to each message.
func (c *tokenCheck) CountChat(ctx context.Context, msgs []Message) (Count, error) {
	if err := CheckMessages(msgs); err != nil {
		return Count{}, err
	}
	text, err := plainChat(msgs)
	if err != nil {
		return Count{}, err
	}
	count, err := c.CountText(ctx, text)
	if err != nil {
		return Count{}, err
	}
	count.Tokens += overheadUnknown * len(msgs)
	return count, nil
}

// plainChat renders a chat in words, for want of the model's template.
func plainChat(msgs []Message) (string, error) {
	return prompt("plain_chat.md", struct{ Messages []Message }{msgs})
}

// --- log-probabilities of a prompt ---

// chooseByEcho has each option scored as the reply: the prompt with the option
// is sent to be completed by one token, echoed with its log-probabilities. The
// end of an option is a new line, so that one option may begin with another.
func (o *OpenAI) chooseByEcho(ctx context.Context, req *Request, options []Option,
) (*Choice, error) {
	if len(options) > echoOptionsMax {
		return nil, errNoWay
	}
	before, end, err := o.echoPrompt(req, options)
	if err != nil {
		return nil, err
	}
	logs := make([]float64, len(options))
	tokens := make([]int, len(options))
	var usage Usage
	for from := 0; from < len(options); from += echoBatch {
		to := min(from+echoBatch, len(options))
		var ends []string
		for _, option := range options[from:to] {
			ends = append(ends, option.Text+end)
		}
		used, err := o.scoreEnds(ctx, before, ends, logs[from:to], tokens[from:to])
		if err != nil {
			return nil, err
		}
		usage.Add(used)
	}
	o.prove("prompt_logprobs")
	c := choiceOfLogs("logprobs", options, logs).withUsage(&usage)
	for i := range c.Options {
		c.Options[i].Tokens = tokens[i]
	}
	return c, nil
}

// echoPrompt is what stands before an option, and what ends it.
func (o *OpenAI) echoPrompt(req *Request, options []Option) (before, end string, err error) {
	msgs := req.Messages
	end = "\n"
	if cfg := req.Choose; cfg != nil {
		if len(cfg.EndTexts) > 0 {
			end = cfg.EndTexts[0]
		}
		if cfg.List {
			if msgs, err = ListOptions(msgs, options, 0); err != nil {
				return "", "", err
			}
		}
	}
	if renderer, ok := o.cfg.Tokenizer.(ChatRenderer); ok {
		before, err = renderer.RenderChat(msgs)
		return before, end, err
	}
	before, err = plainChat(msgs)
	return before + " ", end, err
}

type completionRequest struct {
	Model       string   `json:"model"`
	Prompt      []string `json:"prompt"`
	Echo        bool     `json:"echo"`
	Logprobs    int      `json:"logprobs"`
	TokensMax   int      `json:"max_tokens"`
	Temperature float64  `json:"temperature"`
}

// scoreEnds fills in the log-probability and number of tokens of each end.
func (o *OpenAI) scoreEnds(ctx context.Context, before string, ends []string, logs []float64,
	tokens []int,
) (Usage, error) {
	prompts := make([]string, len(ends))
	for i, end := range ends {
		prompts[i] = before + end
	}
	// Not through the client library, which refuses this endpoint for names like
	// gpt-3.5-turbo, under which FastChat clusters often serve other models.
	in := completionRequest{Model: o.cfg.ModelID, Prompt: prompts, Echo: true, Logprobs: 1,
		TokensMax: 1}
	var resp openai.CompletionResponse
	if err := o.post(ctx, o.cfg.ServerIP+"/completions", in, &resp); err != nil {
		if remote := toRemoteError(err, o.cfg.APIKey); remote != nil && remote.contextError() == nil &&
			!remote.isModelUnknown() && !remote.isNoKey() {
			o.learn("prompt_logprobs", "choices are made from the text of a reply")
			return Usage{}, errNoWay
		}
		return Usage{}, err
	}
	if len(resp.Choices) != len(ends) || slices.ContainsFunc(resp.Choices,
		func(c openai.CompletionChoice) bool { return len(c.LogProbs.Tokens) == 0 }) {
		o.learn("prompt_logprobs", "choices are made from the text of a reply")
		return Usage{}, errNoWay
	}
	for i, choice := range resp.Choices {
		var ok bool
		if logs[i], tokens[i], ok = endLogprob(&choice.LogProbs, before, ends[i]); !ok {
			return Usage{}, errNoWay
		}
	}
	if resp.Usage == nil {
		return Usage{}, nil
	}
	return *toUsage(resp.Usage), nil
}

// endLogprob adds up the log-probabilities of the tokens that make the end of
// an echoed prompt. Servers differ in whether tokens keep their spaces, whether
// the one generated token is there, and in what offsets count; so the tokens
// are matched from the back without white space, and by offset as a last
// resort.
func endLogprob(l *openai.LogprobResult, before, end string) (sum float64, n int, ok bool) {
	if len(l.TokenLogprobs) != len(l.Tokens) {
		return 0, 0, false
	}
	for _, generated := range []int{1, 0} {
		last := len(l.Tokens) - generated
		if first := matchBack(l.Tokens[:max(last, 0)], end); first > 0 {
			return sumLogprobs(l.TokenLogprobs[first:last]), last - first, true
		}
	}
	if len(l.TextOffset) != len(l.Tokens) {
		return 0, 0, false
	}
	from, to := utf8.RuneCountInString(before), utf8.RuneCountInString(before+end)
	first := slices.IndexFunc(l.TextOffset, func(at int) bool { return at >= from })
	last := slices.IndexFunc(l.TextOffset, func(at int) bool { return at >= to })
	if first <= 0 || last <= first {
		return 0, 0, false
	}
	return sumLogprobs(l.TokenLogprobs[first:last]), last - first, true
}

// matchBack finds the first of the last tokens that spell text; -1 for none.
func matchBack(tokens []string, text string) int {
	want := squash(text)
	have := ""
	for i := len(tokens) - 1; i >= 0 && want != ""; i-- {
		have = squash(tokens[i]) + have
		if len(have) >= len(want) {
			if strings.HasSuffix(have, want) {
				return i
			}
			return -1
		}
		if !strings.HasSuffix(want, have) {
			return -1
		}
	}
	return -1
}

// squash removes white space and the marks that stand for it in vocabularies.
func squash(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '▁' || r == 'Ġ' || r == 'Ċ' {
			return -1
		}
		return r
	}, s)
}

func sumLogprobs(in []float32) (sum float64) {
	for _, v := range in {
		sum += float64(v)
	}
	return sum
}

// choiceOfLogs makes a choice of the log-probabilities of exclusive replies.
func choiceOfLogs(method string, options []Option, logs []float64) *Choice {
	best := slices.Max(logs)
	if math.IsInf(best, -1) || math.IsNaN(best) {
		best = 0
	}
	relative := make([]float64, len(logs)) // to the best, so that nothing underflows
	total := 0.0
	for i, l := range logs {
		relative[i] = math.Exp(l - best)
		total += math.Exp(l)
	}
	c := choiceOf(method, options, relative)
	c.OutsideMass = max(0, 1-total)
	for i := range c.Options {
		c.Options[i].Logprob = logs[i]
	}
	if len(logs) > 1 && c.Index >= 0 {
		second := math.Inf(-1)
		for i, l := range logs {
			if i != c.Index {
				second = max(second, l)
			}
		}
		c.Margin, c.Tie = logs[c.Index]-second, logs[c.Index] == second
	}
	return c
}

// estimateReply counts a reply when the server told no usage: as the backend
// counts, or if that fails by the built-in vocabulary, since a whole reply is
// not thrown away for want of its length.
func (o *OpenAI) estimateReply(ctx context.Context, text string) int {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if n, err := o.counter.CountText(ctx, text); err == nil {
		return n.Tokens
	}
	fallback, err := newTiktokenCounter("")
	if err != nil {
		return 0
	}
	n, err := fallback.counted(text)
	if err != nil {
		return 0
	}
	return n
}
