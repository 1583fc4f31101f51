// Package backend defines what every language model looks like to the rest of
// the program: a local GGUF file, a FastChat cluster, OpenAI, or a person at a
// terminal. Code above this package never asks which one it talks to; where
// the difference matters, the result itself says how it was obtained.
//
// Use a [LanguageBackend] directly, or wrapped in middleware ([WithHistory],
// [WithLog]). Optional abilities are found with
// [CapabilitiesOf] and with the small interfaces of this file.
//
// Promises: input that does not fit is a [ContextError] with both numbers,
// never a silent truncation; a count is exact or labelled an estimate; a
// choice carries the numbers it was made from, and may abstain.
package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// ChatRefusedError: the model's chat template does not take these messages. It is the
// request that can be changed, or the template.
type ChatRefusedError struct{ Err error }

func (e *ChatRefusedError) Error() string { return e.Err.Error() }
func (e *ChatRefusedError) Unwrap() error { return e.Err }

// LanguageBackend is a language model that chats, counts and decides.
//
// Implementations are safe for concurrent use. Every call honours its context:
// a cancelled context ends the work and yields ctx.Err().
type LanguageBackend interface {
	// ModelID names the model as its users would, for logs and results.
	ModelID() string
	// ContextLength is the most tokens that prompt and reply may take together.
	ContextLength() int
	// CountTokens counts the tokens of the rendered chat, with the model's own
	// template and the generation prompt. The count is exact; a backend that can
	// only estimate says so through [Counter].
	CountTokens(ctx context.Context, msgs []Message) (int, error)
	// ChatCompletion streams one reply. Breaking out of the loop cancels the
	// work. The last Delta carries Finish and Usage. A non-nil error is the last
	// thing yielded.
	ChatCompletion(ctx context.Context, req *Request) iter.Seq2[Delta, error]
	// ChooseFromOptions decides which option the model would reply. Duplicate
	// or empty options are refused. req.Choose selects the method.
	ChooseFromOptions(ctx context.Context, req *Request, options []Option) (*Choice, error)
}

// Role says who speaks in a [Message].
type Role string

// The roles that every chat template knows. Tool results are data: they travel
// as RoleUser or RoleTool, never as RoleSystem.
const (
	RoleSystem    Role = "system"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one turn of a chat.
type Message struct {
	Role    Role   `json:"role"`
	Content string `json:"content"`
	Name    string `json:"name,omitempty"`
	// Calls are what the assistant asked for after Content. The result of each is a later
	// message of [RoleTool]. Needs a [ToolUser].
	Calls []ToolCall `json:"tool_calls,omitempty"`
}

// Tool is a function that a model may ask its caller to call.
type Tool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"` // a JSON Schema of an object
}

// ToolCall is a model's wish to have a function called.
type ToolCall struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"` // a JSON object
}

// ToolSyntax is the text around the name and the arguments of a call, as a model writes it
// into its reply: Open NAME Middle ARGUMENTS Close. Next stands between the calls of one
// reply, Open included; empty: there is only one.
type ToolSyntax struct{ Open, Middle, Close, Next string }

// ToolUser is implemented by backends whose prompts can offer tools.
type ToolUser interface {
	// ToolSyntax is that of the model's chat template, or one that any model can be told.
	ToolSyntax(ctx context.Context) (ToolSyntax, error)
	// CountPrompt counts the tokens of a request's prompt, tools and the prefilled part of the
	// reply included.
	CountPrompt(ctx context.Context, req *Request) (int, error)
	// ToolSchema makes a schema of arguments one that can be enforced. strict: it is
	// refused where something has to be left out.
	ToolSchema(schema json.RawMessage, strict bool) (json.RawMessage, error)
}

