package session

import (
	"strings"

	"agent/backend"
)

// entryKind says what an entry of the transcript is, which decides what
// compaction may do with it.
type entryKind string

const (
	kindTask    entryKind = "task"    // the user's words: kept as they are, always
	kindTurn    entryKind = "turn"    // what the model wrote
	kindResult  entryKind = "result"  // data for the model
	kindSummary entryKind = "summary" // what older turns and results became
)

// entry is one part of the conversation. The transcript only grows, except
// when it is compacted, so that an evaluated prompt stays a prefix of the next.
type entry struct {
	Kind   entryKind `json:"kind"`
	Step   int       `json:"step"`
	Text   string    `json:"text"`
	Raw    string    `json:"raw,omitempty"`    // the model's own text where Text is its canonical form
	Digest string    `json:"digest,omitempty"` // a turn and its result in one line, for a summary

	Next phase `json:"next,omitempty"` // of the run, after this

	tokens int // counted once, 0 = not yet
}

func (e *entry) role() backend.Role {
	if e.Kind == kindTurn {
		return backend.RoleAssistant
	}
	return backend.RoleUser // results are data: never the system's words
}

// messages renders a chat. Neighbours of one role become one message, since
// many chat templates refuse two in a row.
func messages(system string, entries []*entry) []backend.Message {
	out := []backend.Message{{Role: backend.RoleSystem, Content: system}}
	for _, e := range entries {
		last := &out[len(out)-1]
		if last.Role == e.role() {
			last.Content = strings.TrimRight(last.Content, "\n") + "\n\n" + e.Text
			continue
		}
		out = append(out, backend.Message{Role: e.role(), Content: e.Text})
	}
	return out
}
