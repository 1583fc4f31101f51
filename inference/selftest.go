package inference

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"agent/inference/internal/llama"
)

// Native code that compiles need not compute: compilers, processors and drivers have
// faults. So each kind of buffer that weights may lie in is tried once on each machine,
// in a child process, with every weight type. What traps or computes wrongly is switched
// off, and every run works without it.

// selfTestEnv makes a process a self-test child; its value names the buffer types to
// leave out, separated by commas, after a first "-".
const selfTestEnv = "AGENT_SELFTEST"

// Limits of the self-test.
const (
	// Most error of a product, as mean square relative to the reference's. llama.cpp's
	// test-backend-ops allows the same; kernels that are right stay below a tenth of it.
	selfTestErrorMax = 5e-4
	selfTestPatience = 2 * time.Minute // for one weight type; a kernel may hang
)

// Rows of the products: single tokens, odd numbers, and whole tiles.
var selfTestRows = []int32{1, 2, 7, 32, 512}

// SelfTest is how well the native code computes on this machine.
type SelfTest struct {
	Processor string       `json:"processor"`
	Build     string       `json:"build"`
	Buffers   []BufferTest `json:"buffers"`

	unsure bool // a test did not come to an end
}

// BufferTest is the verdict on one buffer type.
type BufferTest struct {
	Name   string   `json:"name"`
	Device string   `json:"device"`
	Extra  bool     `json:"extra"` // the device can do without it
	Types  []string `json:"types"` // weight types that it takes
	Worst  float64  `json:"worst"` // largest error of them, see selfTestErrorMax
	Fault  string   `json:"fault,omitempty"`
}

// Faulty are the buffer types that must not be used here.
func (t *SelfTest) Faulty() []BufferTest {
	return slices.DeleteFunc(slices.Clone(t.Buffers), func(b BufferTest) bool { return b.Fault == "" })
}

// SelfTestInChild tests the native code in a child running executable, or returns the
// verdict that dir holds for this build and processor. again ignores that verdict.
func SelfTestInChild(ctx context.Context, executable, dir string, again bool) (*SelfTest, error) {
	all, err := llama.BufferTypes()
	if err != nil {
		return nil, &Error{Op: "self-test", Err: err}
	}
	t := &SelfTest{Processor: processor(), Build: BuildID}
	for _, b := range all.Buffers {
		t.Buffers = append(t.Buffers, BufferTest{Name: b.Name, Device: b.Device, Extra: b.Extra})
	}
	path := filepath.Join(dir, "selftest-"+t.identity()+".json")
	if kept, err := readSelfTest(path); err == nil && !again {
		return kept, nil
	}
	for {
		faulty := len(t.Faulty())
		if err := t.runChild(ctx, executable); err != nil {
			return nil, err
		}
		if len(t.Faulty()) == faulty { // the child came to its end
			break
		}
	}
	if t.unsure {
		return t, nil
	}
	text, err := json.Marshal(t)
	if err == nil && os.MkdirAll(dir, 0o700) == nil {
		_ = os.WriteFile(path, text, 0o600) // else the next process tests again
	}
	return t, nil
}

// identity names the build, the processor and the devices.
func (t *SelfTest) identity() string {
	h := sha256.New()
	fmt.Fprintln(h, t.Build, t.Processor)
	for _, b := range t.Buffers {
		fmt.Fprintln(h, b.Name, b.Device)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

func readSelfTest(path string) (*SelfTest, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &SelfTest{}
	return t, json.Unmarshal(text, t)
}

// selfTestLine is what the child says before and after each weight type.
type selfTestLine struct {
	Buffer string  `json:"buffer"`
	Type   string  `json:"type"`
	Begin  bool    `json:"begin,omitempty"`
	Taken  bool    `json:"taken,omitempty"`
	Error  float64 `json:"error,omitempty"` // the largest
	Fault  string  `json:"fault,omitempty"`
}

// errNoEnd: a test took too long. The kernel may hang, or the machine be busy, so that this is
// not remembered.
var errNoEnd = errors.New("it did not come to an end")

// runChild tests what is not known to be faulty. Where the child dies, the buffer type
// that it was at is faulty.
func (t *SelfTest) runChild(ctx context.Context, executable string) error {
	skip := "-"
	for i, b := range t.Buffers {
		if b.Fault != "" {
			skip += "," + b.Name
		} else {
			t.Buffers[i].Types, t.Buffers[i].Worst = nil, 0
		}
	}
	var at selfTestLine
	end, err := runChild(ctx, executable, func(out io.Reader, cancel context.CancelCauseFunc) {
		patience := time.AfterFunc(selfTestPatience, func() { cancel(errNoEnd) })
		defer patience.Stop()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			patience.Reset(selfTestPatience)
			at = selfTestLine{}
			if json.Unmarshal(lines.Bytes(), &at) == nil {
				t.take(at)
			}
		}
	}, selfTestEnv+"="+skip)
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	if end == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !at.Begin {
		return &Error{Op: "self-test", Err: end,
			Advice: "this native code does not run on this machine; build it here (`make agent`)"}
	}
	t.unsure = t.unsure || errors.Is(end, errNoEnd)
	at.Begin, at.Fault = false, fmt.Sprintf("%v with weights of type %s", end, at.Type)
	t.take(at)
	return nil
}

// take notes what the child said.
func (t *SelfTest) take(l selfTestLine) {
	for i := range t.Buffers {
		b := &t.Buffers[i]
		if b.Name != l.Buffer || l.Begin {
			continue
		}
		if l.Taken {
			b.Types = append(b.Types, l.Type)
			b.Worst = max(b.Worst, l.Error)
		}
		if b.Fault == "" {
			b.Fault = l.Fault
		}
	}
}

// selfTestChild is the child's work.
func selfTestChild(skip string, out io.Writer) error {
	all, err := llama.BufferTypes()
	if err != nil {
		return err
	}
	say := json.NewEncoder(out)
	for _, b := range all.Buffers {
		if slices.Contains(strings.Split(skip, ","), b.Name) {
			continue
		}
		for _, w := range all.Types {
			l := selfTestLine{Buffer: b.Name, Type: w.Name, Begin: true}
			if err := say.Encode(l); err != nil {
				return err
			}
			l.Begin = false
			products, taken, err := llama.SelfTest(b.Name, w.Number, selfTestRows, PhysicalCores())
			if err != nil {
				l.Fault = err.Error()
			}
			l.Taken = taken
			for i, e := range products {
				if !(e <= selfTestErrorMax) { // NaN is none either
					l.Fault = fmt.Sprintf("wrong results with weights of type %s and %d rows: relative error %.2g",
						w.Name, selfTestRows[i], e)
					break
				}
				l.Error = max(l.Error, float64(e))
			}
			if err := say.Encode(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// avoidFaults switches off what the self-test found faulty, for this process.
func (t *SelfTest) avoidFaults(warn func(string)) error {
	for _, b := range t.Faulty() {
		if !b.Extra && b.Device == "CPU" {
			return &Error{Op: "self-test", Err: fmt.Errorf("the native code does not compute on this machine: %s", b.Fault),
				Advice: "build it again here with another compiler, or use the portable package; `agent doctor " +
					"--selftest` repeats the test"}
		}
		if err := llama.DisableBuffer(b.Name); err != nil {
			return err
		}
		cost := "models run without it, at up to five times the time for prompts"
		if !b.Extra {
			cost = "models run on the other devices"
		}
		warn(fmt.Sprintf("%s is switched off on this machine: %s; %s", b.Name, b.Fault, cost))
	}
	return nil
}
