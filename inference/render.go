package inference

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"agent/inference/internal/llama"
)

// A chat template is a program by whoever made the file, and it may misbehave
// for one message only, so that trying it once shows nothing. The native engine
// that runs it can't be stopped, and recursion in it ends the process. So
// templates are rendered in children that are kept, with a limit on memory and
// time; one that a template ended costs that request an error and is replaced.

// renderEnv makes a process a child that renders.
const renderEnv = "AGENT_RENDER_CHILD"

// Limits of rendering. A usual chat takes well under a millisecond.
const (
	renderTimeMax   = 5 * time.Second
	renderMemoryMax = 512 << 20 // of the child, beside what is mapped from files
	renderReplyMax  = 256 << 20 // bytes of a message between parent and child
	renderStartMax  = 30 * time.Second
	renderersMax    = 8 // at a time; more requests wait
	renderersIdle   = 2 // kept
	renderPatient   = 50 * time.Millisecond
)

// ErrTemplate: a chat template went beyond what rendering may take, or ended
// the child that rendered it.
var ErrTemplate = errors.New("the chat template misbehaves")

func templateError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTemplate, fmt.Sprintf(format, args...))
}

var (
	errTemplateMemory = templateError("rendering needs more than %d MiB of memory and was stopped",
		renderMemoryMax>>20)
	errTemplateLong = templateError("it renders to more than %d MiB", renderReplyMax>>20)
)

// Kinds of answers of a child; each is followed by a length and the bytes.
const (
	answerReady  = 'r' // alone
	answerText   = 't'
	answerRefuse = 'e' // the template's own error
	answerMemory = 'm'
	answerLast   = 0x80 // a bit beside: the child renders no more
)

// runRenderChild does the child's work when this process is one.
func runRenderChild() (code int, child bool) {
	if os.Getenv(renderEnv) == "" {
		return 0, false
	}
	runtime.LockOSThread() // what is slow lowers the priority of this thread
	if err := limitRenderer(renderMemoryMax); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1, true
	}
	chats := make(chan []byte)
	go func() {
		for in := bufio.NewReader(os.Stdin); ; {
			chat, err := readFrame(in)
			if err != nil {
				os.Exit(0) // the parent is gone, also while a template runs
			}
			chats <- chat
		}
	}()
	_, _ = os.Stdout.Write([]byte{answerReady})
	for chat := range chats {
		if !answer(os.Stdout, chat) {
			break
		}
	}
	return 0, true
}

// answer renders one chat; false: this process has served its time.
func answer(out io.Writer, chat []byte) bool {
	slow := make(chan bool, 1)
	timer := time.AfterFunc(renderPatient, lowerPriority(slow))
	text, err := llama.RenderTemplate(chat)
	fresh := timer.Stop() || !<-slow
	kind := byte(answerText)
	if err != nil {
		kind, text = answerRefuse, []byte(err.Error())
		if strings.Contains(err.Error(), "out of memory") || strings.Contains(err.Error(), "bad_alloc") {
			kind, fresh = answerMemory, false
		}
	}
	if !fresh {
		kind |= answerLast
	}
	return writeFrame(out, kind, text) == nil && fresh
}

func writeFrame(w io.Writer, kind byte, data []byte) error {
	head := binary.LittleEndian.AppendUint64([]byte{kind}, uint64(len(data)))
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

func readFrame(r io.Reader) ([]byte, error) {
	_, data, err := readAnswer(r)
	return data, err
}

func readAnswer(r io.Reader) (kind byte, data []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint64(head[1:])
	if n > renderReplyMax {
		return 0, nil, errTemplateLong
	}
	data = make([]byte, n)
	_, err = io.ReadFull(r, data)
	return head[0], data, err
}

// renderers are the children that render for one model. The zero executable
// renders in this process.
type renderers struct {
	executable string
	timeMax    time.Duration
	turns      chan struct{}

	mu     sync.Mutex
	idle   []*renderer
	closed bool
}

func newRenderers(executable string) *renderers {
	return &renderers{executable: executable, timeMax: renderTimeMax,
		turns: make(chan struct{}, renderersMax)}
}

// warm starts the first child while the model loads.
func (p *renderers) warm() {
	if p.executable == "" {
		return
	}
	go func() {
		// What is wrong is reported when a chat is rendered.
		if r, err := startRenderer(p.executable); err == nil {
			p.put(r)
		}
	}()
}

// render renders one chat as [llama.RenderTemplate] does.
func (p *renderers) render(ctx context.Context, chat []byte) ([]byte, error) {
	if p.executable == "" {
		return llama.RenderTemplate(chat)
	}
	if len(chat) > renderReplyMax {
		return nil, fmt.Errorf("the chat has %d bytes, more than the %d that can be rendered", len(chat),
			renderReplyMax)
	}
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	r, err := p.take()
	if err != nil {
		return nil, err
	}
	text, keep, err := r.render(ctx, chat, p.timeMax)
	if keep {
		p.put(r)
	} else {
		r.close()
	}
	return text, err
}

// take is a child that waits, or a new one.
func (p *renderers) take() (*renderer, error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return startRenderer(p.executable)
		}
		r := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if !r.ended() {
			return r, nil
		}
		r.close()
	}
}

