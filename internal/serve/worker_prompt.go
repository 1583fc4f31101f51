package serve

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"agent/backend"
)

// FastChat's API server does not send conversations to workers. It renders
// them to one text, by a template that the worker names or describes, and
// sends that. Its stock templates know nothing of the model behind this
// worker, and a wrong template makes a model silently worse.
//
// So the template that this worker describes is not a model's but a plain
// encoding, from which the messages are read back; then they are rendered by
// the model's own template. Roles stand between marks that hold a random
// number, so that no text in a message can pass for a mark. A prompt tells its
// number at its start, which the API server wrote; so prompts rendered for an
// earlier run of this worker, whose template the API server remembers, are
// read too.

// marks are the texts that divide an encoded conversation.
type marks struct{ number string }

func newMarks() marks {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	return marks{hex.EncodeToString(raw[:])}
}

const markStart = "<|agent-chat:"

// role is the mark before a message.
func (m marks) role(name string) string { return markStart + m.number + ":" + name + "|>" }

// separatorColonTwo is FastChat's style "role: message", with two separators;
// both are empty here. It is one of the styles that take messages in parts.
const separatorColonTwo = 2

// template describes the encoding as a FastChat conversation.
func (m marks) template() map[string]any {
	return map[string]any{
		"name":            "agent",
		"system_template": m.role("system") + "{system_message}",
		"system_message":  m.role("none"), // replaced when there is one
		"roles":           []string{m.role("user"), m.role("assistant")},
		"messages":        []any{},
		"offset":          0,
		"sep_style":       separatorColonTwo,
		"sep":             "",
		"sep2":            "",
		"stop_str":        nil,
		"stop_token_ids":  nil,
	}
}

// encodedStart finds the number of an encoded conversation.
var encodedStart = regexp.MustCompile(`^<\|agent-chat:([0-9a-f]{32}):system\|>`)

var errEncoding = errors.New("the conversation is not as FastChat's API server writes it")

// decodeChat reads the messages of an encoded conversation. encoded is false
// for any other prompt.
func decodeChat(prompt string) (msgs []backend.Message, encoded bool, err error) {
	start := encodedStart.FindStringSubmatch(prompt)
	if start == nil {
		return nil, false, nil
	}
	mark := markStart + start[1] + ":"
	pieces := strings.Split(prompt[len(start[0]):], mark)
	if system := pieces[0]; len(pieces) > 1 && pieces[1] == "none|>" && system == "" {
		pieces = pieces[1:]
	} else {
		msgs = append(msgs, backend.Message{Role: backend.RoleSystem, Content: system})
	}
	for i, piece := range pieces[1:] {
		role, text, ok := strings.Cut(piece, "|>:")
		if !ok || role != "user" && role != "assistant" {
			return nil, true, errEncoding
		}
		if last := i == len(pieces)-2; last {
			if role != "assistant" || text != "" {
				return nil, true, errEncoding
			}
			break
		}
		msgs = append(msgs, backend.Message{Role: backend.Role(role),
			Content: strings.TrimPrefix(text, " ")})
	}
	if len(pieces) < 2 || len(msgs) == 0 {
		return nil, true, fmt.Errorf("%w: it has no messages", errEncoding)
	}
	return msgs, true, nil
}
