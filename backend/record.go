package backend

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
)

// A recording is a JSONL file: one header line, then one line for each call in
// the order in which they ended.
const (
	recordVersion      = 1
	recordLineBytesMax = 64 << 20
)

type recordHeader struct {
	Version       int          `json:"version"`
	Model         string       `json:"model"`
	ContextLength int          `json:"context_length"`
	Capabilities  Capabilities `json:"capabilities"`
}

// recordCall is one line. Request is what must be equal for a replay.
type recordCall struct {
	Request recordRequest `json:"request"`
	Deltas  []recordDelta `json:"deltas,omitempty"`
	Choice  *Choice       `json:"choice,omitempty"`
	Count   *recordCount  `json:"count,omitempty"`
	Error   *recordError  `json:"error,omitempty"`
}

type recordRequest struct {
	Op       string    `json:"op"` // "chat", "choose", "count_chat" or "count_text"
	Request  *Request  `json:"request,omitempty"`
	Messages []Message `json:"messages,omitempty"`
	Text     string    `json:"text,omitempty"`
	Options  []Option  `json:"options,omitempty"`
}

type recordDelta struct {
	Text   string         `json:"text,omitempty"`
	Count  int            `json:"count,omitempty"`
	Tokens []TokenLogprob `json:"tokens,omitempty"`
	Finish FinishReason   `json:"finish,omitempty"`
	Stop   string         `json:"stop,omitempty"`
	Usage  *Usage         `json:"usage,omitempty"`
	Call   *CallDelta     `json:"call,omitempty"`
}

type recordCount struct {
	Count
	Exact bool `json:"exact"`
}

// recordError keeps what callers look at: the text, and a ContextError's
// numbers.
type recordError struct {
	Text    string        `json:"text"`
	Context *ContextError `json:"context,omitempty"`
}

func toRecordError(err error) *recordError {
	if err == nil {
		return nil
	}
	r := &recordError{Text: err.Error()}
	errors.As(err, &r.Context)
	return r
}

func (r *recordError) err() error {
	switch {
	case r == nil:
		return nil
	case r.Context != nil:
		return r.Context
	}
	return errors.New(r.Text)
}

// Recorder is middleware that writes each call and its result to a file, for
// [Replay]. Calls whose context was cancelled, or whose reply was not read to
// the end, are not recorded.
type Recorder struct {
	LanguageBackend

	mu  sync.Mutex
	enc *json.Encoder
	err error
}

// Record records all calls to b on w. The file holds prompts and replies in
// the clear, and no credentials.
func Record(b LanguageBackend, w io.Writer) (*Recorder, error) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	h := recordHeader{recordVersion, b.ModelID(), b.ContextLength(), CapabilitiesOf(b)}
	if err := enc.Encode(h); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &Recorder{LanguageBackend: b, enc: enc}, nil
}

// Unwrap gives the backend that is recorded.
func (r *Recorder) Unwrap() LanguageBackend { return r.LanguageBackend }

// Err is the first error of writing the recording.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Recorder) write(ctx context.Context, c *recordCall) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	if err := r.enc.Encode(c); err != nil {
		r.err = fmt.Errorf("record: %w", err)
	}
}

// ChatCompletion records the reply once it is complete.
func (r *Recorder) ChatCompletion(ctx context.Context, req *Request) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		call := &recordCall{Request: recordRequest{Op: "chat", Request: req}}
		done := false
		for d, err := range r.LanguageBackend.ChatCompletion(ctx, req) {
			if err != nil {
				call.Error, done = toRecordError(err), true
			} else {
				call.Deltas = append(call.Deltas, recordDelta(d))
				done = d.Finish != ""
			}
			if !yield(d, err) {
				break
			}
		}
		if done {
			r.write(ctx, call)
		}
	}
}

// ChooseFromOptions records the decision.
func (r *Recorder) ChooseFromOptions(ctx context.Context, req *Request, options []Option) (*Choice, error) {
	c, err := r.LanguageBackend.ChooseFromOptions(ctx, req, options)
	r.write(ctx, &recordCall{Request: recordRequest{Op: "choose", Request: req, Options: options}, Choice: c, Error: toRecordError(err)})
	return c, err
}

// CountTokens records the count.
func (r *Recorder) CountTokens(ctx context.Context, msgs []Message) (int, error) {
	c, err := r.CountChat(ctx, msgs)
	return c.Tokens, err
}

// CountChat records the count with its source, when the backend tells it.
func (r *Recorder) CountChat(ctx context.Context, msgs []Message) (Count, error) {
	var c Count
	var err error
	if counter, ok := As[Counter](r.LanguageBackend); ok {
		c, err = counter.CountChat(ctx, msgs)
	} else {
		c.Source, c.Exact = "backend", true
		c.Tokens, err = r.LanguageBackend.CountTokens(ctx, msgs)
	}
	r.write(ctx, &recordCall{Request: recordRequest{Op: "count_chat", Messages: msgs}, Count: &recordCount{c, c.Exact}, Error: toRecordError(err)})
	return c, err
}

// CountText records the count; a backend that is no [Counter] can't count text.
func (r *Recorder) CountText(ctx context.Context, text string) (Count, error) {
	counter, ok := As[Counter](r.LanguageBackend)
	if !ok {
		return Count{}, fmt.Errorf("%s: count text: %w", r.ModelID(), ErrUnsupported)
	}
	c, err := counter.CountText(ctx, text)
	r.write(ctx, &recordCall{Request: recordRequest{Op: "count_text", Text: text}, Count: &recordCount{c, c.Exact}, Error: toRecordError(err)})
	return c, err
}