// Request is one prompt with everything that may vary per call. The zero value
// of each field means the backend's default.
type Request struct {
	Messages []Message
	// Tools are offered to the model. The reply is text as always: see [ToolUser] for how a
	// call is written.
	Tools []Tool `json:",omitempty"`
	// Prefill is the start of the assistant's reply, which the model continues;
	// it is not repeated in the deltas. Needs [Capabilities].Prefill.
	Prefill string
	// Sampling overrides the backend's generation settings field by field.
	Sampling *Sampling
	// TokensMax bounds the reply, in tokens; 0 means until the model ends it or
	// the context is full.
	TokensMax int
	// Stop ends the reply before the first of these strings; the string itself
	// is not part of the reply.
	Stop []string
	// StopTokens end the reply as the model's own end tokens do, by their ids in
	// its vocabulary; they are not part of it. Needs [Capabilities].StopTokens.
	StopTokens []int `json:",omitempty"`
	// Until, if set, ends the reply once it is true of the text so far. It must
	// be quick. A backend that does not see each token may ignore it.
	Until func(reply string) bool `json:"-"`
	// Schema is a JSON Schema that the reply must satisfy; Grammar is GBNF. At
	// most one of them.
	Schema  json.RawMessage
	Grammar string
	// Logprobs asks for the log-probability of each reply token, and of its
	// TopLogprobs most likely rivals (0 to 20).
	Logprobs    bool
	TopLogprobs int
	// Choose configures ChooseFromOptions; nil means scoring by sum.
	Choose *ChooseConfig
}

// Sampling is how the next token is drawn. A nil field is the backend's
// default; a pointer to zero is zero (temperature 0 is greedy).
type Sampling struct {
	Temperature   *float64 `json:"temperature,omitempty" yaml:"temperature"`
	TopK          *int     `json:"top_k,omitempty" yaml:"top_k"`
	TopP          *float64 `json:"top_p,omitempty" yaml:"top_p"`
	MinP          *float64 `json:"min_p,omitempty" yaml:"min_p"`
	RepeatPenalty *float64 `json:"repeat_penalty,omitempty" yaml:"repeat_penalty"`
	Seed          *uint32  `json:"seed,omitempty" yaml:"seed"`

	// FrequencyPenalty, PresencePenalty and LogitBias are as OpenAI has them; keys of LogitBias
	// are token ids of the model.
	FrequencyPenalty *float64          `json:"frequency_penalty,omitempty" yaml:"-"`
	PresencePenalty  *float64          `json:"presence_penalty,omitempty" yaml:"-"`
	LogitBias        map[int32]float64 `json:"logit_bias,omitempty" yaml:"-"`
}

// Merge returns s with every nil field taken from base. Either may be nil.
func (s *Sampling) Merge(base *Sampling) *Sampling {
	out := Sampling{}
	for _, from := range []*Sampling{base, s} {
		if from == nil {
			continue
		}
		set(&out.Temperature, from.Temperature)
		set(&out.TopK, from.TopK)
		set(&out.TopP, from.TopP)
		set(&out.MinP, from.MinP)
		set(&out.RepeatPenalty, from.RepeatPenalty)
		set(&out.Seed, from.Seed)
		set(&out.FrequencyPenalty, from.FrequencyPenalty)
		set(&out.PresencePenalty, from.PresencePenalty)
		if len(from.LogitBias) > 0 {
			out.LogitBias = from.LogitBias
		}
	}
	return &out
}

func set[T any](dst **T, src *T) {
	if src != nil {
		*dst = src
	}
}

// FinishReason says why a reply ended.
type FinishReason string

// Why a reply ended.
const (
	FinishStop    FinishReason = "stop"    // the model ended it, or a stop string came
	FinishLength  FinishReason = "length"  // TokensMax was reached
	FinishContext FinishReason = "context" // the context is full
	FinishCalls   FinishReason = "calls"   // the model wants tools called
)

// Delta is a piece of a reply. Text is always whole UTF-8 runes.
type Delta struct {
	Text string
	// Thought is a piece of what the model thinks before its reply. It is no part of the
	// reply, comes in deltas of its own, and is not sent back to a model.
	Thought string
	Count   int            // reply tokens that came with this delta; 0 where the backend does not know
	Tokens  []TokenLogprob // only when Request.Logprobs
	Finish  FinishReason   // on the last delta
	// on the last delta: the string of Request.Stop that ended the reply, if one did and it is known
	Stop  string
	Usage *Usage // on the last delta
	// Call is a piece of a call: its ID and Name come first, then Arguments bit by bit. Only
	// of [CallTools].
	Call *CallDelta
}

// CallDelta is a piece of the call with that index in a reply.
type CallDelta struct {
	Index     int
	ID, Name  string
	Arguments string
}

// TokenLogprob is a reply token with its natural-log probability under the
// model's unmodified distribution.
type TokenLogprob struct {
	ID      int            `json:"id,omitempty"`
	Text    string         `json:"token"`
	Bytes   []byte         `json:"bytes,omitempty"`
	Logprob float64        `json:"logprob"`
	Top     []TokenLogprob `json:"top_logprobs,omitempty"`
}

