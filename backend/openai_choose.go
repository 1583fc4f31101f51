package backend

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// chooseMethod is one way to choose. It returns errNoWay when the server can't
// do it, and then the next one is tried.
type chooseMethod struct {
	name string
	run  func(ctx context.Context, req *Request, options []Option) (*Choice, error)
}

// errNoWay says that a way to choose does not work here, this time or ever.
var errNoWay = errors.New("this way to choose does not work here")

const (
	// rotationsMax is how many cyclic orders of the options are averaged over.
	rotationsMax = 4
	// massMin is the least probability that the labels must have together for
	// their proportions to mean something.
	massMin = 0.1
	// decisionOptionsMin and Max are the limits of the decisions endpoint.
	decisionOptionsMin, decisionOptionsMax = 2, 255
	// schemaOptionsMax and schemaBytesMax are OpenAI's limits for an enum.
	schemaOptionsMax, schemaBytesMax = 250, 15_000
	// answerTokens bounds a reply that names an option, besides its own length.
	answerTokens = 32
	// thinkTokens is what models that think first may use besides.
	thinkTokens = 4096
)

// ChooseFromOptions decides in the best way that the server has, and says
// which: "service" (a decisions endpoint), "logprobs" (of the options' letters,
// averaged over orders), "schema" (a reply under an enum) or "text" (a free
// reply matched to an option). What a server lacks is remembered.
//
// The options are always listed, since a server can't be asked for the
// probability of a reply. Calibration and scoring by anything but the sum need
// the model itself and are refused.
func (o *OpenAI) ChooseFromOptions(ctx context.Context, req *Request, options []Option,
) (*Choice, error) {
	start := time.Now()
	c, err := o.chooseFirst(ctx, req, options)
	if err != nil {
		return nil, o.explain(ctx, "choose", err)
	}
	c.Wall = time.Since(start)
	return c, nil
}

func (o *OpenAI) chooseFirst(ctx context.Context, req *Request, options []Option) (*Choice, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkChoose(req, options); err != nil {
		return nil, err
	}
	if err := checkRemoteChoose(req.Choose); err != nil {
		return nil, err
	}
	if _, err := o.admit(ctx, &Request{Messages: req.Messages, Prefill: req.Prefill}); err != nil {
		return nil, err
	}
	for _, method := range o.dialect.chooseBy {
		if o.lacks(method.name) {
			continue
		}
		c, err := method.run(ctx, req, options)
		if errors.Is(err, errNoWay) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return c.withMargin(req.Choose), nil
	}
	return nil, fmt.Errorf("choose: no method works: %w", ErrUnsupported)
}

// checkRemoteChoose refuses what only a model in the process can do.
func checkRemoteChoose(cfg *ChooseConfig) error {
	switch {
	case cfg == nil:
		return nil
	case cfg.Calibrate:
		return fmt.Errorf("choose: calibration on a remote model: %w", ErrUnsupported)
	case cfg.Scoring != "" && cfg.Scoring != ScoreSum:
		return fmt.Errorf("choose: scoring %q on a remote model: %w", cfg.Scoring, ErrUnsupported)
	}
	return nil
}

// withMargin abstains when the lead is smaller than was asked for.
func (c *Choice) withMargin(cfg *ChooseConfig) *Choice {
	if cfg == nil || c.Abstained || !(c.Margin < cfg.MarginMin) {
		return c
	}
	return c.abstain("the lead of %q is %.3f nats, less than %.3f", c.Text, c.Margin, cfg.MarginMin)
}

// --- a decisions endpoint ---

// The types of POST /decisions, as in github.com/openai/openai-go/v3 v3.95.0.
type decisionRequest struct {
	Model     string             `json:"model"`
	Input     []decisionMessage  `json:"input"`
	Questions []decisionQuestion `json:"questions"`
}

type decisionMessage struct {
	Type    string `json:"type"` // "message"
	Role    string `json:"role"`
	Content string `json:"content"`
}

