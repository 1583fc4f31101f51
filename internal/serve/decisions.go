package serve

import (
	"embed"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"text/template"

	"agent/backend"
)

// The endpoint /v1/decisions answers questions about an input by the
// probability of each answer. Its form is that of the official SDKs: see
// DecisionNewParams and Decision in github.com/openai/openai-go/v3 v3.95.0.

// questionFiles are the words in which a model is asked.
//
//go:embed prompts/*.md
var questionFiles embed.FS

// questionKinds are the kinds of question, with the file that asks each.
var questionKinds = map[string]string{"choice": "question.md", "predicate": "statement.md",
	"score": "rating.md"}

// question is one question of a request.
type question struct {
	kind         string
	name         *string
	Instructions string
	Choices      []questionChoice
}

// questionChoice is an answer that can be given.
type questionChoice struct {
	Text        string
	Description string
	value       any // as it was sent: a string or a boolean
}

// The answer of /v1/decisions. Evidence is not OpenAI's: how the answer came
// about, as `agent choose --json` tells it.
type (
	decisionBody struct {
		Model   string           `json:"model"`
		Answers []map[string]any `json:"answers"`
		Usage   decisionUsage    `json:"usage"`
	}
	decisionUsage struct {
		InputTokens        int `json:"input_tokens"`
		InputTokensDetails struct {
			CachedTokens     int `json:"cached_tokens"`
			CacheWriteTokens int `json:"cache_write_tokens"`
		} `json:"input_tokens_details"`
		OutputTokens        int `json:"output_tokens"`
		OutputTokensDetails struct {
			ReasoningTokens int `json:"reasoning_tokens"`
		} `json:"output_tokens_details"`
		TotalTokens int `json:"total_tokens"`
	}
	choiceProbability struct {
		Value       any     `json:"value"`
		Probability float64 `json:"probability"`
	}
	levelProbability struct {
		Label       string  `json:"label"`
		Value       int     `json:"value"`
		Probability float64 `json:"probability"`
	}
)

