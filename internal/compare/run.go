// Package compare asks several language models the same questions and says how
// they differ: in what is right, in what they agree on, in time and in cost.
//
//	tasks, err := compare.ReadTasks(file)
//	report := compare.Run(ctx, models, tasks, compare.Config{})
//	err = report.WriteHTML(page)
//
// Promises: every model gets the same tasks in the same form; a call that fails
// is a result with its error and never ends the comparison; when the context
// ends, the report holds what was done; each result says how it was obtained,
// by which method and whether its tokens were counted or estimated.
package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"agent/backend"
	"agent/internal/legible"
)

// Model is one configuration to compare.
type Model struct {
	Name  string
	Price *Price // nil: unknown
	// Open makes the backend when its turn comes, so that only one model has to
	// be in memory, and close lets go of it.
	Open func(ctx context.Context) (b backend.LanguageBackend, close func(), err error)
	// TokensMax overrides Config.TokensMax; a model that thinks first needs more.
	TokensMax int
	// Temperature overrides Config.Temperature.
	Temperature *float64
}

// Price is the price of a million tokens.
type Price struct {
	Input       float64  `json:"input"`
	CachedInput *float64 `json:"cached_input,omitempty"` // nil: as Input
	Output      float64  `json:"output"`
	Currency    string   `json:"currency"`
}

// priceTokens is the number of tokens that a price is for.
const priceTokens = 1e6

// Config says how to ask. The zero value is usable.
type Config struct {
	System      string                // system message before each prompt
	Choose      *backend.ChooseConfig // for decisions; nil: the options are listed
	TokensMax   int                   // of a reply; 0: TokensMaxDefault
	Temperature *float64              // nil: 0, so that a run can be repeated
	Parallel    int                   // tasks of one model at the same time; 0: 1
	// Progress is told after each task, possibly from several goroutines at once.
	Progress func(model string, done, tasks int)
}

// TokensMaxDefault bounds replies where nothing else does, so that a model that
// does not find an end costs a bounded time.
const TokensMaxDefault = 512

// Run asks one model after the other, so that they don't slow each other down.
// Each keeps the order of the tasks, but for those in parallel.
func Run(ctx context.Context, models []Model, tasks []Task, cfg Config) *Report {
	r := &Report{Tasks: tasks, started: time.Now()}
	for i := range models {
		m := &modelRun{Model: &models[i], cfg: cfg, tasks: tasks}
		r.Models = append(r.Models, m.run(ctx))
		if ctx.Err() != nil {
			r.Interrupted = true
			break
		}
	}
	for i := len(r.Models); i < len(models); i++ { // not even begun
		r.Models = append(r.Models, &ModelReport{Name: models[i].Name, Price: models[i].Price,
			Results: make([]*Result, len(tasks))})
	}
	r.finish()
	return r
}

// modelRun is the part of a comparison that one model does.
type modelRun struct {
	*Model
	cfg   Config
	tasks []Task
	b     backend.LanguageBackend
}

func (m *modelRun) run(ctx context.Context) *ModelReport {
	out := &ModelReport{Name: m.Name, Price: m.Price, Results: make([]*Result, len(m.tasks))}
	start := time.Now()
	b, closeBackend, err := m.Open(ctx)
	if err != nil {
		if ctx.Err() == nil {
			out.Error = err.Error()
		}
		return out
	}
	defer closeBackend()
	out.LoadMS, out.Model, m.b = time.Since(start).Milliseconds(), b.ModelID(), b
	m.askAll(ctx, out.Results)
	return out
}

// askAll fills in results; those that a cancelled context kept from being
// finished stay nil.
func (m *modelRun) askAll(ctx context.Context, results []*Result) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	room := make(chan struct{}, max(1, m.cfg.Parallel))
	for i := range m.tasks {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			r := m.ask(ctx, &m.tasks[i])
			if ctx.Err() != nil && r.Error != "" {
				return // the interruption's doing, not the model's
			}
			mu.Lock()
			defer mu.Unlock()
			results[i] = r
			done++
			if m.cfg.Progress != nil {
				m.cfg.Progress(m.Name, done, len(m.tasks))
			}
		})
	}
	wg.Wait()
}

// ask carries out one task.
func (m *modelRun) ask(ctx context.Context, t *Task) *Result {
	r := &Result{Task: t.ID, Kind: t.Kind()}
	req := m.request(t)
	var err error
	start := time.Now()
	if r.Kind == "choose" {
		err = m.choose(ctx, req, t, r)
	} else {
		err = m.chat(ctx, req, r, start)
	}
	r.wall = time.Since(start)
	if err != nil {
		r.Error = legible.OneLine(err.Error())
	}
	m.judge(t, r)
	m.count(ctx, req, r)
	r.Cost = m.Price.of(r)
	return r
}