// Replayer answers from a recording and from nothing else. Calls are matched
// by their content, so that concurrent callers may come in any order; a call
// recorded several times is answered in the order of the recording. Counts may
// be asked for any number of times.
type Replayer struct {
	header recordHeader

	mu    sync.Mutex
	calls []replayCall
}

type replayCall struct {
	recordCall
	key  string // canonical JSON of the request
	used bool
}

// Replay reads a recording made by [Record].
func Replay(in io.Reader) (*Replayer, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, recordLineBytesMax)
	r := &Replayer{}
	for n := 1; lines.Scan(); n++ {
		var err error
		if n == 1 {
			err = r.readHeader(lines.Bytes())
		} else {
			err = r.readCall(lines.Bytes())
		}
		if err != nil {
			return nil, fmt.Errorf("replay: line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	if r.header.Version == 0 {
		return nil, errors.New("replay: the recording is empty")
	}
	return r, nil
}

func (r *Replayer) readHeader(line []byte) error {
	if err := json.Unmarshal(line, &r.header); err != nil {
		return err
	}
	if r.header.Version != recordVersion {
		return fmt.Errorf("version %d of the recording is not known, only %d", r.header.Version, recordVersion)
	}
	return nil
}

func (r *Replayer) readCall(line []byte) error {
	var c recordCall
	if err := json.Unmarshal(line, &c); err != nil {
		return err
	}
	key, err := json.Marshal(c.Request)
	if err != nil {
		return err
	}
	r.calls = append(r.calls, replayCall{recordCall: c, key: string(key)})
	return nil
}

// ModelID is that of the recorded backend.
func (r *Replayer) ModelID() string { return r.header.Model }

// ContextLength is that of the recorded backend.
func (r *Replayer) ContextLength() int { return r.header.ContextLength }

// Capabilities are those of the recorded backend.
func (r *Replayer) Capabilities() Capabilities { return r.header.Capabilities }

// Unused is how many recorded calls were not asked for, counts not included.
func (r *Replayer) Unused() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.calls {
		if !c.used && c.Count == nil {
			n++
		}
	}
	return n
}

// find takes the next recorded call with this request.
func (r *Replayer) find(ctx context.Context, request recordRequest) (*recordCall, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	played := 0
	for i := range r.calls {
		c := &r.calls[i]
		if c.key != string(key) {
			continue
		}
		if c.used && c.Count == nil {
			played++
			continue
		}
		c.used = true
		return &c.recordCall, nil
	}
	if played > 0 {
		return nil, fmt.Errorf("replay: this %s request was recorded %d times and is asked for once more", request.Op, played)
	}
	return nil, r.notRecorded(request.Op, string(key))
}

// notRecorded explains a request that is not in the recording by its first
// difference from the most similar one of its kind.
func (r *Replayer) notRecorded(op, key string) error {
	best, bestAt := "", -1
	for _, c := range r.calls {
		if c.Request.Op != op {
			continue
		}
		if at := commonPrefix(c.key, key); at > bestAt {
			best, bestAt = c.key, at
		}
	}
	if bestAt < 0 {
		return fmt.Errorf("replay: no %s request was recorded", op)
	}
	return fmt.Errorf("replay: this %s request was not recorded; it first differs from the most similar one at byte %d: recorded %q, asked %q",
		op, bestAt, around(best, bestAt), around(key, bestAt))
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// around shows the text at byte i with what stands before it.
func around(s string, i int) string {
	const before, after = 30, 50
	from, to := max(0, i-before), min(len(s), i+after)
	out := s[from:to]
	if from > 0 {
		out = "…" + out
	}
	if to < len(s) {
		out += "…"
	}
	return out
}

// ChatCompletion streams the recorded reply in its recorded pieces.
func (r *Replayer) ChatCompletion(ctx context.Context, req *Request) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		call, err := r.find(ctx, recordRequest{Op: "chat", Request: req})
		if err != nil {
			yield(Delta{}, err)
			return
		}
		for _, d := range call.Deltas {
			if err := ctx.Err(); err != nil {
				yield(Delta{}, err)
				return
			}
			if !yield(Delta(d), nil) {
				return
			}
		}
		if err := call.Error.err(); err != nil {
			yield(Delta{}, err)
		}
	}
}

// ChooseFromOptions gives the recorded decision.
func (r *Replayer) ChooseFromOptions(ctx context.Context, req *Request, options []Option) (*Choice, error) {
	call, err := r.find(ctx, recordRequest{Op: "choose", Request: req, Options: options})
	if err != nil {
		return nil, err
	}
	return call.Choice, call.Error.err()
}

// CountTokens gives the recorded count.
func (r *Replayer) CountTokens(ctx context.Context, msgs []Message) (int, error) {
	c, err := r.CountChat(ctx, msgs)
	return c.Tokens, err
}

// CountChat gives the recorded count.
func (r *Replayer) CountChat(ctx context.Context, msgs []Message) (Count, error) {
	return r.count(ctx, recordRequest{Op: "count_chat", Messages: msgs})
}

// CountText gives the recorded count.
func (r *Replayer) CountText(ctx context.Context, text string) (Count, error) {
	return r.count(ctx, recordRequest{Op: "count_text", Text: text})
}

func (r *Replayer) count(ctx context.Context, request recordRequest) (Count, error) {
	call, err := r.find(ctx, request)
	if err != nil {
		return Count{}, err
	}
	if call.Count == nil {
		return Count{}, call.Error.err()
	}
	c := call.Count.Count
	c.Exact = call.Count.Exact
	return c, call.Error.err()
}
