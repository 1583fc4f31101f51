package backend

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// ErrScriptEnded is wrapped by the error of a [Scripted] backend that is asked
// more often than its script has answers.
var ErrScriptEnded = errors.New("the script has ended")

// ScriptedConfig configures [NewScripted]. Either the lists or the functions
// answer; a function wins over its list.
type ScriptedConfig struct {
	ModelID       string `yaml:"model_id"`       // default "scripted"
	ContextLength int    `yaml:"context_length"` // default 8192
	Parameters    int64  `yaml:"parameters"`     // size of the model that is played; 0: not known

	// Replies are given in order, one for each chat completion.
	Replies []string `yaml:"replies"`
	// Choices are the texts of the options to choose, in order.
	Choices []string `yaml:"choices"`

	// Reply and Choose answer by code. They may be called concurrently.
	Reply  func(ctx context.Context, req *Request) (string, error)                    `yaml:"-"`
	Choose func(ctx context.Context, req *Request, options []Option) (*Choice, error) `yaml:"-"`

	// DeltaDelay is the pause before each delta, to look like a slow model.
	DeltaDelay time.Duration `yaml:"delta_delay"`
	// Claims replaces the capabilities, for testing code that asks for them. The
	// script must then keep to what is claimed.
	Claims *Capabilities `yaml:"-"`
}

// Scripted is a backend that answers from a script: for tests, demonstrations
// and debugging what stands above a model. It keeps all promises of a real
// one: context length, stop strings, limits, cancellation, streaming.
//
// Its tokens are pieces of words of at most 8 bytes, a simple stated rule;
// counts are labelled an estimate of what a real model would need.
type Scripted struct {
	cfg ScriptedConfig

	mu      sync.Mutex
	replies int // answers given so far
	choices int
}

// NewScripted makes a scripted backend.
func NewScripted(cfg ScriptedConfig) *Scripted {
	if cfg.ModelID == "" {
		cfg.ModelID = "scripted"
	}
	if cfg.ContextLength == 0 {
		cfg.ContextLength = 8192
	}
	return &Scripted{cfg: cfg}
}

// NewRandom makes a backend that replies with random words and chooses a random
// option, the same for the same seed and order of calls. It shows what a
// harness does when the model makes no sense.
func NewRandom(cfg ScriptedConfig, seed uint64) *Scripted {
	if cfg.ModelID == "" {
		cfg.ModelID = "random"
	}
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	intN := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	cfg.Reply = func(context.Context, *Request) (string, error) { return randomWords(intN), nil }
	cfg.Choose = func(_ context.Context, _ *Request, options []Option) (*Choice, error) {
		return uniformChoice(options, intN(len(options))), nil
	}
	return NewScripted(cfg)
}

// randomWords makes 3 to 12 words of 1 to 9 lower-case letters.
func randomWords(intN func(int) int) string {
	var out []byte
	for range 3 + intN(10) {
		if len(out) > 0 {
			out = append(out, ' ')
		}
		for range 1 + intN(9) {
			out = append(out, byte('a'+intN(26)))
		}
	}
	return string(out)
}

// uniformChoice is option i, with the probabilities of a blind draw.
func uniformChoice(options []Option, i int) *Choice {
	c := &Choice{Index: i, Text: options[i].Text, Method: "random", Tie: len(options) > 1,
		OutsideMass: 0}
	p := 1 / float64(len(options))
	for _, o := range options {
		c.Options = append(c.Options, ScoredOption{Text: o.Text, Logprob: math.Log(p), Probability: p,
			Tokens: len(scriptTokens(o.Text))})
	}
	return c
}

// ModelID is the configured name.
func (s *Scripted) ModelID() string { return s.cfg.ModelID }

// ContextLength is the configured length.
func (s *Scripted) ContextLength() int { return s.cfg.ContextLength }

// Parameters is the configured size.
func (s *Scripted) Parameters() int64 { return s.cfg.Parameters }

// Capabilities of a script: it can follow a prefill and knows (with certainty)
// each token's probability.
func (s *Scripted) Capabilities() Capabilities {
	if s.cfg.Claims != nil {
		return *s.cfg.Claims
	}
	return Capabilities{Prefill: true, Logprobs: true}
}

// CountTokens counts by the rule of the type, with four tokens of overhead for
// each message and three for the reply's start.
func (s *Scripted) CountTokens(ctx context.Context, msgs []Message) (int, error) {
	c, err := s.CountChat(ctx, msgs)
	return c.Tokens, err
}

// CountText counts by the rule of the type.
func (s *Scripted) CountText(ctx context.Context, text string) (Count, error) {
	return Count{Tokens: len(scriptTokens(text)), Source: "estimate"}, ctx.Err()
}

