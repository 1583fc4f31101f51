package backend

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// ToolChoice says whether tools are called.
type ToolChoice struct {
	Required bool     // at least one is
	Names    []string // only these may be; empty: any of the request
	One      bool     // no more than one is
	// Strict tools have their whole schema enforced; of others, what can be.
	Strict map[string]bool
}

// callsMax bounds the calls of one reply.
const callsMax = 16

// CallTools is a reply to a request with tools. Whether one is called is decided where a
// call could begin, by the probability of its beginning; which one, by the log-probability of
// each name; and the arguments are held to the tool's schema. So a name can't be made up
// and arguments can't be invalid; only a limit on tokens cuts them, and Finish says so.
func CallTools(ctx context.Context, b LanguageBackend, req *Request, choice ToolChoice,
) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		t := &toolTurn{backend: b, req: req, choice: choice, yield: yield, reply: req.Prefill}
		if err := t.run(ctx); err != nil && !errors.Is(err, errNoMore) {
			yield(Delta{}, err)
		}
	}
}

// CanCallTools reports whether CallTools works with a backend.
func CanCallTools(b LanguageBackend) bool {
	c := CapabilitiesOf(b)
	_, ok := As[ToolUser](b)
	return ok && c.Prefill && c.Schema && c.ExactChoice
}

// errNoMore: nobody wants the rest.
var errNoMore = errors.New("no more is wanted")

// toolTurn is one reply.
type toolTurn struct {
	backend LanguageBackend
	req     *Request
	choice  ToolChoice
	yield   func(Delta, error) bool

	syntax ToolSyntax
	form   ToolSyntax // of the first call, as the model would write it
	name   string     // of the call that begins, when it was chosen already
	names  []string
	prompt int    // tokens of the prompt
	reply  string // what the assistant has said so far, calls included
	calls  int
	made   []string // the calls, as JSON
	forced bool     // another call was found by comparison, not because it is likely
	usage  Usage
	counts bool // usage has numbers of a first step
}

func (t *toolTurn) run(ctx context.Context) error {
	user, ok := As[ToolUser](t.backend)
	if !ok {
		return fmt.Errorf("tools: %w", ErrUnsupported)
	}
	var err error
	if t.syntax, err = user.ToolSyntax(ctx); err != nil {
		return err
	}
	if t.prompt, err = user.CountPrompt(ctx, t.req); err != nil {
		return err
	}
	for _, tool := range t.req.Tools {
		if len(t.choice.Names) == 0 || slices.Contains(t.choice.Names, tool.Name) {
			t.names = append(t.names, tool.Name)
		}
	}
	called, err := t.wantsCall(ctx)
	if err == nil && !called {
		called, err = t.text(ctx)
		if err == nil && !called {
			return nil
		}
	}
	for ; err == nil && called; called, err = t.wantsCall(ctx) {
		if cut, err := t.call(ctx, user); err != nil || cut {
			return err
		}
	}
	if err != nil {
		return err
	}
	return t.finish(Delta{Finish: FinishCalls})
}

// wantsCall decides whether a call begins here.
func (t *toolTurn) wantsCall(ctx context.Context) (bool, error) {
	switch {
	case t.calls == 0 && t.choice.Required && t.reply == t.req.Prefill:
		_, err := t.begins(ctx)
		return true, err
	case len(t.names) == 0, t.calls > 0 && (t.choice.One || t.syntax.Next == ""), t.calls == callsMax,
		t.left() == 0:
		return false, nil
	}
	if t.calls > 0 {
		return t.wantsAnother(ctx)
	}
	p, err := t.begins(ctx)
	return p > likely, err
}

