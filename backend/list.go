package backend

// ListOptions appends the options to the last message of the user, in cyclic
// order beginning at option number from, with the instruction to reply with
// the text of one. The messages given are not changed.
func ListOptions(msgs []Message, options []Option, from int) ([]Message, error) {
	text, err := prompt("choose_texts.md", map[string]any{"Options": listOptions(options, inOrder(len(options), from))})
	if err != nil {
		return nil, err
	}
	return appendToLast(msgs, text), nil
}