// CountChat counts like CountTokens.
func (s *Scripted) CountChat(ctx context.Context, msgs []Message) (Count, error) {
	if err := CheckMessages(msgs); err != nil {
		return Count{}, err
	}
	n := 3
	for _, m := range msgs {
		n += 4 + len(scriptTokens(m.Content))
	}
	return Count{Tokens: n, Source: "estimate"}, ctx.Err()
}

// ChatCompletion streams the script's next reply. A reply that begins with the
// request's Prefill continues after it.
func (s *Scripted) ChatCompletion(ctx context.Context, req *Request) iter.Seq2[Delta, error] {
	return Stream(ctx, s, req, func(yield func(string, error) bool) {
		reply, err := s.nextReply(ctx, req)
		if err != nil {
			yield("", err)
			return
		}
		for _, token := range scriptTokens(strings.TrimPrefix(reply, req.Prefill)) {
			err := sleep(ctx, s.cfg.DeltaDelay)
			if !yield(token, err) || err != nil {
				return
			}
		}
	})
}

func (s *Scripted) nextReply(ctx context.Context, req *Request) (string, error) {
	if s.cfg.Reply != nil {
		return s.cfg.Reply(ctx, req)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replies >= len(s.cfg.Replies) {
		return "", fmt.Errorf("%s: reply %d was asked for, %d are written: %w",
			s.cfg.ModelID, s.replies+1, len(s.cfg.Replies), ErrScriptEnded)
	}
	s.replies++
	return s.cfg.Replies[s.replies-1], nil
}

// ChooseFromOptions gives the script's next choice. A choice that is not among
// the options is an error, since the script is then out of step.
func (s *Scripted) ChooseFromOptions(ctx context.Context, req *Request, options []Option,
) (*Choice, error) {
	if err := CheckOptions(options); err != nil {
		return nil, err
	}
	prompt, err := Admit(ctx, s, req)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	var c *Choice
	if s.cfg.Choose != nil {
		c, err = s.cfg.Choose(ctx, req, options)
	} else {
		c, err = s.nextChoice(options)
	}
	if err != nil {
		return nil, err
	}
	c.EvaluatedTokens, c.Wall = prompt, time.Since(start)
	return c, nil
}

func (s *Scripted) nextChoice(options []Option) (*Choice, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.choices >= len(s.cfg.Choices) {
		return nil, fmt.Errorf("%s: choice %d was asked for, %d are written: %w",
			s.cfg.ModelID, s.choices+1, len(s.cfg.Choices), ErrScriptEnded)
	}
	want := s.cfg.Choices[s.choices]
	c, err := ChooseOption("scripted", want, options)
	if err != nil {
		return nil, fmt.Errorf("%s: choice %d: %w", s.cfg.ModelID, s.choices+1, err)
	}
	s.choices++
	return c, nil
}

// ChooseOption makes the choice of the option with the given text, with
// certainty: for scripts, people and other sources that give no probabilities
// and leave no doubt.
func ChooseOption(method, text string, options []Option) (*Choice, error) {
	c := &Choice{Index: -1, Text: text, Method: method, Margin: math.Inf(1)}
	for i, o := range options {
		p := 0.0
		if o.Text == text {
			c.Index, p = i, 1
		}
		c.Options = append(c.Options, ScoredOption{Text: o.Text, Logprob: math.Log(p), Probability: p})
	}
	if c.Index < 0 {
		return nil, fmt.Errorf("%q is not among the %d options; the nearest is %q", text, len(options),
			nearest(text, optionTexts(options)))
	}
	return c, nil
}

func optionTexts(options []Option) []string {
	out := make([]string, len(options))
	for i, o := range options {
		out[i] = o.Text
	}
	return out
}

// nearest is the candidate with the smallest edit distance, empty for none.
func nearest(text string, candidates []string) string {
	best, bestDistance := "", math.MaxInt
	for _, c := range candidates {
		d := levenshtein.ComputeDistance(firstRunes(text, textCompareRunes),
			firstRunes(c, textCompareRunes))
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// scriptTokenBytes is the longest token of a script, in bytes.
const scriptTokenBytes = 8

// scriptTokens divides text into whole-rune pieces: a word with the space
// before it, in parts of at most scriptTokenBytes.
func scriptTokens(text string) []string {
	var out []string
	start, inWord := 0, false
	for i, r := range text {
		space := unicode.IsSpace(r)
		full := i+utf8.RuneLen(r)-start > scriptTokenBytes
		if i > start && (full || space && inWord) {
			out = append(out, text[start:i])
			start = i
		}
		inWord = !space
	}
	if start < len(text) {
		out = append(out, text[start:])
	}
	return out
}

// sleep waits unless the context ends first; it always looks at the context.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