func (m *modelRun) request(t *Task) *backend.Request {
	req := &backend.Request{Messages: t.Messages,
		TokensMax: cmp.Or(t.TokensMax, m.TokensMax, m.cfg.TokensMax, TokensMaxDefault),
		Sampling:  &backend.Sampling{Temperature: cmp.Or(m.Temperature, m.cfg.Temperature, new(float64))}}
	own := backend.ChooseConfig{List: true}
	if m.cfg.Choose != nil {
		own = *m.cfg.Choose
	}
	if t.Prompt == "" {
		own.List, own.Rotate = false, false // messages are taken as they are
	} else {
		if m.cfg.System != "" {
			req.Messages = append(req.Messages,
				backend.Message{Role: backend.RoleSystem, Content: m.cfg.System})
		}
		req.Messages = append(req.Messages, backend.Message{Role: backend.RoleUser, Content: t.Prompt})
	}
	if t.Kind() == "choose" {
		req.Choose, req.TokensMax = &own, 0
	}
	return req
}

func (m *modelRun) choose(ctx context.Context, req *backend.Request, t *Task, r *Result) error {
	c, err := m.b.ChooseFromOptions(ctx, req, backend.Options(t.Options...))
	if err != nil {
		return err
	}
	r.Method, r.Answer, r.Abstained, r.told = c.Method, c.Text, c.Abstained, c.TokensTold
	if c.Abstained {
		r.Answer, r.Reason = "", c.Reason
	} else if p := c.Options[c.Index].Probability; !math.IsNaN(p) {
		r.Probability = &p
	}
	r.Tokens = Tokens{Prompt: c.EvaluatedTokens + c.CachedTokens, Cached: c.CachedTokens,
		Reply: c.CompletionTokens}
	return nil
}

func (m *modelRun) chat(ctx context.Context, req *backend.Request, r *Result, start time.Time,
) error {
	r.Method = "reply"
	var text []byte
	for d, err := range m.b.ChatCompletion(ctx, req) {
		if d.Text != "" && r.firstText == 0 {
			r.firstText = time.Since(start)
		}
		text = append(text, d.Text...)
		if err != nil {
			r.Answer = string(text)
			return err
		}
		if d.Finish != "" {
			r.Finish = string(d.Finish)
		}
		if d.Usage != nil {
			r.Tokens = Tokens{Prompt: d.Usage.PromptTokens, Cached: d.Usage.CachedTokens,
				Reply: d.Usage.CompletionTokens}
			r.told = d.Usage.Told
		}
	}
	if r.Answer = string(text); r.Finish == "" {
		return errors.New("the reply ended without saying why")
	}
	return nil
}

// judge holds the answer against what is expected.
func (m *modelRun) judge(t *Task, r *Result) {
	if r.Error == "" && !r.Abstained {
		r.key = answerKey(t, r.Answer)
	}
	if len(t.Expected) == 0 || r.Error != "" {
		return
	}
	r.Correct = new(!r.Abstained && t.matched(r.Answer) >= 0)
}

// answerKey is equal for answers that say the same, as far as can be told
// without a judge: the same option, the same expected answer found, or the same
// text but for case and space.
func answerKey(t *Task, answer string) string {
	if t.Kind() == "choose" {
		return "option " + answer
	}
	if i := t.matched(answer); i >= 0 {
		return fmt.Sprint("expected ", i)
	}
	return "text " + normal(answer)
}

// count says how the numbers of tokens came about.
func (m *modelRun) count(ctx context.Context, req *backend.Request, r *Result) {
	r.Counts = CountsUnknown
	if r.told {
		r.Counts = CountsExact
		return
	}
	counter, ok := backend.As[backend.Counter](m.b)
	if !ok {
		return
	}
	if c, err := counter.CountChat(ctx, req.Messages); err == nil {
		if r.Counts = CountsEstimate; c.Exact {
			r.Counts = CountsExact
		}
	}
}

// of is the cost of one result; nil when there is no price, or no number.
func (p *Price) of(r *Result) *float64 {
	if p == nil || r.Tokens.Prompt+r.Tokens.Reply == 0 {
		return nil
	}
	t, cached := r.Tokens, *cmp.Or(p.CachedInput, &p.Input)
	cost := float64(t.Prompt-t.Cached)*p.Input + float64(t.Cached)*cached + float64(t.Reply)*p.Output
	return new(cost / priceTokens)
}
