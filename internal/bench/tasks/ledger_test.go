package tasks

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openLedger(t *testing.T, path, key string) *Ledger {
	t.Helper()
	l, err := OpenLedger(path, key)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func TestALedgerGoesOnWhereItWasCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "runs.jsonl")
	l := openLedger(t, path, "k")
	require.NoError(t, l.Add(Row{Task: "a", Configuration: "full", Solved: true}))
	require.NoError(t, l.Add(Row{Task: "b", Configuration: "full", Round: 1}))
	require.NoError(t, l.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	firstLine := bytes.IndexByte(whole, '\n') + 1
	for cut := range whole {
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		l := openLedger(t, path, "k")
		assert.Equal(t, cut >= firstLine, l.Has("a", "full", 0), "cut at %d", cut)
		assert.False(t, l.Has("b", "full", 1))
		require.NoError(t, l.Add(Row{Task: "c", Configuration: "full"}))
		require.NoError(t, l.Close())
		l = openLedger(t, path, "k")
		assert.True(t, l.Has("c", "full", 0), "cut at %d", cut)
		require.NoError(t, l.Close())
	}
}

func TestALedgerTellsResultsOfOthersApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.jsonl")
	l := openLedger(t, path, "old")
	require.NoError(t, l.Add(Row{Task: "a", Configuration: "full"}))
	require.NoError(t, l.Close())
	l = openLedger(t, path, "new")
	assert.False(t, l.Has("a", "full", 0))
	assert.Empty(t, l.Rows())
	require.NoError(t, l.Add(Row{Task: "b", Configuration: "full"}))
	require.NoError(t, l.Close())
	assert.True(t, openLedger(t, path, "old").Has("a", "full", 0), "they stay in the file")
}

func TestALedgerIsNotMadeOfAnotherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	require.NoError(t, os.WriteFile(path, []byte("buy milk\nand bread\n"), 0o600))
	_, err := OpenLedger(path, "k")
	assert.ErrorContains(t, err, "line 1 is no result")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "buy milk\nand bread\n", string(text))
}

func TestSummarise(t *testing.T) {
	rows := []Row{
		{Task: "a", Kind: "csv", Configuration: "full", Solved: true, Steps: 2, WallMS: 1000, EvaluatedTokens: 10},
		{Task: "a", Kind: "csv", Configuration: "plain", Steps: 8, WallMS: 5000, InvalidReplies: 3},
		{Task: "b", Kind: "text", Configuration: "plain", Solved: true, Steps: 2, WallMS: 3000},
		{Task: "b", Kind: "text", Configuration: "full", Steps: 4, WallMS: 3000, Error: "the model failed"},
		{Task: "a", Kind: "csv", Configuration: "full", Round: 1, Solved: true, Steps: 3, WallMS: 8000, InvalidRun: 1},
	}
	got := Summarise(rows, []string{"full", "plain"})
	require.Len(t, got, 2)
	full, plain := got[0], got[1]
	assert.Equal(t, []int{3, 2, 1, 1, 10}, []int{full.Runs, full.Solved, full.InvalidRun, full.Errors, full.EvaluatedTokens})
	assert.Equal(t, []Share{{1, 2}, {1, 1}}, full.ByRound)
	assert.Equal(t, Share{2, 2}, full.ByKind["csv"])
	assert.InDelta(t, 3.0, full.Steps, 1e-9)
	assert.InDelta(t, 3.0, full.WallMedian, 1e-9)
	assert.InDelta(t, 12.0, full.WallSeconds, 1e-9)
	assert.Equal(t, []int{1, 1}, []int{plain.Better, plain.Worse})
	var out bytes.Buffer
	report := Report{Configurations: got, Rows: rows, Tasks: 2, Rounds: 2, OtherLoad: 0.5, Command: "agentbench agent"}
	require.NoError(t, report.Print(&out))
	for _, want := range []string{"2 of 3", "+1 −1", "50 %", "1/1", "a     2 of 2  0 of 1", "agentbench agent", "uncertain"} {
		assert.Contains(t, out.String(), want)
	}
}
