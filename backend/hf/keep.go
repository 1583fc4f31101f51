package hf

import (
	"context"
	"reflect"
	"slices"
	"sync"

	"agent/backend"
)

// systemPart remembers how a chat with the newest system text begins.
type systemPart struct {
	mu    sync.Mutex
	msgs  []backend.Message
	tools []backend.Tool
	ids   []int32
}

// systemTokens is how many leading tokens of a chat stem from its system messages and tools,
// and so are those of other chats, too. 0: none, or nothing is kept on disk.
func (b *Backend) systemTokens(ctx context.Context, msgs []backend.Message, tools []backend.Tool,
	ids []int32,
) int {
	n := slices.IndexFunc(msgs, func(m backend.Message) bool { return m.Role != backend.RoleSystem })
	if b.store == nil || n < 0 || n == 0 && len(tools) == 0 {
		return 0
	}
	s := &b.system
	s.mu.Lock()
	defer s.mu.Unlock()
	if !reflect.DeepEqual(s.msgs, msgs[:n]) || !reflect.DeepEqual(s.tools, tools) {
		// Any other text of the user will do: what both begin with is not of the user.
		other := append(slices.Clone(msgs[:n]), backend.Message{Role: backend.RoleUser, Content: "?"})
		_, probe, err := b.encode(ctx, other, tools, "", b.ContextLength())
		if err != nil {
			return 0
		}
		s.msgs, s.tools, s.ids = slices.Clone(msgs[:n]), slices.Clone(tools), probe
	}
	for i := range min(len(ids), len(s.ids)) {
		if ids[i] != s.ids[i] {
			return i
		}
	}
	return 0
}

// Remember keeps the newest conversation on disk when the backend is closed, so that
// another process goes on with it without evaluating it again.
func (b *Backend) Remember() { b.engine.KeepNewest() }