type decisionQuestion struct {
	Type         string           `json:"type"` // "choice"
	Name         string           `json:"name"`
	Instructions string           `json:"instructions"`
	Choices      []decisionChoice `json:"choices"`
}

type decisionChoice struct {
	Value string `json:"value"`
}

type decisionResponse struct {
	Answers []struct {
		Type          string          `json:"type"` // "choice" or "refusal"
		Choice        json.RawMessage `json:"choice"`
		Probabilities []struct {
			Value       json.RawMessage `json:"value"`
			Probability float64         `json:"probability"`
		} `json:"probabilities"`
	} `json:"answers"`
	Usage struct {
		InputTokens        int `json:"input_tokens"`
		InputTokensDetails struct {
			CachedTokens int `json:"cached_tokens"`
		} `json:"input_tokens_details"`
		OutputTokens int `json:"output_tokens"`
	} `json:"usage"`
}

// chooseByService asks the decisions endpoint.
func (o *OpenAI) chooseByService(ctx context.Context, req *Request, options []Option,
) (*Choice, error) {
	if len(options) < decisionOptionsMin || len(options) > decisionOptionsMax || req.Prefill != "" {
		return nil, errNoWay
	}
	instructions, err := prompt("decide.md", nil)
	if err != nil {
		return nil, err
	}
	q := decisionQuestion{Type: "choice", Name: "reply", Instructions: instructions}
	for _, option := range options {
		q.Choices = append(q.Choices, decisionChoice{option.Text})
	}
	in := decisionRequest{Model: o.cfg.ModelID, Questions: []decisionQuestion{q}}
	for _, m := range o.wireMessages(req.Messages) {
		in.Input = append(in.Input, decisionMessage{"message", m.Role, m.Content})
	}
	var out decisionResponse
	if err := o.post(ctx, o.cfg.ServerIP+"/decisions", in, &out); err != nil {
		return nil, o.noDecisions(err)
	}
	return readDecision(&out, options)
}

// noDecisions remembers that there is no such endpoint, or not for this model.
func (o *OpenAI) noDecisions(err error) error {
	remote := toRemoteError(err, o.cfg.APIKey)
	if remote == nil {
		return err
	}
	switch remote.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusForbidden,
		http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusInternalServerError, http.StatusNotImplemented:
		// No warning: most servers have none, and what follows is as good.
		o.mu.Lock()
		o.absent["decisions"] = true
		o.mu.Unlock()
		return errNoWay
	}
	return err
}

// readDecision reads the first answer. An answer that names no option, as a
// refusal does, abstains.
func readDecision(out *decisionResponse, options []Option) (*Choice, error) {
	if len(out.Answers) == 0 {
		return nil, errors.New("decisions: the server gave no answer")
	}
	a := out.Answers[0]
	p := make([]float64, len(options))
	for _, v := range a.Probabilities {
		if i := indexOfJSON(v.Value, options); i >= 0 {
			p[i] = v.Probability
		}
	}
	c := choiceOf("service", options, p)
	known := !c.Abstained
	if !known {
		c.withoutNumbers()
	}
	c.CachedTokens = out.Usage.InputTokensDetails.CachedTokens
	c.EvaluatedTokens = out.Usage.InputTokens - c.CachedTokens
	c.CompletionTokens, c.TokensTold = out.Usage.OutputTokens, out.Usage.InputTokens > 0
	switch i := indexOfJSON(a.Choice, options); {
	case a.Type == "refusal":
		return c.abstain("the server refused to answer"), nil
	case i < 0:
		return nil, fmt.Errorf("decisions: the answer %s is none of the options",
			firstRunes(string(a.Choice), 100))
	case known && c.Options[i].Probability < c.Options[c.Index].Probability:
		return nil, errors.New("decisions: the answer is not the most probable of the server's own probabilities")
	default:
		return c.pick(i), nil
	}
}

// withoutNumbers makes all that is computed of probabilities unknown: a server
// that told none has not measured that they are 0.
func (c *Choice) withoutNumbers() {
	for i := range c.Options {
		c.Options[i].Logprob, c.Options[i].Probability = math.NaN(), math.NaN()
	}
	c.Margin, c.OutsideMass, c.Tie = math.NaN(), math.NaN(), false
}

