package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"agent/internal/serve/work"
	"agent/session"
)

// Limits of tasks.
const (
	atOnceMax  = 4        // tasks in work
	keptMax    = 32       // tasks whose events are remembered
	bodyMax    = 64 << 10 // of a request
	listedMax  = 50       // past runs that are listed
	eventsMax  = 20000    // of one task
	reasonDone = "it was decided already, or is no question of this task"
)

// Config says what tasks may do.
type Config struct {
	Open     work.Opener
	Folder   string // where they work
	Sessions string // the folder of session files
}

// Tasks are the runs that pages began. They go on without a page, which may be
// loaded again, and end with Close.
type Tasks struct {
	cfg Config
	ctx context.Context
	end context.CancelFunc

	mu   sync.Mutex
	list []*task // the oldest first
	made int
	wg   sync.WaitGroup
}

// NewTasks makes an empty list.
func NewTasks(cfg Config) *Tasks {
	ctx, end := context.WithCancel(context.Background())
	return &Tasks{cfg: cfg, ctx: ctx, end: end}
}

// Close ends all tasks and waits for them.
func (t *Tasks) Close() {
	t.end()
	t.wg.Wait()
}

// Handler answers below /tasks:
//
//	GET  /tasks                 the folder, tasks of this server, and past runs
//	POST /tasks                 {"task":"…"} begins one: {"id":"…"}
//	GET  /tasks/{id}/events     its events, from the first: server-sent, each as `agent run --json` prints it
//	POST /tasks/{id}/answer     {"question":1,"allow":true} answers what it asks
//	POST /tasks/{id}/stop       ends it
//	GET  /tasks/past/{id}       the past run of a session, as a page
func (t *Tasks) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /tasks", t.index)
	mux.HandleFunc("POST /tasks", t.begin)
	mux.HandleFunc("GET /tasks/{id}/events", t.events)
	mux.HandleFunc("POST /tasks/{id}/answer", t.answer)
	mux.HandleFunc("POST /tasks/{id}/stop", t.stop)
	mux.HandleFunc("GET /tasks/{id}/page", t.past)
	return mux
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	reply(w, status, map[string]any{"error": map[string]string{"message": fmt.Sprintf(format,
		args...)}})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone
}

// read decodes the body of a request; false: it was answered.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyMax))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		refuse(w, http.StatusBadRequest, "the request can't be read: %v", err)
		return false
	}
	return true
}

// listed is a task or a past run, as the page lists it.
type listed struct {
	ID      string       `json:"id"`
	Task    string       `json:"task"`
	State   string       `json:"state"` // working, asking or ended
	Stop    session.Stop `json:"stop,omitempty"`
	Started string       `json:"started,omitempty"`
}

func (t *Tasks) index(w http.ResponseWriter, _ *http.Request) {
	out := struct {
		Folder string   `json:"folder"`
		Tasks  []listed `json:"tasks"`
		Past   []listed `json:"past"`
	}{t.cfg.Folder, []listed{}, []listed{}}
	t.mu.Lock()
	for _, k := range slices.Backward(t.list) {
		out.Tasks = append(out.Tasks, listed{ID: k.id, Task: k.text, State: k.state()})
	}
	t.mu.Unlock()
	all, err := session.List(t.cfg.Sessions)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "past runs can't be listed: %v", err)
		return
	}
	for _, info := range slices.Backward(all) {
		if info.WorkDir != t.cfg.Folder {
			continue
		}
		if len(out.Past) == listedMax {
			break
		}
		out.Past = append(out.Past, listed{ID: info.ID, Task: info.Task, State: "ended", Stop: info.Stop,
			Started: info.Started.Format("2006-01-02 15:04")})
	}
	reply(w, http.StatusOK, out)
}

func (t *Tasks) begin(w http.ResponseWriter, r *http.Request) {
	var order struct {
		Task string `json:"task"`
	}
	if !read(w, r, &order) {
		return
	}
	if strings.TrimSpace(order.Task) == "" {
		refuse(w, http.StatusBadRequest, "the task is empty")
		return
	}
	k, err := t.add(order.Task)
	if err != nil {
		refuse(w, http.StatusTooManyRequests, "%v", err)
		return
	}
	t.wg.Go(func() { k.work(t.cfg) })
	reply(w, http.StatusCreated, map[string]string{"id": k.id})
}

func (t *Tasks) add(text string) (*task, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	working := 0
	for _, k := range t.list {
		if k.state() != stateEnded {
			working++
		}
	}
	if working >= atOnceMax {
		return nil, fmt.Errorf("%d tasks are in work, which is as many as there may be; wait for one or stop it", working)
	}
	t.made++
	ctx, end := context.WithCancel(t.ctx)
	k := &task{id: fmt.Sprint(t.made), text: text, ctx: ctx, end: end, changed: make(chan struct{})}
	t.list = append(t.list, k)
	if len(t.list) > keptMax {
		if i := slices.IndexFunc(t.list, func(k *task) bool { return k.state() == stateEnded }); i >= 0 {
			t.list = slices.Delete(t.list, i, i+1)
		}
	}
	return k, nil
}

// find is the task of a request; nil: it was answered.
func (t *Tasks) find(w http.ResponseWriter, r *http.Request) *task {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.list {
		if k.id == r.PathValue("id") {
			return k
		}
	}
	refuse(w, http.StatusNotFound,
		"there is no task %q: this server has been started again, or it was long ago", r.PathValue("id"))
	return nil
}

// events sends what happened, and what happens, until the task has ended.
func (t *Tasks) events(w http.ResponseWriter, r *http.Request) {
	k := t.find(w, r)
	if k == nil {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for from := 0; ; {
		lines, changed, ended := k.since(from)
		for _, line := range lines {
			if _, err := fmt.Fprintf(w, "data: %s\n\n", line); err != nil {
				return
			}
		}
		if from += len(lines); ended {
			return
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (t *Tasks) answer(w http.ResponseWriter, r *http.Request) {
	k := t.find(w, r)
	var said struct {
		Question int  `json:"question"`
		Allow    bool `json:"allow"`
	}
	if k == nil || !read(w, r, &said) {
		return
	}
	if !k.decide(said.Question, session.Decision{Allow: said.Allow}) {
		refuse(w, http.StatusConflict, "question %d: %s", said.Question, reasonDone)
		return
	}
	reply(w, http.StatusOK, map[string]any{})
}

func (t *Tasks) stop(w http.ResponseWriter, r *http.Request) {
	if k := t.find(w, r); k != nil {
		k.end()
		reply(w, http.StatusOK, map[string]any{})
	}
}

// past shows a run of this folder from its session file.
func (t *Tasks) past(w http.ResponseWriter, r *http.Request) {
	path, err := session.Find(t.cfg.Sessions, r.PathValue("id"))
	if err != nil {
		refuse(w, http.StatusNotFound, "%v", err)
		return
	}
	run, err := session.Load(path)
	if err != nil || run.WorkDir != t.cfg.Folder {
		refuse(w, http.StatusNotFound, "there is no run %q of this folder", r.PathValue("id"))
		return
	}
	var out bytes.Buffer
	if err := session.ExportHTML(&out, run); err != nil {
		refuse(w, http.StatusInternalServerError, "%v", err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.Copy(w, &out) // a client that is gone
}

// problem is an error with what can be done about it.
func problem(err error) string {
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		return err.Error() + "; " + hint.Hint()
	}
	return err.Error()
}
