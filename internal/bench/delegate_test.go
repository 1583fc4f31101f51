package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMatching(t *testing.T) {
	all := append(StandardProbes(&steady{}, &Tools{}, nil), DelegateProbe(nil, &Tools{}))
	assert.Len(t, Matching(all, ""), len(all))
	assert.True(t, NeedServers(all))
	only := Matching(all, "delegate")
	assert.Len(t, only, 1)
	assert.False(t, NeedServers(only))
	assert.Len(t, Matching(all, "first token"), 2)
	assert.Empty(t, Matching(all, "no such check"))
}

func TestDelegateProbe(t *testing.T) {
	dir := t.TempDir()
	// Four sequences at once are 1.5 times as fast as one.
	script := "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = -npl ] && n=$2; shift; done\n" +
		"if [ $n = 1 ]; then echo '{\"speed\": 100}'; else echo '{\"speed\": 150}'; fi\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, batchedBench), []byte(script), 0o700))
	seen := map[string]bool{}
	parts := func(_ context.Context, prompts []string, atOnce int) (PartsWork, error) {
		for _, p := range prompts {
			assert.False(t, seen[p], "a prompt that was asked before is in the cache: %s", p)
			seen[p] = true
		}
		w := PartsWork{Work: Work{Tokens: 4 * PartReply, Wall: 4 * time.Second}, Evaluated: 100, Prompts: 1000}
		if atOnce == partsCount {
			w.Wall = 3 * time.Second
		}
		return w, nil
	}
	probe := DelegateProbe(parts, &Tools{Dir: dir})
	for _, flip := range []bool{false, true} {
		pairs, err := probe.Round(t.Context(), flip)
		require.NoError(t, err)
		require.Len(t, pairs, len(probe.Checks))
		assert.InDelta(t, 4.0/3, pairs[0].Ours, 1e-9)
		assert.InDelta(t, 1.5, pairs[0].Theirs, 1e-9)
		assert.Equal(t, Pair{100, 1000}, pairs[1])
	}
	failing := DelegateProbe(func(context.Context, []string, int) (PartsWork, error) {
		return PartsWork{}, errors.New("no model " + strconv.Itoa(7))
	}, &Tools{Dir: dir})
	_, err := failing.Round(t.Context(), false)
	assert.ErrorContains(t, err, "no model 7")
}
