//go:build cgo

package llama

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nativeThreads counts the threads of this process that Go did not start.
func nativeThreads(t *testing.T) int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("needs /proc/self/task to count threads")
	}
	return len(tasks) - pprof.Lookup("threadcreate").Count()
}

// Weights are converted while they are loaded, by a parallel region (AMX). Whoever loads,
// and from wherever, computing has one team of threads.
func TestOneTeamLoadsAndComputes(t *testing.T) {
	path := testModel(t)
	threads := max(2, runtime.NumCPU())
	before := nativeThreads(t)
	for range 3 {
		var m *Model
		var err error
		loaded := make(chan struct{})
		go func() {
			runtime.LockOSThread() // ends with the goroutine: a thread of its own
			defer close(loaded)
			m, err = LoadModel(path, ModelParams{LoadMode: LoadMmap}, nil)
		}()
		<-loaded
		require.NoError(t, err)
		ctx, err := m.NewContext(ContextParams{Cells: 64, Batch: 32, Ubatch: 32, Sequences: 1, Outputs: 1, Threads: threads, ThreadsBatch: threads, KVType: 1, FlashAttn: -1})
		require.NoError(t, err)
		ctx.Hold(func(func() bool) {
			err = ctx.Step(&Step{Rows: []Row{{Token: 1, Pos: 0, Seqs: []int32{0}, Output: true}}})
		})
		require.NoError(t, err)
		_, _, err = SelfTest("CPU", 0, []int32{2}, threads)
		require.NoError(t, err)
		ctx.Close()
		m.Close()
	}
	// A team has one worker for each thread but the caller.
	assert.LessOrEqual(t, nativeThreads(t)-before, threads-1)
}

// What is wrong is found wrong: an impossible buffer, a type that is not taken.
func TestSelfTestRefuses(t *testing.T) {
	_, _, err := SelfTest("NOWHERE", 0, []int32{1}, 1)
	assert.ErrorContains(t, err, "no buffer type NOWHERE")
	assert.ErrorContains(t, DisableBuffer("NOWHERE"), "no buffer type NOWHERE")
	all, err := BufferTypes()
	require.NoError(t, err)
	assert.NotEmpty(t, all.Types)
	for _, b := range all.Buffers {
		for _, w := range all.Types {
			errors, taken, err := SelfTest(b.Name, w.Number, []int32{1, 33}, 2)
			require.NoError(t, err, "%s %s", b.Name, w.Name)
			for _, e := range errors {
				assert.True(t, !taken || e < 1e-4, "%s %s: %g", b.Name, w.Name, e)
			}
		}
	}
}

var (
	storeAt = regexp.MustCompile(`\bv?mov\S*\s+\S+,(0x[0-9a-f]+)?\(%rsp\)`)
	tilesAt = regexp.MustCompile(`ldtilecfg (0x[0-9a-f]+)?\(%rsp\)`)
)

// configStores finds, in a disassembly, how far behind the beginning of the loaded tile
// configuration the stores before it reach.
func configStores(t *testing.T, disassembly string) (offsets []int64) {
	lines := strings.Split(disassembly, "\n")
	number := func(s string) int64 {
		n, _ := strconv.ParseInt(strings.TrimPrefix(s, "0x"), 16, 64)
		return n
	}
	for i, line := range lines {
		load := tilesAt.FindStringSubmatch(line)
		if load == nil {
			continue
		}
		base := number(load[1])
		for _, before := range lines[max(0, i-60):i] {
			if store := storeAt.FindStringSubmatch(before); store != nil {
				if at := number(store[1]) - base; at >= 0 && at < 64 {
					offsets = append(offsets, at)
				}
			}
		}
		return offsets
	}
	t.Fatal("no ldtilecfg in the object")
	return nil
}

// The tile configuration that ggml's AMX kernels load has its columns (from byte 16) and
// rows (from byte 48). It is read from the object code, since few processors run it.
func TestTileConfigurationIsWhole(t *testing.T) {
	ggml, err := filepath.Abs("../../../third_party/llama.cpp/ggml")
	require.NoError(t, err)
	version, _ := exec.Command("c++", "--version").Output()
	if _, err := exec.LookPath("objdump"); err != nil || runtime.GOARCH != "amd64" || !strings.Contains(string(version), "Free Software Foundation") {
		t.Skip("needs GCC and objdump on x86-64")
	}
	if _, err := os.Stat(ggml); err != nil {
		t.Skip("needs llama.cpp's sources: run `make native`")
	}
	guard, err := filepath.Abs("../../shim/amx_guard.h")
	require.NoError(t, err)
	compile := func(extra ...string) []int64 {
		object := filepath.Join(t.TempDir(), "mmq.o")
		args := append([]string{"-O3", "-DNDEBUG", "-std=gnu++17", "-fPIC", "-fopenmp", "-march=sapphirerapids", "-DGGML_USE_OPENMP",
			"-I" + ggml + "/src", "-I" + ggml + "/src/ggml-cpu", "-I" + ggml + "/include", "-c", ggml + "/src/ggml-cpu/amx/mmq.cpp", "-o", object}, extra...)
		out, err := exec.Command("c++", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		text, err := exec.Command("objdump", "-d", "--no-show-raw-insn", object).Output()
		require.NoError(t, err)
		return configStores(t, string(text))
	}
	// Where the guard is needed, CMake says so; this compiles with it in any case.
	stores := compile("-include", guard)
	assert.Contains(t, stores, int64(16), "columns")
	assert.Contains(t, stores, int64(48), "rows")
	if testing.Verbose() {
		t.Logf("stores without the guard: %v, with it: %v", compile(), stores)
	}
}
