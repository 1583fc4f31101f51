package salvage

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

// update rewrites the golden files: go test ./command/salvage -run Replies -update
var update = flag.Bool("update", false, "rewrite the golden files")

// withStock is a registry in which every command of the real replies is known:
// the standard ones, and those that need more than this package has.
func withStock(t testing.TB) *command.Registry {
	t.Helper()
	reg := standard(t)
	for _, spec := range []command.Spec{
		{Name: "search", Slots: []command.Slot{{Name: "query", Kind: command.SlotLine}}, Effect: command.EffectRead},
		{Name: "delegate", Slots: []command.Slot{{Name: "task", Kind: command.SlotText}}, Effect: command.EffectExecute},
	} {
		if l := reg.Lookup(spec.Name); l.Command != nil && l.Match == command.MatchExact {
			continue
		}
		require.NoError(t, reg.Register(command.Func(spec, func(context.Context, *command.Env, *command.Call) (*command.Result, error) {
			return &command.Result{}, nil
		})))
	}
	return reg
}

// TestRealRepliesGolden keeps, for each of the 85 real replies, the commands
// that were understood and every repair that it took.
func TestRealRepliesGolden(t *testing.T) {
	reg := withStock(t)
	var out strings.Builder
	out.WriteString("# row, kind, commands understood, repairs made; written by: go test ./command/salvage -run Replies -update\n")
	for i, r := range realReplies(t) {
		p := Parse(r.Reply, reg)
		var names []string
		for _, c := range p.Calls {
			names = append(names, c.Command)
		}
		fmt.Fprintf(&out, "%02d %-6s %-22s %s\n", i, r.Kind, strings.Join(names, " "), repairList(p.Repairs))
	}
	checkGolden(t, "model_replies.golden", out.String())
}

func repairList(made []Repair) string {
	names := make([]string, len(made))
	for i, r := range made {
		names[i] = string(r)
	}
	return "[" + strings.Join(names, " ") + "]"
}

// checkGolden compares text with a file of testdata, or writes it.
func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "write it with -update")
	require.Equal(t, string(want), got, "run with -update if this is meant")
}

// TestBrokenRepliesNameKnownCommands: whatever is broken about a reply, its
// calls name commands that exist, and nothing consequential is a guess.
func TestBrokenRepliesNameKnownCommands(t *testing.T) {
	reg, broken := withStock(t), 0
	for i, r := range realReplies(t) {
		if r.Kind != "broken" {
			continue
		}
		broken++
		p := Parse(r.Reply, reg)
		require.NotEmpty(t, p.Calls, "reply %d", i)
		for _, c := range p.Calls {
			_, err := reg.Resolve(c.Command)
			assert.NoError(t, err, "reply %d", i)
			assert.LessOrEqual(t, c.Match, command.MatchAlias, "reply %d", i)
		}
	}
	assert.Equal(t, 17, broken)
}

// TestProseRepliesAreHarmless: no reply without a call is taken for one that
// writes, runs or reaches out.
func TestProseRepliesAreHarmless(t *testing.T) {
	reg := withStock(t)
	for i, r := range realReplies(t) {
		if r.Kind != "prose" {
			continue
		}
		for _, c := range Parse(r.Reply, reg).Calls {
			cmd, err := reg.Resolve(c.Command)
			require.NoError(t, err, "reply %d", i)
			assert.False(t, cmd.Spec().Effect.Consequential(), "reply %d: %s", i, c.Command)
		}
	}
}

// TestParseWhileStreaming reads every beginning of every real reply, as a
// program that reads a growing stream does. A consequential call that is not
// whole is marked truncated, so that nobody runs half of one.
func TestParseWhileStreaming(t *testing.T) {
	reg := withStock(t)
	for i, r := range realReplies(t) {
		whole := wires(t, Parse(r.Reply, reg))
		for _, cut := range cuts(r.Reply) {
			p := Parse(r.Reply[:cut], reg)
			if p.Repaired(RepairTruncated) {
				continue
			}
			for _, c := range p.Calls {
				cmd, err := reg.Resolve(c.Command)
				if err != nil || !cmd.Spec().Effect.Consequential() {
					continue
				}
				wire, err := command.Marshal(&c.Call)
				require.NoError(t, err)
				assert.Contains(t, whole, string(wire), "reply %d, first %d bytes", i, cut)
			}
		}
	}
}

// wires are the calls in wire form.
func wires(t *testing.T, p Parsed) []string {
	var out []string
	for _, c := range p.Calls {
		wire, err := command.Marshal(&c.Call)
		require.NoError(t, err)
		out = append(out, string(wire))
	}
	return out
}

// cuts are places to cut a reply: all of a short one, a few hundred of a long
// one, and each end of a bracket or quote, where mistakes hide.
func cuts(reply string) []int {
	step := len(reply)/100 + 1
	var out []int
	for i := range len(reply) {
		if i%step == 0 || i > 0 && strings.IndexByte("}]\"`", reply[i-1]) >= 0 && len(out) < 300 {
			out = append(out, i)
		}
	}
	return slices.Compact(out)
}
