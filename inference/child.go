package inference

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"agent/inference/internal/llama"
)

// offEnv names buffer types that a child must not use, separated by commas.
const offEnv = "AGENT_BUFFERS_OFF"

// RunChild does the work of a child process when this process is one. Programs that use
// [VetInChild], [SelfTestInChild] or [ModelOptions].RenderExecutable call it first thing in
// main; child is false in any other process.
func RunChild() (code int, child bool) {
	if code, child := runRenderChild(); child {
		return code, true
	}
	trial, skip := os.Getenv(vetEnv), os.Getenv(selfTestEnv)
	if trial == "" && skip == "" {
		return 0, false
	}
	llama.DieBySignal()
	if err := doChild(trial, skip); err != nil {
		msg, _ := json.Marshal(vetFailure{Error: err.Error(), Hint: hintOf(err)})
		fmt.Printf("%s%s\n", stageFailed, msg)
		return 1, true
	}
	return 0, true
}

func doChild(trial, skip string) error {
	if skip != "" {
		return selfTestChild(skip, os.Stdout)
	}
	for _, name := range strings.FieldsFunc(os.Getenv(offEnv), func(r rune) bool { return r == ',' }) {
		if err := llama.DisableBuffer(name); err != nil {
			return err
		}
	}
	return vetChild(trial, os.Stdout)
}

// runChild runs executable with more environment and hands its output to read, which may
// end it with a cause. end is how it ended, nil for well; err says that it never ran.
func runChild(ctx context.Context, executable string,
	read func(out io.Reader, cancel context.CancelCauseFunc), env ...string,
) (end, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, executable)
	cmd.Env = append(append(os.Environ(), "GGML_NO_BACKTRACE=1"), env...)
	var stderr tailWriter
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	switch err := cmd.Start(); {
	case context.Cause(ctx) != nil:
		return context.Cause(ctx), nil
	case err != nil:
		return nil, err
	}
	read(out, cancel)
	waitErr := cmd.Wait()
	switch {
	case waitErr == nil:
		return nil, nil
	case context.Cause(ctx) != nil:
		return context.Cause(ctx), nil
	}
	return &childEnd{state: cmd.ProcessState, said: stderr.last()}, nil
}

// childEnd is how a child ended that did not end well.
type childEnd struct {
	state *os.ProcessState
	said  string
}

// signalMeans says what the signals mean that native code ends by.
var signalMeans = map[syscall.Signal]string{
	syscall.SIGILL:  "met an instruction that does not work on this processor (SIGILL)",
	syscall.SIGSEGV: "touched memory that is not its own (SIGSEGV)",
	syscall.SIGBUS:  "could not read memory, such as that of a file that was cut short (SIGBUS)",
	syscall.SIGABRT: "gave up (SIGABRT)",
	syscall.SIGFPE:  "divided by zero (SIGFPE)",
	syscall.SIGKILL: "was killed (SIGKILL)",
}

// signal is the signal that ended the child; 0: none.
func (e *childEnd) signal() syscall.Signal {
	if s, ok := e.state.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return s.Signal()
	}
	return 0
}

func (e *childEnd) Error() string {
	what, ok := signalMeans[e.signal()]
	if !ok {
		what = "ended with " + e.state.String()
	}
	if e.said != "" {
		what += ", saying: " + e.said
	}
	return what
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
		if bytes.Contains(lines[i], []byte("ASSERT")) || bytes.Contains(lines[i], []byte("error")) ||
			i == 0 {
			return string(lines[i])
		}
	}
	return ""
}