// Option is one answer that may be chosen.
type Option struct {
	Text string `json:"text"`
}

// Options makes options of plain texts.
func Options(texts ...string) []Option {
	out := make([]Option, len(texts))
	for i, t := range texts {
		out[i] = Option{Text: t}
	}
	return out
}

// Scoring names how an option's token log-probabilities become one score.
type Scoring string

// Scoring methods. Only ScoreSum gives probabilities of exclusive strings; the
// others rank.
const (
	ScoreSum     Scoring = "sum"      // log p(option + end), the default
	ScoreMean    Scoring = "mean"     // log p(option) / tokens
	ScorePerByte Scoring = "per_byte" // log p(option) / bytes
	ScorePMI     Scoring = "pmi"      // log p(option|prompt) - log p(option|empty prompt)
)

// ChooseConfig configures ChooseFromOptions.
type ChooseConfig struct {
	Scoring Scoring
	// List appends the options to the last user message, so that the model has
	// seen them before it is asked.
	List bool
	// ListAt is where the last user message is parted: after so many bytes, a
	// question, come the options, and then the rest, a text that the question is
	// about. Decisions about several texts then share all but these, and Calibrate
	// replaces the text alone. 0: the options come last. Only a model in the process
	// minds it.
	ListAt int
	// Rotate averages over cyclic rotations of the listed order (needs List).
	Rotate bool
	// Calibrate subtracts the score under a content-free prompt (contextual
	// calibration, Zhao et al. 2021, arXiv:2102.09690).
	Calibrate bool
	// MarginMin abstains when the winner's lead, in nats, is smaller.
	MarginMin float64
	// EndTexts are continuations that also count as the end of an option, for
	// an option in the middle of a reply ("\n" after a command's name). Empty:
	// only the model's end-of-generation tokens.
	EndTexts []string
}

// Choice is a decision with its evidence. Index is -1 when Abstained.
type Choice struct {
	Index int
	Text  string
	// Method says how the choice was obtained: "logits/sum" (and the like: scored
	// in process), "service" (a decisions endpoint), "logprobs" (token
	// log-probabilities of a server), "schema" (a reply under an enum), "text" (a
	// free reply matched to an option), "human", "scripted" or "random".
	Method          string
	Abstained       bool
	Reason          string // why it abstained
	Tie             bool
	Margin          float64 // winner's lead over the runner-up, nats
	OutsideMass     float64 // probability of replies that are none of the options; NaN when unknown
	Options         []ScoredOption
	EvaluatedTokens int
	CachedTokens    int
	// CompletionTokens were generated to decide; 0 for methods that only score.
	CompletionTokens int
	// TokensTold is set when the numbers of tokens are those of the server that
	// did the work; see [Usage].
	TokensTold bool
	Wall       time.Duration
}

// Scored reports probabilities that a model gave, not the certainty of a script or
// a person, or a reply that was read.
func (c *Choice) Scored() bool {
	return strings.HasPrefix(c.Method, "logits") || c.Method == "service" || c.Method == "logprobs"
}

// Usage is the cost of the choice as that of a call.
func (c *Choice) Usage() Usage {
	return Usage{PromptTokens: c.EvaluatedTokens + c.CachedTokens, EvaluatedTokens: c.EvaluatedTokens,
		CachedTokens: c.CachedTokens, CompletionTokens: c.CompletionTokens, Told: c.TokensTold}
}

// ScoredOption is an option with its score. Logprob is the natural log of the
// probability that the option is the whole reply (for ScoreSum; else the
// method's score). Probability is normalised over the options. NaN means that
// the method gives no such number.
type ScoredOption struct {
	Text        string
	Logprob     float64
	Probability float64
	Tokens      int
	// Distance is the normalised edit distance between the option and the reply
	// (0 same, 1 nothing in common). Only the method "text" has it.
	Distance float64
}

// Count is a number of tokens and how it was obtained.
type Count struct {
	Tokens int    `json:"tokens"`
	IDs    []int  `json:"ids,omitempty"`
	Source string `json:"source"` // "tokenizer.json", "gguf", "tiktoken" or "estimate"
	Exact  bool   `json:"-"`
}

