//go:build unix

package inference

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// script is an executable that stands for a child.
func script(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "child")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o700))
	return path
}

// A child that dies while it tries a model is an error that says how, at what and what to
// do. This process lives on.
func TestTrialThatDies(t *testing.T) {
	for _, c := range []struct{ signal, how, hint string }{
		{"ILL", "an instruction that does not work on this processor", "agent doctor --selftest"},
		{"SEGV", "memory that is not its own", "download it again"},
		{"BUS", "a file that was cut short", "download it again"},
		{"ABRT", "gave up (SIGABRT), saying: GGML_ASSERT(rows > 0) failed", "another quantisation"},
		{"FPE", "divided by zero", "another quantisation"},
		{"KILL", "was killed", "memory ran out, most likely"},
		{"TERM", "ended with signal: terminated", "download it again"},
	} {
		child := script(t, fmt.Sprintf("echo loaded\necho 'doing a prompt of 80 tokens'\necho 'GGML_ASSERT(rows > 0) failed' >&2\nkill -%s $$\nsleep 5", c.signal))
		err := Trial{Path: "some.gguf"}.run(t.Context(), child)
		require.Error(t, err, c.signal)
		assert.ErrorContains(t, err, c.how)
		assert.ErrorContains(t, err, "some.gguf can't be used here")
		assert.ErrorContains(t, err, "at computing a prompt of 80 tokens")
		assert.Contains(t, hintOf(err), c.hint, c.signal)
	}
}

// How a child ends otherwise.
func TestTrialEnds(t *testing.T) {
	try := func(lines string) error { return Trial{Path: "some.gguf"}.run(t.Context(), script(t, lines)) }
	assert.NoError(t, try("echo loaded\necho render\necho done"))
	assert.ErrorContains(t, try("echo loaded\nexit 3"), "exit status 3")
	assert.ErrorContains(t, try("echo loaded"), "ended early, at loading")
	err := try(`echo 'failed {"Error":"no such layer","Hint":"take another"}'; exit 1`)
	assert.EqualError(t, err, "load model: no such layer")
	assert.Equal(t, "take another", hintOf(err))

	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user left")
	cancel(why)
	assert.ErrorIs(t, Trial{}.run(ctx, script(t, "sleep 60")), why)
	assert.ErrorContains(t, Trial{}.run(t.Context(), "/no/such/program"), "vet model")
}

// A buffer type that ends the process, or computes wrongly, is faulty; the others are
// tested all the same.
func TestSelfTestFindsFaults(t *testing.T) {
	machine := func() *SelfTest {
		return &SelfTest{Buffers: []BufferTest{{Name: "TILES", Device: "CPU", Extra: true}, {Name: "PACKED", Device: "CPU", Extra: true}, {Name: "CPU", Device: "CPU"}}}
	}
	run := func(m *SelfTest, child string) {
		for n := -1; n != len(m.Faulty()); {
			n = len(m.Faulty())
			require.NoError(t, m.runChild(t.Context(), child))
		}
	}
	const fine = `echo '{"buffer":"CPU","type":"q4_0","begin":true}'; echo '{"buffer":"CPU","type":"q4_0","taken":true,"error":1e-6}'`
	m := machine()
	run(m, script(t, `case $`+selfTestEnv+` in *TILES*) ;; *)
echo '{"buffer":"TILES","type":"f16","begin":true}'; echo '{"buffer":"TILES","type":"f16"}'
echo '{"buffer":"TILES","type":"q4_0","begin":true}'; kill -ILL $$;; esac
case $`+selfTestEnv+` in *PACKED*) ;; *)
echo '{"buffer":"PACKED","type":"q8_0","begin":true}'; echo '{"buffer":"PACKED","type":"q8_0","taken":true,"fault":"wrong results"}';; esac
`+fine))
	require.Len(t, m.Faulty(), 2)
	assert.Contains(t, m.Buffers[0].Fault, "does not work on this processor (SIGILL) with weights of type q4_0")
	assert.Equal(t, "wrong results", m.Buffers[1].Fault)
	assert.Equal(t, []string{"q4_0"}, m.Buffers[2].Types)
	assert.InDelta(t, 1e-6, m.Buffers[2].Worst, 1e-12)

	var warned []string
	broken := machine()
	run(broken, script(t, `echo '{"buffer":"CPU","type":"q4_0","begin":true}'; kill -SEGV $$`))
	assert.ErrorContains(t, broken.avoidFaults(func(s string) { warned = append(warned, s) }), "does not compute on this machine")
	assert.Empty(t, warned)
	assert.ErrorContains(t, machine().runChild(t.Context(), script(t, "exit 3")), "exit status 3")
}
