package salvage

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kaptinlin/jsonrepair"
	"github.com/stretchr/testify/require"

	"agent/command"
)

// TestCompareParsers prints the table of docs/dev/experiments.md: Parse beside other
// programs that mend JSON, on the same replies. scripts/compare-parsers.sh
// fetches those, lets them read what this test writes, and runs it again.
func TestCompareParsers(t *testing.T) {
	dir := os.Getenv("AGENT_TEST_PARSERS")
	if dir == "" {
		t.Skip("needs the outputs of other programs: run scripts/compare-parsers.sh")
	}
	all := comparedReplies(t)
	if os.Getenv("AGENT_TEST_PARSERS_WRITE") != "" {
		writeReplies(t, filepath.Join(dir, "replies.jsonl"), all)
		return
	}
	reg := withStock(t)
	columns := []column{{name: "Parse", calls: make([][]command.Call, len(all))}}
	start := time.Now()
	for i, d := range all {
		columns[0].calls[i] = parseCalls(reg)(d.text)
	}
	columns[0].wall = time.Since(start)
	columns = append(columns, kaptinColumn(reg, all),
		outputColumn(t, reg, filepath.Join(dir, "json_repair.jsonl"), "json_repair (PyPI)", len(all)),
		outputColumn(t, reg, filepath.Join(dir, "jsonrepair.jsonl"), "jsonrepair (npm)", len(all)))
	printTable(t, reg, all, columns)
}

// comparedReplies are the real replies and the damaged ones.
func comparedReplies(t *testing.T) []damagedReply {
	var out []damagedReply
	for i, r := range realReplies(t) {
		out = append(out, damagedReply{kind: "real: " + r.Kind, text: r.Reply, want: r.Expect, evident: evident[i]})
	}
	return append(out, damagedReplies(t)...)
}

func writeReplies(t *testing.T, path string, all []damagedReply) {
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	enc := json.NewEncoder(f)
	for _, d := range all {
		require.NoError(t, enc.Encode(map[string]string{"reply": d.text}))
	}
}

// column is what one program made of all replies.
type column struct {
	name  string
	calls [][]command.Call
	wall  time.Duration
}

// callsOf reads a repaired value as generously as Parse reads its own: only
// the mending of the text is compared, not the reading of what it says.
func callsOf(reg *command.Registry, v any) []command.Call {
	budget := 1 << 20
	n := &normalizer{reg: reg, budget: &budget}
	var out []command.Call
	for _, c := range n.calls(v, false) {
		out = append(out, c.Call)
	}
	return out
}

// kaptinColumn runs github.com/kaptinlin/jsonrepair.
func kaptinColumn(reg *command.Registry, all []damagedReply) column {
	c := column{name: "kaptinlin/jsonrepair (Go)", calls: make([][]command.Call, len(all))}
	start := time.Now()
	for i, d := range all {
		text, err := jsonrepair.Repair(d.text)
		if err != nil {
			continue
		}
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		var v any
		if dec.Decode(&v) == nil {
			c.calls[i] = callsOf(reg, v)
		}
	}
	c.wall = time.Since(start)
	return c
}

// outputColumn reads what another program made: lines of {"value", "ms"}.
func outputColumn(t *testing.T, reg *command.Registry, path, name string, n int) column {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	c := column{name: name}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var row struct {
			Value any
			MS    json.Number
		}
		dec := json.NewDecoder(strings.NewReader(lines.Text()))
		dec.UseNumber()
		require.NoError(t, dec.Decode(&row))
		ms, _ := row.MS.Float64()
		c.wall += time.Duration(ms * float64(time.Millisecond))
		c.calls = append(c.calls, callsOf(reg, row.Value))
	}
	require.NoError(t, lines.Err())
	require.Len(t, c.calls, n, path)
	return c
}

// printTable prints one row for each kind of reply.
func printTable(t *testing.T, reg *command.Registry, all []damagedReply, columns []column) {
	var kinds []string
	cells := map[string][]score{}
	for i, d := range all {
		if _, ok := cells[d.kind]; !ok {
			kinds = append(kinds, d.kind)
			cells[d.kind] = make([]score, len(columns))
		}
		for j, c := range columns {
			s := &cells[d.kind][j]
			s.tried++
			exact, named := judgeReal(reg, d, c.calls[i])
			s.exact += count01(exact)
			s.named += count01(named)
		}
	}
	var out strings.Builder
	line := func(first string, rest []string) {
		fmt.Fprintf(&out, "| %s | %s |\n", first, strings.Join(rest, " | "))
	}
	var names, rule, walls []string
	for _, c := range columns {
		names, rule = append(names, c.name), append(rule, "---")
		walls = append(walls, fmt.Sprintf("%.2f s", c.wall.Seconds()))
	}
	line("replies", names)
	line("---", rule)
	for _, kind := range kinds {
		var row []string
		for _, s := range cells[kind] {
			row = append(row, cell(kind, s))
		}
		line(fmt.Sprintf("%s (%d)", kind, cells[kind][0].tried), row)
	}
	line("time for all", walls)
	fmt.Print(out.String())
}

func allNamed(reg *command.Registry, calls []command.Call) bool {
	return !slices.ContainsFunc(calls, func(c command.Call) bool { return reg.Lookup(c.Command).Match != command.MatchExact })
}

// cell is a score as the table shows it: exact calls, and where commands were
// recognised more often than that, those too.
func cell(kind string, s score) string {
	switch {
	case kind == "real: prose":
		return fmt.Sprint(s.named)
	case s.named > s.exact:
		return fmt.Sprintf("%d (%d)", s.exact, s.named)
	}
	return fmt.Sprint(s.exact)
}

// judgeReal is judge for replies without a strict reading too: one that is
// broken must name a known command first, and prose nothing consequential.
func judgeReal(reg *command.Registry, d damagedReply, got []command.Call) (exact, named bool) {
	switch d.kind {
	case "real: broken":
		return allNamed(reg, got) && len(got) == len(strings.Fields(d.evident)), len(got) > 0 && reg.Lookup(got[0].Command).Match == command.MatchExact
	case "real: prose":
		return false, !slices.ContainsFunc(got, func(c command.Call) bool {
			cmd, err := reg.Resolve(c.Command)
			return err == nil && cmd.Spec().Effect.Consequential()
		})
	}
	return judge(reg, got, d.want)
}