// begins is the probability that a first call begins here, in any form, with the name of a
// tool: models make names up. The call gets the likeliest form and name.
func (t *toolTurn) begins(ctx context.Context) (float64, error) {
	forms := t.forms()
	var openings []string
	for _, f := range forms {
		openings = append(openings, f.Open)
	}
	p, likeliest, err := t.opens(ctx, t.req.Messages, openings)
	t.form = forms[likeliest]
	if err != nil || t.choice.Required || p <= likely {
		return p, err
	}
	named, err := t.pick(ctx, t.reply+t.form.Open, t.form.Middle)
	return p * named, err
}

// likely is from where on what a model would write is taken to be meant.
const likely = 0.5

// wantsAnother decides whether another call follows. Models that were not trained to write
// several never find that likely. Of those it counts whether it is likelier here than where
// the calls so far are all that is asked for.
func (t *toolTurn) wantsAnother(ctx context.Context) (bool, error) {
	next := []string{t.syntax.Next}
	here, _, err := t.opens(ctx, t.req.Messages, next)
	if err != nil || here > likely {
		return err == nil, err
	}
	alone, _, err := t.opens(ctx, t.asking(t.made...), next)
	if err != nil || here <= alone {
		return false, err
	}
	if t.forced {
		return true, nil
	}
	more, _, err := t.opens(ctx, t.asking(append(t.made, t.made[0])...), next)
	t.forced = err == nil && more <= likely
	return t.forced, err
}

// asking is a chat in which nothing but calls is asked for.
func (t *toolTurn) asking(calls ...string) []Message {
	other := func(m Message) bool { return m.Role != RoleSystem }
	system := slices.DeleteFunc(slices.Clone(t.req.Messages), other)
	return append(system, Message{Role: RoleUser, Content: strings.Join(calls, "\n")})
}

// opens is the probability that one of the openings of a call follows what was said so far
// in a chat, and which is the likeliest.
func (t *toolTurn) opens(ctx context.Context, chat []Message, openings []string,
) (p float64, likeliest int, err error) {
	var first []string // letters that may follow
	for _, name := range t.names {
		_, n := utf8.DecodeRuneInString(name)
		first = append(first, name[:n])
	}
	slices.Sort(first)
	c, err := t.choose(ctx, chat, t.reply, openings, slices.Compact(first))
	if err != nil {
		return 0, 0, err
	}
	return mass(c), c.Index, nil
}

// mass is the probability that one of the options comes.
func mass(c *Choice) (p float64) {
	for _, o := range c.Options {
		p += math.Exp(o.Logprob)
	}
	return p
}

// Calls as models write them that were not trained on the template's syntax.
var (
	bareCompact = ToolSyntax{Open: `{"name": "`, Middle: `", "arguments": `}
	barePretty  = ToolSyntax{Open: "{\n  \"name\": \"", Middle: "\",\n  \"arguments\": "}
)

// forms are those in which a first call can be written here.
func (t *toolTurn) forms() []ToolSyntax {
	own, lead := t.syntax, []string{"", "```json\n", "<tools>\n", "<tool_call>\n"}
	if t.reply != "" {
		own.Open, lead = strings.TrimLeft(own.Open, "\n"), lead[:1]
	}
	forms := []ToolSyntax{own}
	for _, before := range lead {
		for _, f := range []ToolSyntax{bareCompact, barePretty} {
			if f.Open = before + f.Open; f.Open != own.Open {
				forms = append(forms, f)
			}
		}
	}
	return forms
}

