package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/internal/compare"
	"agent/internal/exit"
)

// compareCommand is `agent compare` as a process, with a file of tasks.
func compareCommand(t *testing.T, tasks string, args ...string) *exec.Cmd {
	file := filepath.Join(t.TempDir(), "tasks.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(tasks), 0o600))
	cmd := exec.CommandContext(t.Context(), "agent", append([]string{"compare", "--input", file}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GOCOVERDIR="+t.TempDir())
	return cmd
}

// TestCompareInterrupted: Ctrl-C ends with a table of what was done.
func TestCompareInterrupted(t *testing.T) {
	cmd := compareCommand(t, strings.Repeat("{\"prompt\":\"Say it.\"}\n", 3),
		"--llm", `scripted replies=["one","two two two two two two two two two"] delta_delay=1s`, "--llm", "scripted")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	time.Sleep(2500 * time.Millisecond) // the first reply takes one second, the second one nine
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	var ended *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &ended)
	assert.Equal(t, exit.Interrupted, ended.ExitCode(), "%s", errs.String())
	assert.Contains(t, errs.String(), "interrupted")
	assert.Regexp(t, `(?m)^scripted:scripted +1/3 +0 `, out.String())
	assert.Regexp(t, `(?m)^scripted:scripted #2 +0/3 +0 `, out.String())
}

// TestCompareLocal: two real models, or one model in two configurations where
// AGENT_TEST_MODEL names no second one.
func TestCompareLocal(t *testing.T) {
	model := defaultModelFile(t)
	second := model
	if path := os.Getenv("AGENT_TEST_MODEL"); path != "" {
		second = path
	}
	const tasks = `{"prompt":"What is the opposite of hot?","options":["cold","warm"],"expected":"cold"}
{"prompt":"What is the capital of France?","expected":"Paris","max_tokens":12}
`
	page := filepath.Join(t.TempDir(), "page.html")
	out, err := compareCommand(t, tasks, "--json", "--html", page, "llm.context_length=512", "llm.threads=1", "llm.threads_batch=1",
		"--llm", "hf model_id="+model, "--llm", "hf context_length=600 model_id="+second).Output()
	require.NoError(t, err)
	var r compare.Report
	require.NoError(t, json.Unmarshal(out, &r))
	require.Len(t, r.Models, 2)
	for _, m := range r.Models {
		assert.Equal(t, []int{2, 0, 2}, []int{m.Summary.Done, m.Summary.Failed, m.Summary.Expected}, "%s", out)
		assert.NotNil(t, m.Results[0].Probability)
		assert.NotNil(t, m.Results[1].Correct)
		assert.Equal(t, compare.CountsExact, m.Summary.Counts)
		assert.Equal(t, []string{"logits/sum", "reply"}, m.Summary.Methods)
		assert.Positive(t, *m.Summary.TokensPerSecond)
		assert.Positive(t, m.Results[0].Tokens.Prompt)
	}
	assert.Equal(t, 2, r.Agreement[0].Both)
	assert.FileExists(t, page)
}
