package backend

import (
	"context"
	"iter"
	"log/slog"
	"time"
	"unicode/utf8"
)

// LogConfig configures [WithLog].
type LogConfig struct {
	Logger *slog.Logger // default slog.Default()
	// Text also logs prompts and replies, at debug level. Off by default, since
	// they may hold what a user would not want in a log.
	Text bool
	// Redact is applied to every text and error before it is logged.
	Redact func(string) string
}

// logTextRunesMax cuts a logged text.
const logTextRunesMax = 4000

// WithLog logs each call to b: at info level what it was and what it cost, at
// warn level when it failed. It logs no headers, keys or configuration.
func WithLog(b LanguageBackend, cfg LogConfig) LanguageBackend {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Redact == nil {
		cfg.Redact = func(s string) string { return s }
	}
	return &logged{b, cfg}
}

type logged struct {
	LanguageBackend
	cfg LogConfig
}

func (l *logged) Unwrap() LanguageBackend { return l.LanguageBackend }

func (l *logged) ChatCompletion(ctx context.Context, req *Request) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		start := time.Now()
		l.prompt(ctx, req)
		var last Delta
		var lastErr error
		var text []byte
		deltas, broken := 0, false
		for d, err := range l.LanguageBackend.ChatCompletion(ctx, req) {
			deltas++
			last, lastErr = d, err
			if l.cfg.Text && len(text) < logTextRunesMax*utf8.UTFMax {
				text = append(text, d.Text...)
			}
			if !yield(d, err) {
				broken = err == nil && d.Finish == ""
				break
			}
		}
		attrs := []slog.Attr{slog.Int("deltas", deltas), slog.String("finish", string(last.Finish)),
			slog.Bool("broken_off", broken)}
		attrs = append(attrs, usageAttrs(last.Usage)...)
		if l.cfg.Text {
			l.text(ctx, "reply", string(text))
		}
		l.done(ctx, "chat", start, lastErr, attrs)
	}
}

func (l *logged) ChooseFromOptions(ctx context.Context, req *Request, options []Option,
) (*Choice, error) {
	start := time.Now()
	l.prompt(ctx, req)
	c, err := l.LanguageBackend.ChooseFromOptions(ctx, req, options)
	attrs := []slog.Attr{slog.Int("options", len(options))}
	if c != nil {
		attrs = append(attrs, slog.Int("index", c.Index), slog.String("method", c.Method),
			slog.Bool("abstained", c.Abstained),
			slog.Int("evaluated_tokens", c.EvaluatedTokens), slog.Int("cached_tokens", c.CachedTokens),
			slog.Int("completion_tokens", c.CompletionTokens))
	}
	l.done(ctx, "choose", start, err, attrs)
	return c, err
}

func (l *logged) CountTokens(ctx context.Context, msgs []Message) (int, error) {
	n, err := l.LanguageBackend.CountTokens(ctx, msgs)
	if err != nil {
		l.cfg.Logger.WarnContext(ctx, "model: count failed", "model", l.ModelID(), "error",
			l.cfg.Redact(err.Error()))
	}
	return n, err
}

func (l *logged) done(ctx context.Context, op string, start time.Time, err error, attrs []slog.Attr,
) {
	attrs = append([]slog.Attr{slog.String("model", l.ModelID()),
		slog.Duration("wall", time.Since(start))}, attrs...)
	if err != nil {
		attrs = append(attrs, slog.String("error", l.cfg.Redact(err.Error())))
		l.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "model: "+op+" failed", attrs...)
		return
	}
	l.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "model: "+op, attrs...)
}

func (l *logged) prompt(ctx context.Context, req *Request) {
	if !l.cfg.Text || req == nil {
		return
	}
	for _, m := range req.Messages {
		l.text(ctx, string(m.Role), m.Content)
	}
}

func (l *logged) text(ctx context.Context, role, text string) {
	l.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "model: text",
		slog.String("role", role), slog.String("text", firstRunes(l.cfg.Redact(text), logTextRunesMax)),
		slog.Int("bytes", len(text)))
}

func usageAttrs(u *Usage) []slog.Attr {
	if u == nil {
		return nil
	}
	return []slog.Attr{slog.Int("prompt_tokens", u.PromptTokens),
		slog.Int("evaluated_tokens", u.EvaluatedTokens),
		slog.Int("cached_tokens", u.CachedTokens), slog.Int("completion_tokens", u.CompletionTokens)}
}