// Counter is implemented by backends that can say where a count comes from.
type Counter interface {
	// CountText counts plain text with no template; text of special tokens is
	// ordinary text.
	CountText(ctx context.Context, text string) (Count, error)
	// CountChat counts the rendered chat.
	CountChat(ctx context.Context, msgs []Message) (Count, error)
}

// Embedder is implemented by backends that embed text.
type Embedder interface {
	// Embed returns one unit-length vector per text, and the tokens evaluated.
	Embed(ctx context.Context, texts []string) (vectors [][]float32, tokens int, err error)
}

// Capabilities are what a backend can do beyond the interface.
type Capabilities struct {
	Prefill     bool // Request.Prefill is honoured
	Grammar     bool // Request.Grammar is honoured
	Schema      bool // Request.Schema is enforced
	Logprobs    bool // Request.Logprobs is honoured
	ExactChoice bool // choices come from log-probabilities
	StopTokens  bool // Request.StopTokens is honoured
}

// Capable is implemented by backends with extras; see [CapabilitiesOf].
type Capable interface{ Capabilities() Capabilities }

// Sized is implemented by backends that know how large their model is.
type Sized interface{ Parameters() int64 }

// ParametersOf is the number of parameters of b's model, looking through
// middleware; 0 where nobody knows.
func ParametersOf(b LanguageBackend) int64 {
	if s, ok := As[Sized](b); ok {
		return s.Parameters()
	}
	return 0
}

// Wrapper is implemented by middleware, so that extras of the wrapped backend
// are found through it.
type Wrapper interface{ Unwrap() LanguageBackend }

// CapabilitiesOf finds the capabilities of b, looking through middleware.
func CapabilitiesOf(b LanguageBackend) Capabilities {
	if c, ok := As[Capable](b); ok {
		return c.Capabilities()
	}
	return Capabilities{}
}

// As finds the first backend in b's chain of wrappers that implements T.
func As[T any](b LanguageBackend) (T, bool) {
	for b != nil {
		if t, ok := b.(T); ok {
			return t, true
		}
		w, ok := b.(Wrapper)
		if !ok {
			break
		}
		b = w.Unwrap()
	}
	var zero T
	return zero, false
}

// ContextError reports input that does not fit. Nothing was truncated.
type ContextError struct {
	Tokens int // tokens of the prompt
	Max    int // context length
	// AtLeast: it was too long by far, and not read to its end.
	AtLeast bool
}

func (e *ContextError) Error() string {
	if e.AtLeast {
		return fmt.Sprintf("prompt has at least %d tokens, more than the context length of %d", e.Tokens,
			e.Max)
	}
	return fmt.Sprintf("prompt has %d tokens, more than the context length of %d", e.Tokens, e.Max)
}

// Hint says what a person can do about it.
func (e *ContextError) Hint() string {
	return "shorten the input, or set llm.context_length=N (up to what the model was trained for)"
}

// Error is a failed operation with advice. Op is "model: verb".
type Error struct {
	Op     string
	Err    error
	Advice string
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it; empty when there is no advice.
func (e *Error) Hint() string { return e.Advice }

// ErrUnsupported is wrapped by errors for a request that a backend can't serve.
var ErrUnsupported = errors.New("not supported by this backend")

// Collect runs a streamed completion to its end and returns the whole reply.
// On error the text so far is returned with it.
func Collect(seq iter.Seq2[Delta, error]) (text string, last Delta, err error) {
	var buf []byte
	for d, e := range seq {
		if e != nil {
			return string(buf), last, e
		}
		buf = append(buf, d.Text...)
		d.Tokens = append(last.Tokens, d.Tokens...)
		last = d
	}
	return string(buf), last, nil
}

// CheckOptions refuses what no method can decide between: fewer than one
// option, more than OptionsMax, empty ones, duplicates.
func CheckOptions(options []Option) error {
	if len(options) == 0 {
		return errors.New("choose: no options given")
	}
	if len(options) > OptionsMax {
		return fmt.Errorf("choose: %d options given, at most %d are supported", len(options), OptionsMax)
	}
	seen := make(map[string]int, len(options))
	for i, o := range options {
		if o.Text == "" {
			return fmt.Errorf("choose: option %d is empty", i+1)
		}
		if j, dup := seen[o.Text]; dup {
			return fmt.Errorf("choose: options %d and %d are the same: %q", j+1, i+1, o.Text)
		}
		seen[o.Text] = i
	}
	return nil
}

// OptionsMax bounds one choice.
const OptionsMax = 1000
