package session

import (
	"context"
	"fmt"
	"strings"

	"agent/backend"
	"agent/command"
	"agent/session/event"
	"agent/session/prose"
)

// draft is the assistant's message while it is written: text of the harness and
// of the model by turns, in one growing reply.
type draft struct {
	*speaker
	msgs     []backend.Message
	sampling *backend.Sampling

	files     []string      // that a field can name
	place     *passage      // from which lines of a file are chosen
	targets   []string      // that the task wants to be written
	opening   string        // what code begins with
	number    bool          // the answer is to be a number alone
	addresses []string      // of the web
	not       *command.Call // its choices are not offered again

	text       strings.Builder
	choices    []ChoiceMade
	unfinished bool   // the field filled last was cut at its limit
	end        ending // of the answer
}

// write adds text of the harness.
func (d *draft) write(text string) {
	d.text.WriteString(text)
	d.delta(Delta{Text: text, Fixed: true})
}

// generation is one piece of free or constrained text.
type generation struct {
	tokensMax int
	stop      []string
	grammar   string
	schema    string
	rut       prose.Rut // repetition that ends it; zero: none does
}

// ending says how a piece of text ended.
type ending int

const (
	endWhole  ending = iota // by itself, or by a stop string
	endLimit                // cut off by its limit
	endBudget               // cut off because the run may cost no more
	endRut                  // it only repeated itself any more
)

// endingOf is how a text ended that was allowed so many tokens where more were
// wanted, or as many.
func endingOf(finish backend.FinishReason, allowed, wanted int) ending {
	switch {
	case finish == backend.FinishStop || finish == "":
		return endWhole
	case allowed < wanted:
		return endBudget
	}
	return endLimit
}

// cut reports that something ended the text other than the model, a stop string
// or its own repetition.
func (e ending) cut() bool { return e == endLimit || e == endBudget }

// generate lets the model go on, and adds what it wrote.
func (d *draft) generate(ctx context.Context, g generation) (text string, end ending, err error) {
	tokensMax, err := d.budget.allow(g.tokensMax)
	if err != nil {
		return "", endLimit, err
	}
	req := &backend.Request{
		Messages: d.msgs, Prefill: d.text.String(), Sampling: d.sampling,
		TokensMax: tokensMax, Stop: g.stop, Grammar: g.grammar, Schema: []byte(g.schema),
	}
	req.Until = g.rut.Until()
	text, finish, err := d.complete(ctx, req, d.delta)
	if err != nil {
		return "", endLimit, err
	}
	end = endingOf(finish, tokensMax, g.tokensMax)
	if at := g.rut.End(text); at >= 0 {
		text, end = text[:at], endRut
		d.warn("the model began to repeat itself, or to write something else; its text was ended there")
	}
	d.text.WriteString(text) // it was told as it came
	return text, end, nil
}

// pick lets the model choose one of the options as the rest of the line, and
// adds it. One option is taken without asking.
func (d *draft) pick(ctx context.Context, options []string) (int, error) {
	index := 0
	spaced := make([]string, len(options))
	for i, o := range options {
		spaced[i] = " " + o
	}
	spaced = d.scrub.Distinct(spaced)
	if len(options) > 1 {
		choice, err := d.choose(ctx, &backend.Request{
			Messages: d.msgs, Prefill: d.text.String(),
			Choose: &backend.ChooseConfig{EndTexts: []string{"\n"}},
		}, spaced)
		if err != nil {
			return 0, err
		}
		d.choices = append(d.choices, event.Chosen(fieldName(d.text.String()), choice))
		if choice.Index < 0 || choice.Index >= len(options) {
			return 0, &BackendError{fmt.Errorf("no option chosen of %d: %s", len(options), choice.Reason)}
		}
		index = choice.Index
	}
	d.text.WriteString(spaced[index])
	d.delta(Delta{Text: spaced[index]})
	return index, nil
}

// fieldName is the label after which a choice is made.
func fieldName(reply string) string {
	line := reply[strings.LastIndexByte(reply, '\n')+1:]
	return strings.ToLower(strings.TrimSuffix(line, ":"))
}
