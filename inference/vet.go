package inference

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"agent/inference/gguf"
	"agent/inference/internal/llama"
)

// An assert inside llama.cpp can't be caught: it ends the process. So the
// first load of a file never seen before happens in a child, which computes what
// the parent will compute: on the same devices and threads, from the same kind of
// buffers. Whatever happens to the child is an error message here. The verdict is
// remembered by the file's identity.

// vetEnv makes a process a vetting child; its value is a [Trial] as JSON.
const vetEnv = "AGENT_VET_MODEL"

// Stages that the child reports on its standard output, one a line.
const (
	stageLoaded = "loaded"
	stageRender = "render"
	stageDone   = "done"
	stageDoing  = "doing "  // with what it is at
	stageFailed = "failed " // with the message as JSON
)

// Patience for the stages after loading. A hostile template could loop.
const (
	computePatience = 5 * time.Minute
	renderPatience  = 30 * time.Second
)

// What the child computes: enough prompt rows for the kernels of whole tiles, some
// tokens after it, and a decision.
const (
	vetPromptTokens = 80
	vetReplyTokens  = 4
)

// Trial is a model that is about to be loaded, and how.
type Trial struct {
	Path   string
	Model  ModelOptions
	Engine EngineOptions
	off    []string // buffer types that are switched off
}

type vetFailure struct{ Error, Hint string }

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// vetChild is the child's work.
func vetChild(trial string, out io.Writer) error {
	var t Trial
	if err := json.Unmarshal([]byte(trial), &t); err != nil {
		return err
	}
	m, err := Load(context.Background(), t.Path, &t.Model)
	if err != nil {
		return err
	}
	defer m.Close()
	fmt.Fprintln(out, stageLoaded)
	if m.File.RequireChat() == nil {
		if err := vetCompute(m, t.Engine, out); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, stageRender)
	if m.HasTemplate() {
		// A template may refuse this chat; it must only come back.
		_, _ = m.Render(context.Background(),
			Chat{Messages: []Message{{Role: "user", Content: "hello"}, {Role: "assistant", Content: "hi"},
				{Role: "user", Content: "bye"}}}, "")
	}
	fmt.Fprintln(out, stageDone)
	return nil
}

// vetCompute evaluates a prompt, goes on with it, and scores two options.
func vetCompute(m *Model, o EngineOptions, out io.Writer) error {
	o.ContextLength = min(512, cmp.Or(m.Info.ContextLength, 512), cmp.Or(o.ContextLength, 512))
	o.Cells, o.Parallel = 0, 1
	e, err := m.NewEngine(&o)
	if err != nil {
		return err
	}
	defer e.Close()
	ids, err := m.Tokenize("hello", TokenizeOptions{AddSpecial: true})
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		ids = []int32{0} // a vocabulary without these letters
	}
	for len(ids) < min(vetPromptTokens, o.ContextLength/2) {
		ids = append(ids, ids[len(ids)-1])
	}
	ctx := context.Background()
	fmt.Fprintf(out, "%sa prompt of %d tokens\n", stageDoing, len(ids))
	for step, err := range e.Generate(ctx,
		&GenerateRequest{Prompt: ids, TokensMax: vetReplyTokens, Logprobs: true}) {
		if err != nil {
			return err
		}
		// One damaged row of the output matrix leaves the best token as it was.
		if lp := step.Logprob; lp != nil && math.IsNaN(float64(lp.Logprob)) {
			return errNoNumber
		}
		fmt.Fprintf(out, "%sthe tokens after the prompt\n", stageDoing)
	}
	fmt.Fprintf(out, "%sa decision\n", stageDoing)
	options := [][]int32{append(slices.Clone(ids), ids[0]), append(slices.Clone(ids), ids[len(ids)-1])}
	_, err = e.Score(ctx, &ScoreRequest{Prompt: ids, Options: options})
	return err
}

// VetInChild tests this machine, and returns what tries each new file in a child process
// running executable. Good verdicts are remembered in dir. What the machine can't compute
// with is told to warn and switched off: call it before anything looks at the devices.
func VetInChild(ctx context.Context, executable, dir string, warn func(string),
) (func(context.Context, Trial) error, error) {
	if !llama.Built {
		return nil, nil // loading says what to do
	}
	machine, err := SelfTestInChild(ctx, executable, dir, false)
	if err != nil {
		return nil, err
	}
	if err := machine.avoidFaults(warn); err != nil {
		return nil, err
	}
	return func(ctx context.Context, t Trial) error {
		for _, b := range machine.Faulty() {
			t.off = append(t.off, b.Name)
		}
		key, err := t.identity(machine)
		if err != nil {
			return &Error{Op: "open model", Err: err}
		}
		verdict := filepath.Join(dir, key)
		if _, err := os.Stat(verdict); err == nil {
			return nil
		}
		if err := t.run(ctx, executable); err != nil {
			return err
		}
		// Without a place to remember it, the next load just tries again.
		if os.MkdirAll(dir, 0o700) == nil {
			_ = os.WriteFile(verdict, []byte(t.Path+"\n"), 0o600)
		}
		return nil
	}, nil
}

