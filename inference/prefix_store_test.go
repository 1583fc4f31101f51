package inference

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// storedEngine runs the scheduler on a new fake device, with what is on disk in dir.
func storedEngine(t *testing.T, dir, key string, change func(*traits)) (*Engine, *fakeDevice, func()) {
	t.Helper()
	store := OpenPrefixStore(dir, 1<<30)
	d := newFakeDevice(4096)
	tr := traits{vocabSize: fakeVocab, contextMax: 2048, partial: true, piece: fakePiece}
	if change != nil {
		change(&tr)
	}
	e := newEngine(d, tr, 2, 64, 8, nil, store.shelf(key, ""), nil)
	var once sync.Once
	end := func() {
		once.Do(func() {
			e.Close()
			assert.NoError(t, store.Close())
			assert.Empty(t, d.faults)
		})
	}
	t.Cleanup(end)
	return e, d, end
}

// replied runs one request and returns its cost; the reply must be right.
func replied(t *testing.T, e *Engine, prompt []int32, shared int) RequestStats {
	t.Helper()
	var text string
	var stats RequestStats
	for out, err := range e.Generate(context.Background(), &GenerateRequest{Prompt: prompt, Shared: shared, TokensMax: 5}) {
		require.NoError(t, err)
		text += out.Text
		if out.Stats != nil {
			stats = *out.Stats
		}
	}
	assert.Equal(t, fakeReply(prompt, 5), text)
	return stats
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*", "*"+prefixSuffix))
	require.NoError(t, err)
	return list
}

// prompts with 500 tokens in common
func sibling(seed int) []int32 { return append(fakePrompt(1, 500), fakePrompt(1000+seed, 40)...) }

// What one process evaluated, the next one reads: whatever the model can do with its state.
func TestPrefixesOfEarlierProcesses(t *testing.T) {
	for name, change := range map[string]func(*traits){
		"attention": nil, "recurrent": func(tr *traits) { tr.partial = false }, "window": func(tr *traits) { tr.window = true },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e, _, end := storedEngine(t, dir, "model", change)
			assert.Equal(t, 540, replied(t, e, sibling(1), 500).Evaluated)
			end()
			require.Len(t, files(t, dir), 1)

			e, _, end = storedEngine(t, dir, "model", change)
			got := replied(t, e, sibling(2), 500)
			assert.Equal(t, RequestStats{Evaluated: 40, Reused: 500}, RequestStats{Evaluated: got.Evaluated, Reused: got.Reused})
			replied(t, e, fakePrompt(1, 300), 0) // shorter than what the state holds
			replied(t, e, sibling(3), 500)
			end()
			assert.Len(t, files(t, dir), 1, "what is there is not written again")

			e, _, _ = storedEngine(t, dir, "another model", change)
			assert.Equal(t, 540, replied(t, e, sibling(1), 500).Evaluated)
		})
	}
}

func TestConversationGoesOnInAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	prompt := sibling(1)
	for turn := range 4 {
		e, _, end := storedEngine(t, dir, "model", nil)
		got := replied(t, e, prompt, 500)
		if turn > 0 {
			assert.LessOrEqual(t, got.Evaluated, 41, "turn %d", turn)
		}
		e.KeepNewest()
		end()
		prompt = append(prompt, fakePrompt(turn+50, 40)...)
	}
	assert.Len(t, files(t, dir), 2, "the shared part, and the newest state of the conversation")
}

// Prompts that part at the same place, of which nobody said that they would.
func TestSharedPartIsFound(t *testing.T) {
	dir := t.TempDir()
	e, _, end := storedEngine(t, dir, "model", nil)
	for i := range 4 {
		replied(t, e, sibling(i), 0)
	}
	end()
	require.Len(t, files(t, dir), 1)
	e, _, _ = storedEngine(t, dir, "model", nil)
	assert.Less(t, replied(t, e, sibling(9), 0).Evaluated, 60)
}