func indexOfJSON(value json.RawMessage, options []Option) int {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return -1
	}
	return slices.IndexFunc(options, func(o Option) bool { return o.Text == text })
}

// choiceOf makes a choice of unnormalised probabilities, of which the most
// probable wins. All zero abstains.
func choiceOf(method string, options []Option, p []float64) *Choice {
	c := &Choice{Index: -1, Method: method}
	sum := 0.0
	for _, v := range p {
		sum += v
	}
	c.OutsideMass = max(0, 1-sum)
	order := inOrder(len(p), 0)
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[b], p[a]) })
	for i, o := range options {
		normal := math.NaN()
		if sum > 0 {
			normal = p[i] / sum
		}
		c.Options = append(c.Options, ScoredOption{Text: o.Text, Logprob: math.Log(p[i]),
			Probability: normal})
	}
	if sum <= 0 {
		c.Margin = math.NaN()
		return c.abstain("no option has any probability")
	}
	c.pick(order[0])
	c.Margin = math.Inf(1)
	if len(p) > 1 {
		c.Margin = math.Log(p[order[0]]) - math.Log(p[order[1]])
		c.Tie = p[order[0]] == p[order[1]]
	}
	return c
}

// --- log-probabilities of letters ---

// chooseByLogprobs lists the options with letters, asks for one token and reads
// the letters' probabilities, averaged over cyclic orders so that no place in
// the list is favoured.
func (o *OpenAI) chooseByLogprobs(ctx context.Context, req *Request, options []Option,
) (*Choice, error) {
	n := len(options)
	if n > TopLogprobsMax || o.info.Reasoning || req.Prefill != "" {
		return nil, errNoWay
	}
	rotations := min(n, rotationsMax)
	answers := make([]labelAnswer, rotations)
	errs := make([]error, rotations)
	// alone, since it may not work at all
	answers[0], errs[0] = o.askLabel(ctx, req, options, inOrder(n, 0))
	if errs[0] == nil {
		var wg sync.WaitGroup
		for r := 1; r < rotations; r++ {
			wg.Go(func() { answers[r], errs[r] = o.askLabel(ctx, req, options, inOrder(n, r*n/rotations)) })
		}
		wg.Wait()
	}
	if err := cmp.Or(errs...); err != nil { // the first
		return nil, err
	}
	p := make([]float64, n)
	var usage Usage
	for _, a := range answers {
		for i := range p {
			p[i] += a.p[i] / float64(rotations)
		}
		usage.Add(a.usage)
	}
	c := choiceOf("logprobs", options, p)
	if 1-c.OutsideMass < massMin {
		return nil, errNoWay // the model says something else than a letter
	}
	usage.Told = answers[0].usage.Told // one server has one habit
	return c.withUsage(&usage), nil
}

// labelAnswer is each option's probability in one order of the list.
type labelAnswer struct {
	p     []float64
	usage Usage
}

func (o *OpenAI) askLabel(ctx context.Context, req *Request, options []Option, order []int,
) (labelAnswer, error) {
	labels := listOptions(options, order)
	text, err := prompt("choose_labels.md", struct{ Options []labelled }{labels})
	if err != nil {
		return labelAnswer{}, err
	}
	ask := &Request{Messages: appendToLast(req.Messages, text),
		Sampling:  (&Sampling{Temperature: new(0.0)}).Merge(req.Sampling),
		TokensMax: 1, Logprobs: true, TopLogprobs: TopLogprobsMax}
	_, last, err := o.collect(ctx, ask)
	if err != nil {
		if o.lacks("logprobs") && ctx.Err() == nil {
			return labelAnswer{}, errNoWay
		}
		return labelAnswer{}, err
	}
	if len(last.Tokens) == 0 {
		o.learn("logprobs", "choices are made in another way")
		return labelAnswer{}, errNoWay
	}
	a := labelAnswer{p: make([]float64, len(options)), usage: *last.Usage}
	for _, token := range rivals(last.Tokens[0]) {
		for place, l := range labels {
			if strings.Trim(token.Text, " ()") == l.Label {
				a.p[order[place]] += math.Exp(token.Logprob)
			}
		}
	}
	return a, nil
}

