package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Tools runs llama.cpp's own benchmark programs with given settings.
type Tools struct {
	Dir      string // where llama-bench, llama-batched-bench and llama-server are
	Settings Settings
}

// Settings are the same on both sides of a comparison.
type Settings struct {
	Model     string `json:"model"`
	Threads   int    `json:"threads"`
	Ubatch    int    `json:"ubatch"`
	KVType    string `json:"kv_type"`
	FlashAttn string `json:"flash_attn"` // on, off or auto
	LoadMode  string `json:"load_mode"`  // mmap, none, mlock or mmap+mlock
	GPULayers int    `json:"gpu_layers"` // -1: all
}

// programs that Tools needs.
const (
	llamaBench   = "llama-bench"
	batchedBench = "llama-batched-bench"
)

// NewTools finds the programs.
func NewTools(dir string, s Settings) (*Tools, error) {
	for _, name := range []string{llamaBench, batchedBench, llamaServer} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return nil, &toolsError{fmt.Errorf("bench: %s is not in %s: %w", name, dir, errors.Unwrap(err))}
		}
	}
	return &Tools{Dir: dir, Settings: s}, nil
}

type toolsError struct{ error }

func (e *toolsError) Unwrap() error { return e.error }
func (e *toolsError) Hint() string {
	return "`make bench` builds them; or name their folder with --tools DIR"
}

// Prefill is llama-bench's speed for a prompt of n tokens, in tokens per second.
func (t *Tools) Prefill(ctx context.Context, n int) (float64, error) {
	return t.bench(ctx, n, 0)
}

// Decode is llama-bench's speed of generating n tokens, in tokens per second.
func (t *Tools) Decode(ctx context.Context, n int) (float64, error) {
	return t.bench(ctx, 0, n)
}

func (t *Tools) bench(ctx context.Context, prompt, gen int) (float64, error) {
	out, err := t.run(ctx, llamaBench, t.BenchArgs(prompt, gen))
	if err != nil {
		return 0, err
	}
	return parseBench(out)
}

// BenchArgs are the arguments of one run of llama-bench.
func (t *Tools) BenchArgs(prompt, gen int) []string {
	s := t.Settings
	return []string{"-m", s.Model, "-p", strconv.Itoa(prompt), "-n", strconv.Itoa(gen), "-r", "1",
		"-o", "json",
		"-t", strconv.Itoa(s.Threads), "-b", strconv.Itoa(max(s.Ubatch, prompt)), "-ub",
		strconv.Itoa(s.Ubatch),
		"-ctk", s.KVType, "-ctv", s.KVType, "-fa", s.FlashAttn, "-lm", s.LoadMode, "-ngl",
		strconv.Itoa(s.GPULayers)}
}

// parseBench reads the speed of the only test in llama-bench's JSON.
func parseBench(out []byte) (float64, error) {
	var tests []struct {
		Speed float64 `json:"avg_ts"`
	}
	if err := json.Unmarshal(out, &tests); err != nil {
		return 0, fmt.Errorf("%s: its output is not understood: %w", llamaBench, err)
	}
	if len(tests) != 1 || tests[0].Speed <= 0 {
		return 0, fmt.Errorf("%s: %d tests in its output, expected one with a speed", llamaBench,
			len(tests))
	}
	return tests[0].Speed, nil
}

// DecodeTogether is llama-batched-bench's total speed, prompts included.
func (t *Tools) DecodeTogether(ctx context.Context, requests, prompt, n int) (float64, error) {
	out, err := t.run(ctx, batchedBench, t.BatchedArgs(requests, prompt, n))
	if err != nil {
		return 0, err
	}
	return parseBatched(out)
}

// BatchedArgs are the arguments of one run of llama-batched-bench.
func (t *Tools) BatchedArgs(requests, prompt, gen int) []string {
	s := t.Settings
	threads := strconv.Itoa(s.Threads)
	args := []string{"-m", s.Model, "-c", strconv.Itoa((requests*(prompt+gen) + 255) / 256 * 256),
		"-npp", strconv.Itoa(prompt), "-ntg", strconv.Itoa(gen), "-npl", strconv.Itoa(requests),
		"--output-format", "jsonl",
		"-t", threads, "-tb", threads, "-b", strconv.Itoa(s.Ubatch), "-ub", strconv.Itoa(s.Ubatch),
		"-ctk", s.KVType, "-ctv", s.KVType, "-fa", s.FlashAttn, "-lm", s.LoadMode}
	if s.GPULayers >= 0 {
		args = append(args, "-ngl", strconv.Itoa(s.GPULayers))
	}
	return args
}

// parseBatched reads the speed of the only line of llama-batched-bench's JSON.
func parseBatched(out []byte) (float64, error) {
	for line := range strings.Lines(string(out)) {
		var r struct {
			Speed float64 `json:"speed"`
		}
		if json.Unmarshal([]byte(line), &r) == nil && r.Speed > 0 {
			return r.Speed, nil
		}
	}
	return 0, fmt.Errorf("%s: no speed in its output", batchedBench)
}

// stderrMax bounds what is kept of a failed tool's messages.
const stderrMax = 2048

func (t *Tools) run(ctx context.Context, name string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(t.Dir, name), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		text := bytes.TrimSpace(stderr.Bytes())
		text = text[max(0, len(text)-stderrMax):]
		return nil, fmt.Errorf("%s: %w: %s", name, err, text)
	}
	return stdout.Bytes(), nil
}