// identity names what was tried: the file, the machine, and all that chooses kernels.
func (t Trial) identity(machine *SelfTest) (string, error) {
	file, err := fileIdentity(t.Path)
	if err != nil {
		return "", err
	}
	o := t.Engine
	t.Model.RenderExecutable = "" // the same build, wherever it lies
	how, err := json.Marshal([]any{machine.identity(), t.off, t.Model, o.Ubatch, o.Threads,
		o.ThreadsBatch, o.KVType, o.NoFlashAttn})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(how, file...))
	return hex.EncodeToString(sum[:])[:32], nil
}

// fileIdentity names a model's content without reading all of it: of the file,
// and of every part of a split model, size, time of change, and a hash of the
// first and last mebibyte; and this engine's build.
func fileIdentity(path string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", BuildID)
	if err := hashEnds(h, path); err != nil {
		return "", err
	}
	for _, part := range gguf.PartPaths(path) {
		// A whole model may have a part's name. Where parts are needed, their
		// absence was reported before.
		if err := hashEnds(h, part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// hashEnds adds what fileIdentity takes of one file.
func hashEnds(h io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%d %d\n", st.Size(), st.ModTime().UnixNano())
	const sample = 1 << 20
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, sample)); err != nil {
		return err
	}
	_, err = io.Copy(h, io.NewSectionReader(f, max(0, st.Size()-sample), sample))
	return err
}

// BuildID identifies the native code; it is set at link time by the Makefile.
var BuildID = "unknown"

// run tries the model in a child and turns its end into an error or nil.
func (t Trial) run(ctx context.Context, executable string) error {
	trial, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("vet model: %w", err)
	}
	w := vetWatch{doing: "loading"}
	end, err := runChild(ctx, executable, w.read, vetEnv+"="+string(trial),
		offEnv+"="+strings.Join(t.off, ","))
	switch {
	case err != nil:
		return fmt.Errorf("vet model: %w", err)
	case w.failure != nil:
		return &Error{Op: "load model", Err: errors.New(w.failure.Error), Advice: w.failure.Hint}
	case end == nil && w.last == stageDone:
		return nil
	case end == nil:
		return &Error{Op: "load model", Err: errors.New("the trial of it ended early, at " + w.doing)}
	case errors.Is(end, errPatience) || ctx.Err() != nil:
		return &Error{Op: "load model", Err: end}
	}
	return &Error{Op: "load model", Err: fmt.Errorf("%s can't be used here: a trial %w, at %s", t.Path,
		end, w.doing), Advice: t.remedy(end)}
}

// remedy is what a person can do about a trial that died.
func (t Trial) remedy(end error) string {
	var died *childEnd
	if !errors.As(end, &died) {
		return ""
	}
	switch died.signal() {
	case syscall.SIGILL:
		return "the native code has an instruction that does not work here; `agent doctor --selftest` looks " +
			"for it, and `make agent` builds it on this machine"
	case syscall.SIGKILL:
		advice := "memory ran out, most likely"
		if file, err := CheckFile(t.Path); err == nil {
			m := EstimateMemory(file, t.Engine)
			advice += fmt.Sprintf(": the model needs about %s, %s are free", gib(m.Need()), gib(m.Available))
		}
		return advice + "; use a smaller model or quantisation, or a smaller llm.context_length"
	}
	return "the file is damaged, or this llama.cpp has a fault with it; download it again or try another quantisation"
}

var errPatience = errors.New(
	"the model took too long for a first token or its chat template does not end; it was stopped")

// vetWatch follows the child's stages.
type vetWatch struct {
	last, doing string
	failure     *vetFailure
}

// read reads the child's lines and stops it when a stage takes too long.
func (w *vetWatch) read(out io.Reader, cancel context.CancelCauseFunc) {
	lines := bufio.NewScanner(io.LimitReader(out, 1<<20))
	patience := time.AfterFunc(time.Hour, func() { cancel(errPatience) })
	defer patience.Stop()
	for lines.Scan() {
		w.last = lines.Text()
		switch {
		case w.last == stageLoaded:
			patience.Reset(computePatience)
		case w.last == stageRender:
			w.doing = "rendering its chat template"
			patience.Reset(renderPatience)
		case strings.HasPrefix(w.last, stageDoing):
			w.doing = "computing " + w.last[len(stageDoing):]
		case strings.HasPrefix(w.last, stageFailed):
			w.failure = &vetFailure{Error: w.last}
			_ = json.Unmarshal([]byte(w.last[len(stageFailed):]), w.failure)
		}
	}
}
