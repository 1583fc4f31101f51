package backend

import "strings"

// AboutText asks a question about one text. cfg says how options are scored, and
// whether they are listed, after the question; nil: they are, and scored by sum.
func AboutText(question, text string, cfg *ChooseConfig) *Request {
	own := ChooseConfig{List: true}
	if cfg != nil {
		own = *cfg
	}
	own.ListAt = len(question)
	return &Request{Messages: []Message{{Role: RoleUser, Content: question + "\n\n" + text}},
		Choose: &own}
}

// SplitAt parts the last user message after at bytes, for what stands between
// question and text. ok is false where it has no such place.
func SplitAt(msgs []Message, at int) (before []Message, text string, ok bool) {
	last := len(msgs) - 1
	if at <= 0 || last < 0 || msgs[last].Role != RoleUser || at >= len(msgs[last].Content) {
		return msgs, "", false
	}
	before = append([]Message(nil), msgs...)
	before[last].Content, text = msgs[last].Content[:at],
		strings.TrimLeft(msgs[last].Content[at:], "\n")
	return before, text, true
}

// ListOptions appends the options to the last message of the user, in cyclic
// order beginning at option number from, with the instruction to reply with
// the text of one. The messages given are not changed.
func ListOptions(msgs []Message, options []Option, from int) ([]Message, error) {
	text, err := prompt("choose_texts.md",
		map[string]any{"Options": listOptions(options, inOrder(len(options), from))})
	if err != nil {
		return nil, err
	}
	return appendToLast(msgs, text), nil
}
