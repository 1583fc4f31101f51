// Package decide makes the same decision about many texts: which of some options
// fits each one, by a model that scores them. Nothing is generated.
//
//	texts, err := decide.Read("reviews.csv", data, "text")
//	q := decide.Question{Text: "Is this review positive or negative?", Options: []string{"positive", "negative"}}
//	result, err := decide.Run(ctx, texts, q, decide.By(backend.ChooseFromOptions, nil), nil)
//	err = result.Write(out, "labels.csv", "label")
//
// Promises: each text is decided as by itself (`agent choose QUESTION <text`),
// only cheaper, since question and options are evaluated once; a text that can't
// be decided is named and gets no label; what is close is said to be.
package decide

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"agent/backend"
	"agent/command"
)

// CloseNats is the lead under which a decision is called close: at 0.5 nats the
// winner of two has 62 %.
const CloseNats = 0.5

// Question is what is asked of each text.
type Question struct {
	Text    string
	Options []string
}

// Check refuses a question that can't be decided.
func (q Question) Check() error {
	switch {
	case q.Text == "":
		return errors.New("there is no question")
	case len(q.Options) < 2:
		return errors.New("there must be at least two options")
	}
	return backend.CheckOptions(backend.Options(q.Options...))
}

// Judge decides which option fits a text.
type Judge func(ctx context.Context, question, text string, options []string) (command.Judgement, error)

// Choose is the way of a backend to choose.
type Choose func(ctx context.Context, req *backend.Request, options []backend.Option) (*backend.Choice, error)

// ErrNoScores: the model can't score options, so that it can't decide.
var ErrNoScores = errors.New("the model gives no probabilities of options")

// By makes a judge of a model. cfg says how it scores; nil: by sum.
func By(choose Choose, cfg *backend.ChooseConfig) Judge {
	return func(ctx context.Context, question, text string, options []string) (command.Judgement, error) {
		choice, err := choose(ctx, backend.AboutText(question, text, cfg), backend.Options(options...))
		if err != nil {
			return command.Judgement{}, err
		}
		j := command.Judgement{Option: choice.Index, Margin: choice.Margin, Why: choice.Reason}
		if !choice.Scored() {
			return j, ErrNoScores
		}
		for _, o := range choice.Options {
			j.Probabilities = append(j.Probabilities, o.Probability)
		}
		return j, nil
	}
}

// Verdict is what was decided about one text.
type Verdict struct {
	Text
	Label         string // empty: it was not decided
	Probabilities []float64
	Margin        float64 // lead over the next option, in nats
	Why           string  // why it was not decided
}

// Close reports a decision that could as well have been another.
func (v Verdict) Close() bool { return v.Label != "" && v.Margin < CloseNats }

// Result is the decisions about all texts of a source, in its order.
type Result struct {
	Question Question
	Source   *Source
	Verdicts []Verdict
}

// Run decides about each text of a source. each, unless nil, is told every
// verdict as it comes. A text that is too long for the model is not decided; any
// other failure ends the run.
func Run(ctx context.Context, s *Source, q Question, judge Judge, each func(Verdict) error,
) (*Result, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	r := &Result{Question: q, Source: s}
	for _, t := range s.Texts {
		v, err := verdict(ctx, t, q, judge)
		if err == nil && each != nil {
			err = each(v)
		}
		if err != nil {
			return nil, err
		}
		r.Verdicts = append(r.Verdicts, v)
	}
	return r, nil
}

func verdict(ctx context.Context, t Text, q Question, judge Judge) (Verdict, error) {
	v := Verdict{Text: t}
	if t.Text == "" {
		return v, nil
	}
	j, err := judge(ctx, q.Text, t.Text, q.Options)
	var tooLong *backend.ContextError
	switch {
	case errors.As(err, &tooLong):
		v.Why = tooLong.Error()
		return v, nil
	case err != nil:
		return v, err
	}
	v.Probabilities, v.Margin, v.Why = j.Probabilities, j.Margin, j.Why
	if j.Option >= 0 && j.Option < len(q.Options) {
		v.Label = q.Options[j.Option]
	}
	return v, nil
}

// Count is how many texts got a label.
type Count struct {
	Label string
	N     int
}

// Counts has the number of texts for each option.
func (r *Result) Counts() []Count {
	out := make([]Count, len(r.Question.Options))
	for i, o := range r.Question.Options {
		out[i].Label = o
		for _, v := range r.Verdicts {
			if v.Label == o {
				out[i].N++
			}
		}
	}
	return out
}

// Judged is how many texts have a label.
func (r *Result) Judged() int {
	n := 0
	for _, v := range r.Verdicts {
		if v.Label != "" {
			n++
		}
	}
	return n
}

// Close is how many decisions are close.
func (r *Result) Close() int {
	n := 0
	for _, v := range r.Verdicts {
		if v.Close() {
			n++
		}
	}
	return n
}

// Undecided are the texts without a label that have something to decide about.
func (r *Result) Undecided() []Verdict {
	return slices.DeleteFunc(slices.Clone(r.Verdicts),
		func(v Verdict) bool { return v.Label != "" || v.Text.Text == "" })
}

// TooLong are the texts that the model could not take.
func (r *Result) TooLong() []Verdict {
	return slices.DeleteFunc(r.Undecided(), func(v Verdict) bool { return v.Probabilities != nil })
}

// Empty is how many texts have nothing to decide about.
func (r *Result) Empty() int { return len(r.Verdicts) - r.Judged() - len(r.Undecided()) }

// LeastCertain are the n decisions with the smallest lead.
func (r *Result) LeastCertain(n int) []Verdict {
	out := slices.DeleteFunc(slices.Clone(r.Verdicts), func(v Verdict) bool { return v.Label == "" })
	slices.SortStableFunc(out, func(a, b Verdict) int { return cmp.Compare(a.Margin, b.Margin) })
	return out[:min(n, len(out))]
}
