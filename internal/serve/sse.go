package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// events writes server-sent events. The header goes out with the first one, so
// that an error before it is still an HTTP status.
type events struct {
	w     http.ResponseWriter
	conn  *http.ResponseController
	begun bool
}

func newEvents(w http.ResponseWriter) *events {
	return &events{w: w, conn: http.NewResponseController(w)}
}

// send writes one event. A client that takes none for writeWithin is gone.
func (e *events) send(v any) error { return e.sendAs("", v) }

// sendAs writes one event with a name.
func (e *events) sendAs(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	return e.write(name, data)
}

func (e *events) write(name string, data []byte) error {
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no")
		e.w.WriteHeader(http.StatusOK)
	}
	_ = e.conn.SetWriteDeadline(time.Now().Add(writeWithin))
	line := make([]byte, 0, len(name)+len(data)+16)
	if name != "" {
		line = append(append(append(line, "event: "...), name...), '\n')
	}
	line = append(append(append(line, "data: "...), data...), "\n\n"...)
	if _, err := e.w.Write(line); err != nil {
		return errGone
	}
	if err := e.conn.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errGone
	}
	return nil
}

// done ends the stream of a whole reply.
func (e *events) done() error { return e.write("", []byte("[DONE]")) }

// fail tells of an error: as a status when nothing was sent yet, else as an
// event, and no [DONE] follows.
func (e *events) fail(err error) error {
	var api *apiError
	if !e.begun || !errors.As(err, &api) {
		return err
	}
	if e.send(api.body()) != nil {
		return errGone
	}
	return err
}