func (p *renderers) put(r *renderer) {
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < renderersIdle
	if keep {
		p.idle = append(p.idle, r)
	}
	p.mu.Unlock()
	if !keep {
		r.close()
	}
}

// close ends the children that wait; those at work end with it.
func (p *renderers) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, r := range idle {
		r.close()
	}
}

// renderer is one child.
type renderer struct {
	cmd     *exec.Cmd
	in, out *os.File
	said    tailWriter // what it wrote on stderr
	done    chan struct{}
	end     error // of the process, once done is closed
}

// rendererEnv is what a child gets of this process's environment: what the
// loader needs to find its libraries.
var rendererEnv = []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"}

func startRenderer(executable string) (*renderer, error) {
	r := &renderer{cmd: exec.Command(executable), done: make(chan struct{})}
	r.cmd.Env = []string{renderEnv + "=1", "GOTRACEBACK=none"}
	for _, name := range rendererEnv {
		if value, ok := os.LookupEnv(name); ok {
			r.cmd.Env = append(r.cmd.Env, name+"="+value)
		}
	}
	r.cmd.Stderr = &r.said
	r.cmd.SysProcAttr = rendererAttr()
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start renderer: %w", err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		_, _ = stdin.Close(), in.Close()
		return nil, fmt.Errorf("start renderer: %w", err)
	}
	r.cmd.Stdin, r.cmd.Stdout, r.in, r.out = stdin, stdout, in, out
	err = r.cmd.Start()
	_, _ = stdin.Close(), stdout.Close()
	if err != nil {
		_, _ = in.Close(), out.Close()
		return nil, fmt.Errorf("start renderer: %w", err)
	}
	go func() {
		r.end = r.cmd.Wait()
		close(r.done)
	}()
	return r, r.awaitReady()
}

// awaitReady waits until the child has set itself up.
func (r *renderer) awaitReady() error {
	timer := time.AfterFunc(renderStartMax, r.kill)
	defer timer.Stop()
	var ready [1]byte
	if _, err := io.ReadFull(r.out, ready[:]); err == nil && ready[0] == answerReady {
		return nil
	}
	r.close()
	return fmt.Errorf("start renderer: %s said no word of being ready (%w) %s", r.cmd.Path, r.end,
		r.said.last())
}

func (r *renderer) kill() { _ = r.cmd.Process.Kill() }

func (r *renderer) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// close ends the child and waits for it.
func (r *renderer) close() {
	r.kill()
	<-r.done
	_, _ = r.in.Close(), r.out.Close()
}

// render has the child render one chat; keep: it may render another.
func (r *renderer) render(ctx context.Context, chat []byte, timeMax time.Duration,
) (text []byte, keep bool, err error) {
	late := templateError("rendering did not end within %v and was stopped", timeMax)
	ctx, cancel := context.WithTimeoutCause(ctx, timeMax, late)
	defer cancel()
	stop := context.AfterFunc(ctx, r.kill)
	kind, text, err := r.ask(chat)
	keep = stop() && kind&answerLast == 0
	switch kind &^= answerLast; {
	case err != nil && ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case errors.Is(err, errTemplateLong):
		return nil, false, err
	case err != nil:
		return nil, false, r.death()
	case kind == answerMemory:
		return nil, false, errTemplateMemory
	case kind == answerRefuse:
		return nil, keep, errors.New(string(text))
	}
	return text, keep, nil
}

func (r *renderer) ask(chat []byte) (kind byte, text []byte, err error) {
	if err := writeFrame(r.in, answerText, chat); err != nil {
		return 0, nil, err
	}
	return readAnswer(r.out)
}

// death says how the child ended that a template ended.
func (r *renderer) death() error {
	r.kill() // it may still be on its way
	<-r.done
	if said := string(r.said.buf); strings.Contains(said, "out of memory") ||
		strings.Contains(said, "cannot allocate memory") {
		return errTemplateMemory
	}
	return templateError("it ended the process that rendered it (%v), as recursion and deep nesting do", r.end)
}
