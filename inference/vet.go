package inference

import (
	"bufio"
	"bytes"
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
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"agent/inference/gguf"
)

// An assert inside llama.cpp can't be caught: it ends the process. So the
// first load of a file never seen before happens in a child, which loads it,
// computes a token and renders the chat template. Whatever happens to the
// child is an error message here. The verdict is remembered by file identity.

// vetEnv makes a process a vetting child; its value is the model's path.
const vetEnv = "AGENT_VET_MODEL"

// Stages that the child reports on its standard output, one a line.
const (
	stageLoaded   = "loaded"
	stageComputed = "computed"
	stageDone     = "done"
	stageFailed   = "failed " // with the message as JSON
)

// Patience for the stages after loading. A hostile template could loop.
const (
	computePatience = 5 * time.Minute
	renderPatience  = 30 * time.Second
)

// RunVetChild does a child's work when this process is one: it tries a model,
// or renders chat templates. Programs that use [VetInChild] or
// [ModelOptions].RenderExecutable call it first thing in main; it returns false
// in any other process.
func RunVetChild() (code int, child bool) {
	if code, child := runRenderChild(); child {
		return code, true
	}
	path := os.Getenv(vetEnv)
	if path == "" {
		return 0, false
	}
	if err := vet(path, os.Stdout); err != nil {
		msg, _ := json.Marshal(vetFailure{Error: err.Error(), Hint: hintOf(err)})
		fmt.Printf("%s%s\n", stageFailed, msg)
		return 1, true
	}
	fmt.Println(stageDone)
	return 0, true
}

type vetFailure struct{ Error, Hint string }

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// vet loads a model on the CPU, computes one token and renders a chat.
func vet(path string, progress io.Writer) error {
	none := 0
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	m, err := Load(context.Background(), path, &ModelOptions{GPULayers: &none, RenderExecutable: exe})
	if err != nil {
		return err
	}
	defer m.Close()
	fmt.Fprintln(progress, stageLoaded)
	if m.File.RequireChat() == nil {
		if err := vetCompute(m); err != nil {
			return err
		}
	}
	fmt.Fprintln(progress, stageComputed)
	if m.HasTemplate() {
		// A template may refuse this chat; it must only come back.
		_, _ = m.Render(context.Background(), []Message{{"user", "hello"}, {"assistant", "hi"}, {"user", "bye"}}, "")
	}
	return nil
}

func vetCompute(m *Model) error {
	e, err := m.NewEngine(&EngineOptions{ContextLength: min(256, cmp.Or(m.Info.ContextLength, 256)), Parallel: 1})
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
	for out, err := range e.Generate(context.Background(), &GenerateRequest{Prompt: ids, TokensMax: 1, Logprobs: true}) {
		if err != nil {
			return err
		}
		// One damaged row of the output matrix leaves the best token as it was.
		if lp := out.Logprob; lp != nil && math.IsNaN(float64(lp.Logprob)) {
			return errNoNumber
		}
	}
	return nil
}

// VetInChild returns a [ModelOptions].Vet that tries each new file in a child
// process running executable, and remembers good verdicts in dir.
func VetInChild(executable, dir string) func(ctx context.Context, path string) error {
	return func(ctx context.Context, path string) error {
		key, err := fileIdentity(path)
		if err != nil {
			return &Error{Op: "open model", Err: err}
		}
		verdict := filepath.Join(dir, key)
		if _, err := os.Stat(verdict); err == nil {
			return nil
		}
		if err := vetOnce(ctx, executable, path); err != nil {
			return err
		}
		// Without a place to remember it, the next load just tries again.
		if os.MkdirAll(dir, 0o700) == nil {
			_ = os.WriteFile(verdict, []byte(path+"\n"), 0o600)
		}
		return nil
	}
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

// vetOnce runs the child and turns its end into an error or nil.
func vetOnce(ctx context.Context, executable, path string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, executable)
	cmd.Env = append(os.Environ(), vetEnv+"="+path, "GGML_NO_BACKTRACE=1")
	var stderr tailWriter
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("vet model: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("vet model: %w", err)
	}
	stage, failure := watchStages(out, cancel)
	waitErr := cmd.Wait()
	switch {
	case stage == stageDone && waitErr == nil:
		return nil
	case failure != nil:
		return &Error{Op: "load model", Err: errors.New(failure.Error), Advice: failure.Hint}
	case context.Cause(ctx) != nil:
		return &Error{Op: "load model", Err: context.Cause(ctx)}
	}
	what := fmt.Errorf("llama.cpp gave up on %s (%v) %s", path, waitErr, stderr.last())
	return &Error{Op: "load model", Err: what, Advice: "the file is damaged, or this llama.cpp has a fault with it; download it again or try another quantisation"}
}

var errPatience = errors.New("the model took too long for a first token or its chat template does not end; it was stopped")

// watchStages reads the child's lines and stops it when a stage takes too long.
func watchStages(out io.Reader, cancel context.CancelCauseFunc) (last string, failure *vetFailure) {
	lines := bufio.NewScanner(io.LimitReader(out, 1<<20))
	var timer *time.Timer
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for lines.Scan() {
		last = lines.Text()
		if timer != nil {
			timer.Stop()
			timer = nil
		}
		switch {
		case last == stageLoaded:
			timer = time.AfterFunc(computePatience, func() { cancel(errPatience) })
		case last == stageComputed:
			timer = time.AfterFunc(renderPatience, func() { cancel(errPatience) })
		case strings.HasPrefix(last, stageFailed):
			failure = &vetFailure{Error: last}
			_ = json.Unmarshal([]byte(last[len(stageFailed):]), failure)
		}
	}
	return last, failure
}

// tailWriter keeps the end of what is written to it.
type tailWriter struct{ buf []byte }

func (t *tailWriter) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 8192 {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-4096:]...)
	}
	return len(p), nil
}

// last is the last line that says something.
func (t *tailWriter) last() string {
	lines := bytes.Split(bytes.TrimSpace(t.buf), []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		if bytes.Contains(lines[i], []byte("ASSERT")) || bytes.Contains(lines[i], []byte("error")) || i == 0 {
			return "saying: " + string(lines[i])
		}
	}
	return ""
}