// call chooses a tool and writes its arguments. cut: the limit on tokens ended them.
func (t *toolTurn) call(ctx context.Context, user ToolUser) (cut bool, err error) {
	form := t.form
	if t.calls > 0 {
		form = t.syntax
		form.Open = form.Next
	}
	if t.name == "" && len(t.names) > 1 {
		if _, err := t.pick(ctx, t.reply+form.Open, form.Middle); err != nil {
			return false, err
		}
	}
	name := cmp.Or(t.name, t.names[0])
	t.name = ""
	schema, err := t.schema(user, name)
	if err != nil {
		return false, err
	}
	req := *t.req
	req.Prefill, req.Schema = t.reply+form.Open+name+strings.TrimRight(form.Middle, " "), schema
	req.Grammar, req.Stop, req.StopTokens, req.Logprobs, req.TopLogprobs = "", nil, nil, false, 0
	// What is written for the model counts, too.
	n, err := user.CountPrompt(ctx, &req)
	if err != nil {
		return false, err
	}
	if t.usage.CompletionTokens = max(0, n-t.prompt); t.left() == 0 {
		return true, t.finish(Delta{Finish: FinishLength})
	}
	arguments, end, err := t.arguments(ctx, &req, name)
	if err != nil {
		return false, err
	}
	if end.Finish != FinishStop {
		return true, t.finish(end)
	}
	if t.calls == 0 {
		form = t.syntax // from here on, whatever the first one was written in
	}
	t.reply += form.Open + name + form.Middle + arguments + form.Close
	t.calls++
	t.made = append(t.made, made(name, arguments))
	return false, nil
}

// made is a call as JSON.
func made(name, arguments string) string {
	return fmt.Sprintf(`{"name": %q, "arguments": %s}`, name, arguments)
}

// arguments writes those of a call. A forced call is given out whole, when it is known to be
// a new one.
func (t *toolTurn) arguments(ctx context.Context, req *Request, name string,
) (text string, end Delta, err error) {
	begin := Delta{Call: &CallDelta{Index: t.calls, ID: "call_" + rand.Text(), Name: name}}
	if !t.forced && !t.yield(begin, nil) {
		return "", end, errNoMore
	}
	var arguments strings.Builder
	end, err = t.generate(ctx, req, func(d Delta) Delta {
		arguments.WriteString(d.Text)
		if t.forced {
			return Delta{}
		}
		return Delta{Call: &CallDelta{Index: t.calls, Arguments: d.Text}, Count: d.Count}
	})
	text = arguments.String()
	if err != nil || !t.forced || end.Finish != FinishStop {
		return text, end, err
	}
	if slices.Contains(t.made, made(name, text)) { // it goes in circles
		return text, Delta{Finish: FinishCalls}, nil
	}
	begin.Call.Arguments = text
	if !t.yield(begin, nil) {
		return "", end, errNoMore
	}
	return text, end, nil
}

// pick chooses a tool's name after what is written, and tells how likely it is that one of
// them comes.
func (t *toolTurn) pick(ctx context.Context, before, after string) (p float64, err error) {
	_, n := utf8.DecodeRuneInString(after)
	c, err := t.choose(ctx, t.req.Messages, before, t.names, []string{after[:n]})
	if err != nil {
		return 0, err
	}
	t.name = c.Text
	return mass(c), nil
}

// schema is that of a tool's arguments, as far as it can be enforced.
func (t *toolTurn) schema(user ToolUser, name string) (json.RawMessage, error) {
	tool := t.req.Tools[slices.IndexFunc(t.req.Tools, func(x Tool) bool { return x.Name == name })]
	schema := tool.Parameters
	if len(schema) == 0 {
		schema = json.RawMessage(`{"type":"object","properties":{}}`)
	}
	schema, err := user.ToolSchema(schema, t.choice.Strict[name])
	if err != nil {
		return nil, fmt.Errorf("tool %q: %w", name, err)
	}
	return schema, nil
}

// text writes the reply until it ends, or a call begins.
func (t *toolTurn) text(ctx context.Context) (called bool, err error) {
	marks := t.marks()
	for {
		req := *t.req
		req.Prefill, req.Stop = t.reply, slices.Concat(t.req.Stop, marks)
		var text strings.Builder
		end, err := t.generate(ctx, &req, func(d Delta) Delta {
			text.WriteString(d.Text)
			return d
		})
		if err != nil {
			return false, err
		}
		t.reply += text.String()
		if end.Finish != FinishStop || slices.Contains(t.req.Stop, end.Stop) {
			return false, t.finish(end)
		}
		at := slices.Index(marks, end.Stop)
		if at >= 0 || text.Len() > 0 { // a mark that is a control token just ends the text
			if called, err := t.callAfter(ctx, end.Stop); err != nil || called {
				return called, err
			}
		}
		if at < 0 {
			return false, t.finish(end)
		}
		marks = slices.Delete(marks, at, at+1) // it is a part of the text
	}
}