// decisions serves /v1/decisions.
func (m *model) decisions(f *fields, w http.ResponseWriter, r *http.Request) (err error) {
	input := f.decisionInput()
	questions := f.questions()
	out := decisionBody{Answers: []map[string]any{}}
	if out.Model, err = m.end(f); err != nil {
		return err
	}
	err = m.timed(r, func(r *http.Request) error {
		for _, q := range questions {
			a, err := m.decide(r, input, q, &out.Usage)
			if err != nil {
				return err
			}
			out.Answers = append(out.Answers, a)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

// decisionInput reads a text or a list of messages.
func (f *fields) decisionInput() []backend.Message {
	raw := f.take("input")
	var text string
	if raw != nil && json.Unmarshal(raw, &text) == nil {
		return []backend.Message{{Role: backend.RoleUser, Content: text}}
	}
	var items []json.RawMessage
	if raw == nil || json.Unmarshal(raw, &items) != nil || len(items) == 0 {
		f.fail(badValue("input", "it must be a string or a list of messages."))
		return nil
	}
	return each(f, "input", items, readDecisionMessage)
}

// readDecisionMessage reads an item of the input, which is a message of text.
func readDecisionMessage(raw json.RawMessage, at string) (backend.Message, error) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || object == nil {
		return backend.Message{}, badValue(at, "it must be a message.")
	}
	if kind, ok := object["type"]; ok && string(kind) != `"message"` {
		return backend.Message{}, unsupported(at+".type",
			"other than message is not supported by this server.")
	}
	delete(object, "type")
	delete(object, "phase")
	rest, err := json.Marshal(object)
	if err != nil {
		return backend.Message{}, err
	}
	return readMessage(rest, at)
}

// questions reads what is asked.
func (f *fields) questions() []question {
	var list []json.RawMessage
	f.read("questions", "a list of questions", &list)
	if len(list) == 0 || len(list) > questionsMax {
		f.fail(badValue("questions", "there are %d, must be 1 to %d.", len(list), questionsMax))
	}
	return each(f, "questions", list, readQuestion)
}

func readQuestion(raw json.RawMessage, at string) (question, error) {
	f, err := parseFields(raw)
	if err != nil {
		return question{}, badValue(at, "it must be an object.")
	}
	q := question{kind: f.text("type")}
	var name string
	if f.read("name", "a string", &name) {
		q.name = &name
	}
	if questionKinds[q.kind] == "" {
		return q, badValue(at+".type", "known are choice, predicate and score.")
	}
	instructions := f.take("instructions")
	if instructions == nil {
		return q, badValue(at+".instructions", "it is missing.")
	}
	if q.Instructions, err = readContent(instructions, at+".instructions"); err != nil {
		return q, err
	}
	switch q.kind {
	case "choice":
		err = q.readChoices(f, at)
	case "score":
		err = q.readLevels(f, at)
	default:
		q.Choices = []questionChoice{{Text: "yes"}, {Text: "no"}}
	}
	if err != nil {
		return q, err
	}
	return q, f.end()
}

// readChoices reads values that are texts or booleans.
func (q *question) readChoices(f *fields, at string) error {
	var list []struct {
		Value       any    `json:"value"`
		Description string `json:"description"`
	}
	f.read("choices", "a list of choices", &list)
	for i, c := range list {
		text := ""
		switch v := c.Value.(type) {
		case string:
			text = v
		case bool:
			text = fmt.Sprint(v)
		default:
			return badValue(fmt.Sprintf("%s.choices[%d].value", at, i), "it must be a string or a boolean.")
		}
		q.Choices = append(q.Choices, questionChoice{Text: text, Description: c.Description,
			value: c.Value})
	}
	return q.check(at + ".choices")
}

// readLevels reads ordered labels.
func (q *question) readLevels(f *fields, at string) error {
	var list []struct {
		Label       string `json:"label"`
		Description string `json:"description"`
	}
	f.read("levels", "a list of levels", &list)
	for _, l := range list {
		q.Choices = append(q.Choices, questionChoice{Text: l.Label, Description: l.Description,
			value: l.Label})
	}
	return q.check(at + ".levels")
}

func (q *question) check(at string) error {
	if n := len(q.Choices); n < decisionsMin || n > decisionsMax {
		return badValue(at, "there are %d, must be %d to %d.", n, decisionsMin, decisionsMax)
	}
	if err := backend.CheckOptions(q.options()); err != nil {
		return badValue(at, "%v.", err)
	}
	return nil
}

func (q *question) options() []backend.Option {
	out := make([]backend.Option, len(q.Choices))
	for i, c := range q.Choices {
		out[i].Text = c.Text
	}
	return out
}

// ask is the conversation that ends with the question.
func (q *question) ask(input []backend.Message) ([]backend.Message, error) {
	t, err := template.ParseFS(questionFiles, "prompts/"+questionKinds[q.kind])
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := t.Execute(&text, q); err != nil {
		return nil, err
	}
	words := strings.TrimSuffix(text.String(), "\n")
	out := slices.Clone(input)
	if last := len(out) - 1; out[last].Role == backend.RoleUser {
		out[last].Content += "\n\n" + words
		return out, nil
	}
	return append(out, backend.Message{Role: backend.RoleUser, Content: words}), nil
}

// decide answers one question and adds its cost.
func (m *model) decide(r *http.Request, input []backend.Message, q question, usage *decisionUsage,
) (map[string]any, error) {
	msgs, err := q.ask(input)
	if err != nil {
		return nil, err
	}
	choice, err := m.backend.ChooseFromOptions(r.Context(), &backend.Request{Messages: msgs},
		q.options())
	if err != nil {
		return nil, err
	}
	cost := choice.Usage()
	m.metrics.usage(&cost)
	usage.InputTokens += cost.PromptTokens
	usage.InputTokensDetails.CachedTokens += cost.CachedTokens
	usage.OutputTokens += cost.CompletionTokens
	usage.TotalTokens = usage.InputTokens + usage.OutputTokens
	return q.answer(choice), nil
}

// answer puts a choice in the form of its question. What a backend can't tell
// is null: the probabilities of a choice that was made without any.
func (q *question) answer(c *backend.Choice) map[string]any {
	a := map[string]any{"type": q.kind, "name": q.name, "evidence": c}
	if c.Abstained {
		a["type"] = "refusal"
		return a
	}
	known := !math.IsNaN(c.Options[c.Index].Probability)
	if !known && q.kind != "choice" {
		a["type"] = "refusal" // it would be nothing but a probability
		return a
	}
	var confidence *float64
	if known {
		confidence = &c.Options[c.Index].Probability
	}
	switch q.kind {
	case "predicate":
		a["probability"] = c.Options[0].Probability
	case "score":
		a["confidence"], a["score"], a["probabilities"] = confidence, expectation(c),
			q.levelProbabilities(c)
	default:
		a["choice"], a["confidence"], a["probabilities"] = q.Choices[c.Index].value, confidence,
			q.choiceProbabilities(c, known)
	}
	return a
}

// expectation is the mean of the levels' values, 0 for the lowest, weighted by
// their probabilities.
func expectation(c *backend.Choice) float64 {
	sum := 0.0
	for i, o := range c.Options {
		sum += float64(i) * o.Probability
	}
	return sum
}

func (q *question) levelProbabilities(c *backend.Choice) []levelProbability {
	out := []levelProbability{}
	for i, o := range c.Options {
		out = append(out, levelProbability{Label: o.Text, Value: i, Probability: o.Probability})
	}
	return out
}

func (q *question) choiceProbabilities(c *backend.Choice, known bool) []choiceProbability {
	out := []choiceProbability{}
	for i, o := range c.Options {
		if known {
			out = append(out, choiceProbability{Value: q.Choices[i].value, Probability: o.Probability})
		}
	}
	return out
}
