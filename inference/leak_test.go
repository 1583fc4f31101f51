//go:build cgo && linux

package inference

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Loading, closing and generating again and again leaves no native object and
// does not grow. AGENT_TEST_FULL=1 does it 1,000 and 10,000 times.

// growthMax is how much more private memory may be held at the end than after
// the first tenth of the rounds: less than the vocabulary of one model takes
// (some 17 MiB), which the allocator would keep for each thread if it was let.
const growthMax = 14 << 20

func rounds(short, full int) int {
	if os.Getenv("AGENT_TEST_FULL") != "" {
		return full
	}
	return short
}

// memoryInUse is the process's private memory (RssAnon) and all of its memory
// (VmRSS), in bytes, after Go gave back what it could. Mapped weights count in
// the second only.
func memoryInUse(t testing.TB) (private, resident int64) {
	t.Helper()
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	return statusBytes(t, raw, "RssAnon:"), statusBytes(t, raw, "VmRSS:")
}

func statusBytes(t testing.TB, status []byte, name string) int64 {
	t.Helper()
	for line := range bytes.Lines(status) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == name {
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			require.NoError(t, err)
			return n << 10
		}
	}
	t.Fatalf("no %s in /proc/self/status", name)
	return 0
}

// repeat runs a round n times and bounds what memory grew by after the first
// tenth, in which pools and caches fill.
func repeat(t *testing.T, n int, round func(i int)) {
	t.Helper()
	start := time.Now()
	var base int64
	for i := range n {
		round(i)
		if step := max(1, n/10); (i+1)%step == 0 {
			private, resident := memoryInUse(t)
			if base == 0 {
				base = private
			}
			t.Logf("after %5d rounds, %6s: private %5.1f MiB, resident %5.1f MiB, %d native objects",
				i+1, time.Since(start).Round(time.Second), float64(private)/(1<<20), float64(resident)/(1<<20), LiveObjects())
		}
	}
	private, _ := memoryInUse(t)
	assert.Less(t, private-base, int64(growthMax), "private memory grew")
}

func TestLoadAndCloseLeavesNothing(t *testing.T) {
	path := defaultModel(t)
	before := LiveObjects()
	repeat(t, rounds(10, 1000), func(i int) {
		m, err := Load(t.Context(), path, &ModelOptions{NoMmap: i%50 == 49}) // reading all of it takes longer
		require.NoError(t, err)
		e, err := m.NewEngine(&EngineOptions{ContextLength: 256})
		require.NoError(t, err)
		e.Close()
		m.Close()
		require.Equal(t, before, LiveObjects())
	})
}

// TestFailedLoadsLeaveNothing: what can't be loaded is not kept in part.
func TestFailedLoadsLeaveNothing(t *testing.T) {
	path := defaultModel(t)
	before := LiveObjects()
	repeat(t, rounds(10, 300), func(int) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Load(ctx, path, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, before, LiveObjects())
	})
}

func TestGeneratingLeavesNothing(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 512, Parallel: 2})
	before := LiveObjects()
	seed := uint32(1)
	repeat(t, rounds(100, 10_000), func(i int) {
		req := &GenerateRequest{Prompt: chatPrompt(t, m, fmt.Sprintf("Say the number %d.", i%97)), TokensMax: 2,
			Sampling: Sampling{Temperature: 0.8, TopK: 40, TopP: 0.9, Seed: &seed}}
		seed++
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		switch i % 10 {
		case 3:
			req.Grammar = `root ::= "yes" | "no"`
		case 6:
			req.Logprobs, req.TopLogprobs = true, 5
		case 9:
			cancel() // leaves before, or in the middle of, its first tick
		}
		for _, err := range e.Generate(ctx, req) {
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
			}
		}
	})
	require.Eventually(t, func() bool { return LiveObjects() == before }, 5*time.Second, time.Millisecond,
		"samplers and grammars go with their requests")
}

// Close waits for calls that are running, and later ones are refused; none
// reaches a model that was freed.
func TestCloseWaitsForCalls(t *testing.T) {
	path := defaultModel(t)
	before := LiveObjects()
	for range rounds(3, 50) {
		m, err := Load(t.Context(), path, nil)
		require.NoError(t, err)
		var wg sync.WaitGroup
		calls := []func() error{
			func() error { _, err := m.Tokenize("some text to read", TokenizeOptions{}); return err },
			func() error { _, err := m.Detokenize([]int32{100, 200, 300}, true); return err },
			func() error {
				_, err := m.Encode([]Part{{Text: fmt.Sprint("text ", time.Now().UnixNano()), Input: true}})
				return err
			},
			func() error {
				e, err := m.NewEngine(&EngineOptions{ContextLength: 256, Parallel: 1})
				e.Close()
				return err
			},
			func() error {
				e, err := m.NewEmbedder(32)
				e.Close()
				return err
			},
		}
		for _, call := range calls {
			wg.Go(func() {
				for {
					if err := call(); err != nil {
						assert.ErrorIs(t, err, ErrModelClosed)
						return
					}
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		m.Close()
		wg.Wait()
		for _, call := range calls {
			assert.ErrorContains(t, call(), "the model is closed")
		}
		require.Equal(t, before, LiveObjects())
	}
}