// callAfter decides whether a call begins at a mark that the model wrote.
func (t *toolTurn) callAfter(ctx context.Context, mark string) (bool, error) {
	said, fence := t.reply, ""
	if at := strings.IndexByte(mark, '{'); at > 0 {
		fence = mark[:at]
	}
	t.reply += fence
	called, err := t.wantsCall(ctx)
	if !called {
		t.reply = said
	}
	return called, err
}

// marks are texts within a reply at which a call may begin.
func (t *toolTurn) marks() []string {
	var marks []string
	for _, fence := range []string{"```json\n", ""} {
		marks = append(marks, fence+barePretty.Open, fence+bareCompact.Open)
	}
	mark := strings.TrimSpace(t.syntax.Open)
	if at := strings.IndexAny(mark, "\n{"); at > 0 {
		mark = strings.TrimSpace(mark[:at])
	}
	if strings.ContainsAny(mark, "<[") {
		marks = append(marks, mark)
	}
	return marks
}

// generate passes deltas on, and returns their end.
func (t *toolTurn) generate(ctx context.Context, req *Request, pass func(Delta) Delta,
) (end Delta, err error) {
	if t.req.TokensMax > 0 {
		req.TokensMax = max(1, t.left())
	}
	for d, err := range t.backend.ChatCompletion(ctx, req) {
		if err != nil {
			return end, err
		}
		end = Delta{Finish: d.Finish, Stop: d.Stop}
		if d.Usage != nil {
			t.spent(*d.Usage)
			t.usage.CompletionTokens = max(0, d.Usage.PromptTokens+d.Usage.CompletionTokens-t.prompt)
		}
		d.Finish, d.Stop, d.Usage = "", "", nil
		if d.Text == "" && d.Thought == "" && len(d.Tokens) == 0 {
			continue
		}
		if d = pass(d); d.Text == "" && d.Thought == "" && len(d.Tokens) == 0 && d.Call == nil {
			continue
		}
		if !t.yield(d, nil) {
			return end, errNoMore
		}
	}
	return end, nil
}

// left is how many tokens the reply may still have.
func (t *toolTurn) left() int {
	if t.req.TokensMax == 0 {
		return math.MaxInt
	}
	return max(0, t.req.TokensMax-t.usage.CompletionTokens)
}

func (t *toolTurn) choose(ctx context.Context, chat []Message, prefill string,
	options, ends []string,
) (*Choice, error) {
	req := Request{Messages: chat, Tools: t.req.Tools, Prefill: prefill,
		Choose: &ChooseConfig{EndTexts: ends}}
	c, err := t.backend.ChooseFromOptions(ctx, &req, Options(options...))
	if err == nil {
		t.spent(c.Usage())
	}
	return c, err
}

// spent counts a step's cost. The first one tells how much of the prompt was cached.
func (t *toolTurn) spent(u Usage) {
	if !t.counts {
		t.counts = true
		t.usage.CachedTokens = min(u.CachedTokens, t.prompt)
	}
	t.usage.EvaluatedTokens += u.EvaluatedTokens
	t.usage.ReasoningTokens += u.ReasoningTokens
	t.usage.Prefill += u.Prefill
	t.usage.Decode += u.Decode
}

func (t *toolTurn) finish(end Delta) error {
	t.usage.PromptTokens = t.prompt
	end.Usage = &t.usage
	if !t.yield(end, nil) {
		return errNoMore
	}
	return nil
}