// A file that is not as it was written costs an evaluation, never a wrong token.
func TestDamagedPrefixes(t *testing.T) {
	made := t.TempDir()
	e, _, end := storedEngine(t, made, "model", nil)
	replied(t, e, sibling(1), 500)
	end()
	path := files(t, made)[0]
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	damage := map[string]func([]byte) []byte{
		"flip":     func(b []byte) []byte { b[rand.IntN(len(b))] ^= byte(1 << rand.IntN(8)); return b },
		"overlaid": func(b []byte) []byte { copy(b[rand.IntN(len(b)):], "overlaid"); return b },
		"torn":     func(b []byte) []byte { return b[:rand.IntN(len(b))] },
		"longer":   func(b []byte) []byte { return append(b, b[:1+rand.IntN(64)]...) },
		"zeroes":   func(b []byte) []byte { clear(b[rand.IntN(len(b)):]); return b },
	}
	for name, change := range damage {
		for range 200 {
			bad := change(slices.Clone(whole))
			if slices.Equal(bad, whole) {
				continue
			}
			dir := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Base(filepath.Dir(path))), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(filepath.Dir(path)), filepath.Base(path)), bad, 0o600))
			e, _, end := storedEngine(t, dir, "model", nil)
			assert.Equal(t, 540, replied(t, e, sibling(2), 0).Evaluated, name)
			end()
		}
	}
}

// A file or folder that others can write to is not read.
func TestPrefixesOfOthers(t *testing.T) {
	for name, open := range map[string]func(path string) error{
		"a file that all may write":   func(p string) error { return os.Chmod(p, 0o666) },
		"a folder that all may write": func(p string) error { return os.Chmod(filepath.Dir(p), 0o777) },
		"a link": func(p string) error {
			return os.Rename(p, p+".x") // and below
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e, _, end := storedEngine(t, dir, "model", nil)
			replied(t, e, sibling(1), 500)
			end()
			path := files(t, dir)[0]
			require.NoError(t, open(path))
			if _, err := os.Lstat(path); err != nil {
				require.NoError(t, os.Symlink(path+".x", path))
			}
			e, _, _ = storedEngine(t, dir, "model", nil)
			assert.Equal(t, 540, replied(t, e, sibling(2), 0).Evaluated)
		})
	}
}

// A store that can't be written is an error at its end, and nothing else.
func TestStoreWithoutRoom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	store := OpenPrefixStore(filepath.Join(file, "below"), 1<<30)
	e := newEngine(newFakeDevice(4096), traits{vocabSize: fakeVocab, contextMax: 2048, partial: true, piece: fakePiece},
		2, 64, 8, nil, store.shelf("model", "tiny.gguf"), nil)
	replied(t, e, sibling(1), 500)
	e.Close()
	assert.ErrorContains(t, store.Close(), "keep the KV cache on disk")
}

// The least used go when there is too much, never what was just written.
func TestStoreIsBounded(t *testing.T) {
	dir := t.TempDir()
	store := OpenPrefixStore(dir, 20_000)
	shelf := store.shelf("model", "tiny.gguf")
	for i := range 10 {
		require.NoError(t, shelf.write(fakePrompt(i, 200), make([]byte, 5000), prefixShared))
		if i == 0 {
			continue
		}
		first, n := shelf.find(fakePrompt(0, 200), 200)
		require.Equal(t, 200, n)
		require.NotNil(t, shelf.load(first)) // so it is used the latest
		time.Sleep(10 * time.Millisecond)    // of the clock of files
	}
	list, err := store.List()
	require.NoError(t, err)
	total := int64(0)
	for _, p := range list {
		total += p.Bytes
	}
	assert.LessOrEqual(t, total, int64(20_000))
	_, n := shelf.find(fakePrompt(0, 200), 200)
	assert.Equal(t, 200, n)
	freed, err := store.Clear()
	require.NoError(t, err)
	assert.Equal(t, total, freed)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// Several processes at once; here, several engines.
func TestStoreOfSeveral(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for p := range 4 {
		all.Go(func() {
			for round := range 10 {
				e, _, end := storedEngine(t, dir, fmt.Sprint("model", p%2), nil)
				replied(t, e, sibling(p*100+round), 500)
				e.KeepNewest()
				end()
			}
		})
	}
	all.Wait()
	e, _, _ := storedEngine(t, dir, "model1", nil)
	assert.LessOrEqual(t, replied(t, e, sibling(7777), 500).Evaluated, 40)
}
