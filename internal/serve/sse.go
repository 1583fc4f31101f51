package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// events writes server-sent events. The header goes out with the first one, so
// that an error before it is still an HTTP status.
//
// While a long prompt is computed, comments keep the connection: some clients and proxies
// give up on one that says nothing for a minute.
type events struct {
	w     http.ResponseWriter
	conn  *http.ResponseController
	mu    sync.Mutex // of what follows, and of writing
	begun bool
	beat  *time.Timer
	ended bool
}

// How long a stream may say nothing: at its start, where an error would still be a status,
// and later.
const (
	firstSilence = time.Second
	silence      = 10 * time.Second
)

// newEvents begins a stream; close must be called before the handler returns.
func newEvents(w http.ResponseWriter) *events {
	e := &events{w: w, conn: http.NewResponseController(w)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.beat = time.AfterFunc(firstSilence, func() { _ = e.put([]byte(": \n\n")) })
	return e
}

// close ends the comments.
func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	e.beat.Stop()
}

// send writes one event. A client that takes none for writeWithin is gone.
func (e *events) send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	return e.write(data)
}

// sendNamed writes an event with a name beside its data.
func (e *events) sendNamed(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	return e.line("event: "+name+"\ndata: ", data)
}

func (e *events) write(data []byte) error { return e.line("data: ", data) }

func (e *events) line(head string, data []byte) error {
	line := make([]byte, 0, len(head)+len(data)+2)
	return e.put(append(append(append(line, head...), data...), "\n\n"...))
}

// put writes text, and the head before the first.
func (e *events) put(text []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil
	}
	e.beat.Reset(silence)
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no")
		e.w.WriteHeader(http.StatusOK)
	}
	_ = e.conn.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, err := e.w.Write(text); err != nil {
		return errGone
	}
	if err := e.conn.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errGone
	}
	return nil
}

// done ends the stream of a whole reply.
func (e *events) done() error { return e.write([]byte("[DONE]")) }

// fail tells of an error: as a status when nothing was sent yet, else as an
// event, and no [DONE] follows.
func (e *events) fail(err error) error {
	return e.failBy(err, func(api *apiError) error { return e.send(api.body()) })
}

// failBy is fail with an event of another form.
func (e *events) failBy(err error, tell func(*apiError) error) error {
	var api *apiError
	e.mu.Lock()
	begun := e.begun
	e.ended = e.ended || !begun // from here on the answer is a status
	e.mu.Unlock()
	if !begun || !errors.As(err, &api) {
		return err
	}
	if tell(api) != nil {
		return errGone
	}
	return err
}
