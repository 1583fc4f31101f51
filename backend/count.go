package backend

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/tiktoken-go/tokenizer"
)

// TextTokenizer counts with a model's own tokenizer.json. It is injected into
// remote backends, whose servers count late or not at all. If it is a
// [ChatRenderer] too, counts of chats are exact as well.
type TextTokenizer interface {
	// CountText counts plain text with no special tokens added.
	CountText(text string) (int, error)
}

// ChatRenderer renders a chat as the model's template does, with the start of
// the assistant's turn.
type ChatRenderer interface {
	RenderChat(msgs []Message) (string, error)
	// CountRendered counts rendered text, in which special tokens are special.
	CountRendered(text string) (int, error)
}

// The tokens that chat formats add, from OpenAI's cookbook ("How to count
// tokens with tiktoken"): for each message, for its role and a name, for the reply's start.
const (
	overheadMessage = 3
	overheadRole    = 1
	overheadName    = 1
	overheadReply   = 3
	// overheadUnknown is for chat templates that are not known: a little more.
	overheadUnknown = 4
)

// textCounter counts text in one way and remembers what it counted, so that an
// agent whose prompt grows pays for what is new.
type textCounter struct {
	count    func(text string) (int, error)
	renderer ChatRenderer // nil: chats are added up with an overhead
	source   string
	exact    bool // of text
	overhead int  // for each message

	mu    sync.Mutex
	known map[[sha256.Size]byte]int
}

const (
	countCacheMin = 256  // bytes; shorter texts are counted afresh
	countCacheMax = 8192 // texts remembered
)

// newTokenizerCounter counts with an injected tokenizer.json.
func newTokenizerCounter(t TextTokenizer) *textCounter {
	renderer, _ := t.(ChatRenderer)
	return &textCounter{count: t.CountText, renderer: renderer, source: "tokenizer.json", exact: true,
		overhead: overheadUnknown}
}

// newTiktokenCounter counts with the vocabulary of an OpenAI model, or with
// the newest one as an estimate.
func newTiktokenCounter(encoding string) (*textCounter, error) {
	c := &textCounter{source: "tiktoken", exact: true, overhead: overheadMessage}
	if encoding == "" {
		encoding = string(tokenizer.O200kBase)
		c.source, c.exact, c.overhead = "estimate", false, overheadUnknown
	}
	codec, err := tokenizer.Get(tokenizer.Encoding(encoding))
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", encoding, err)
	}
	c.count = func(text string) (int, error) { return codec.Count(strings.ToValidUTF8(text, "\uFFFD")) }
	return c, nil
}

// CountText counts plain text.
func (c *textCounter) CountText(ctx context.Context, text string) (Count, error) {
	if err := ctx.Err(); err != nil {
		return Count{}, err
	}
	n, err := c.cached(text)
	return Count{Tokens: n, Source: c.source, Exact: c.exact}, err
}

// CountChat counts a chat: rendered when the template is known, else added up.
func (c *textCounter) CountChat(ctx context.Context, msgs []Message) (Count, error) {
	if err := CheckMessages(msgs); err != nil {
		return Count{}, err
	}
	if c.renderer != nil {
		return c.countRendered(msgs)
	}
	sum := Count{Tokens: overheadReply, Source: c.source, Exact: c.exact && c.source == "tiktoken"}
	if !sum.Exact {
		sum.Source = "estimate"
	}
	for _, m := range msgs {
		n, err := c.CountText(ctx, m.Content)
		if err != nil {
			return Count{}, err
		}
		sum.Tokens += c.overhead + overheadRole + n.Tokens
		if m.Name != "" {
			n, err := c.CountText(ctx, m.Name)
			if err != nil {
				return Count{}, err
			}
			sum.Tokens += overheadName + n.Tokens
		}
	}
	return sum, nil
}

func (c *textCounter) countRendered(msgs []Message) (Count, error) {
	text, err := c.renderer.RenderChat(msgs)
	if err != nil {
		return Count{}, fmt.Errorf("count: %w", err)
	}
	n, err := c.renderer.CountRendered(text)
	if err != nil {
		return Count{}, fmt.Errorf("count: %w", err)
	}
	return Count{Tokens: n, Source: c.source, Exact: true}, nil
}

func (c *textCounter) cached(text string) (int, error) {
	if len(text) < countCacheMin {
		return c.counted(text)
	}
	key := sha256.Sum256([]byte(text))
	c.mu.Lock()
	n, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return n, nil
	}
	n, err := c.counted(text)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= countCacheMax {
		c.known = make(map[[sha256.Size]byte]int)
	}
	c.known[key] = n
	return n, nil
}

func (c *textCounter) counted(text string) (int, error) {
	n, err := c.count(text)
	if err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	return n, nil
}