// rivals are the most likely tokens at one place, the one drawn included.
func rivals(t TokenLogprob) []TokenLogprob {
	if slices.ContainsFunc(t.Top, func(r TokenLogprob) bool { return r.Text == t.Text }) {
		return t.Top
	}
	return append([]TokenLogprob{t}, t.Top...)
}

// collect runs a request without the errors being explained twice.
func (o *OpenAI) collect(ctx context.Context, req *Request) (text string, last Delta, err error) {
	var buf strings.Builder
	err = o.chat(ctx, req, func(d Delta, err error) bool {
		buf.WriteString(d.Text)
		d.Tokens = append(last.Tokens, d.Tokens...)
		last = d
		return err == nil
	})
	return buf.String(), last, err
}

// --- a reply under an enum ---

// chooseBySchema asks for JSON whose one field is an enum of the options.
func (o *OpenAI) chooseBySchema(ctx context.Context, req *Request, options []Option,
) (*Choice, error) {
	bytes := 0
	for _, option := range options {
		bytes += len(option.Text)
	}
	if o.lacks("response_format") || len(options) > schemaOptionsMax || bytes > schemaBytesMax ||
		req.Prefill != "" {
		return nil, errNoWay
	}
	schema, err := json.Marshal(map[string]any{
		"type": "object",
		"properties": map[string]any{"choice": map[string]any{"type": "string",
			"enum": optionTexts(options)}},
		"required":             []string{"choice"},
		"additionalProperties": false,
	})
	if err != nil {
		return nil, err
	}
	ask, err := o.askText(req, options)
	if err != nil {
		return nil, err
	}
	ask.Schema = schema
	reply, last, err := o.collect(ctx, ask)
	if err != nil && o.lacks("response_format") && ctx.Err() == nil {
		return nil, errNoWay // found out just now, and the model did not keep to it
	}
	if err != nil {
		return nil, err
	}
	var out struct {
		Choice *string `json:"choice"`
	}
	if json.Unmarshal([]byte(reply), &out) != nil || out.Choice == nil {
		o.learn("response_format", "replies are matched to the options by their text")
		return ChooseByText(reply, options).withUsage(last.Usage), nil
	}
	c := ChooseByText(*out.Choice, options).withUsage(last.Usage)
	if i := slices.IndexFunc(options, func(o Option) bool { return o.Text == *out.Choice }); i >= 0 {
		c.Method = "schema"
	}
	return c, nil
}

// --- a free reply ---

// chooseByReply lets the model reply freely and matches what it says.
func (o *OpenAI) chooseByReply(ctx context.Context, req *Request, options []Option,
) (*Choice, error) {
	ask, err := o.askText(req, options)
	if err != nil {
		return nil, err
	}
	reply, last, err := o.collect(ctx, ask)
	if err != nil {
		return nil, err
	}
	return ChooseByText(reply, options).withUsage(last.Usage), nil
}

func (c *Choice) withUsage(u *Usage) *Choice {
	if u != nil {
		c.EvaluatedTokens, c.CachedTokens = u.EvaluatedTokens, u.CachedTokens
		c.CompletionTokens, c.TokensTold = u.CompletionTokens, u.Told
	}
	return c
}

// askText is the request that lists the options and asks for one.
func (o *OpenAI) askText(req *Request, options []Option) (*Request, error) {
	msgs, err := ListOptions(req.Messages, options, 0)
	if err != nil {
		return nil, err
	}
	longest := 0
	for _, option := range options {
		longest = max(longest, len(option.Text))
	}
	ask := &Request{Messages: msgs, Prefill: req.Prefill,
		Sampling:  (&Sampling{Temperature: new(0.0)}).Merge(req.Sampling),
		TokensMax: answerTokens + longest}
	if o.info.Reasoning {
		ask.TokensMax += thinkTokens
	}
	return ask, nil
}
