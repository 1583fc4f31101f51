package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"agent/backend"
)

// Another is a model that is served beside the first one. It is loaded when it is asked
// for, and given up when nobody has used it for [Config.KeepAlive].
type Another struct {
	Name string
	Open func(ctx context.Context) (backend.LanguageBackend, error)
}

// KeepAliveDefault is how long another model stays loaded without use.
const KeepAliveDefault = 5 * time.Minute

// other is [Another] as a server has it.
type other struct {
	Another
	of *Server

	mu    sync.Mutex // held while it is loaded or given up
	model *model     // nil: not loaded
	users int        // requests in work
	used  time.Time
	idle  *time.Timer
}

// another is the model of that name, which the client asks for; nil: none of these.
func (s *Server) another(name string) *other {
	name = strings.TrimSuffix(name, latest) // Ollama's clients add it
	for _, o := range s.others {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// target is the model that a request names. Another than the first is kept until release
// is called.
func (s *Server) target(ctx context.Context, f *fields) (m *model, release func(), err error) {
	var asked string
	if f != nil {
		_ = json.Unmarshal(f.raw["model"], &asked) // what is wrong with it is told by who reads all of it
	}
	o := s.another(asked)
	if o == nil {
		return s.first, func() {}, nil
	}
	if m, err = o.take(context.WithoutCancel(ctx)); err != nil {
		return nil, nil, err
	}
	return m, o.release, nil
}

// take loads the model, unless it is, and counts one user more.
func (o *other) take(ctx context.Context) (*model, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.model == nil {
		b, err := o.open(ctx)
		if err != nil {
			return nil, &apiError{status: http.StatusServiceUnavailable, code: "model_not_loaded",
				param: "model", message: fmt.Sprintf("The model %q can't be loaded: %v.", o.Name, err)}
		}
		o.model = o.of.newModel(b, []string{o.Name})
	}
	o.users++
	if o.idle != nil {
		o.idle.Stop()
	}
	return o.model, nil
}

// open loads the model. Where that fails others are given up, the one longest unused
// first, and it is tried again: memory is what is missing most of the time.
func (o *other) open(ctx context.Context) (backend.LanguageBackend, error) {
	for {
		o.of.log.Info("loading", "model", o.Name)
		b, err := o.Open(ctx)
		if err == nil || !o.of.giveUpOldest(o) {
			return b, err
		}
	}
}

func (s *Server) giveUpOldest(but *other) bool {
	idle := slices.DeleteFunc(slices.Clone(s.others), func(o *other) bool { return o == but })
	slices.SortFunc(idle, func(a, b *other) int { return a.lastUse().Compare(b.lastUse()) })
	return slices.ContainsFunc(idle, (*other).giveUp)
}

func (o *other) lastUse() time.Time {
	if !o.mu.TryLock() { // it is being loaded
		return time.Now()
	}
	defer o.mu.Unlock()
	return o.used
}

// release ends one use.
func (o *other) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.users--
	o.used = time.Now()
	if o.users == 0 && o.of.cfg.KeepAlive > 0 {
		o.idle = time.AfterFunc(o.of.cfg.KeepAlive, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			if time.Since(o.used) >= o.of.cfg.KeepAlive {
				o.unload()
			}
		})
	}
}

// giveUp unloads the model, unless it is in use, being loaded, or not there.
func (o *other) giveUp() bool {
	if !o.mu.TryLock() {
		return false
	}
	defer o.mu.Unlock()
	return o.unload()
}

func (o *other) unload() bool {
	if o.model == nil || o.users > 0 {
		return false
	}
	o.of.log.Info("unloading", "model", o.Name)
	closeBackend(o.model.backend)
	o.model = nil
	return true
}

func closeBackend(b backend.LanguageBackend) {
	if c, ok := backend.As[io.Closer](b); ok {
		_ = c.Close() // nothing can be done about it
	}
}

// closeOthers unloads all, when no request is in work any more.
func (s *Server) closeOthers() {
	for _, o := range s.others {
		o.giveUp()
	}
}

// state says whether the model is loaded, and how long a context it has then.
func (o *other) state() (state string, contextLength int) {
	if !o.mu.TryLock() {
		return "loading", 0
	}
	defer o.mu.Unlock()
	if o.model == nil {
		return "not loaded", 0
	}
	return "loaded", o.model.backend.ContextLength()
}
