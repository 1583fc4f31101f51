package session

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/command"
	"agent/session/journal"
)

// killedRunEnv makes this test binary work on a session, to be killed at it.
const killedRunEnv = "AGENT_TEST_KILLED_RUN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedRunEnv); dir != "" {
		killedRun(dir)
	}
	os.Exit(m.Run())
}

// killedSteps turns with side effects, the odd ones of two calls, end with an
// answer.
const killedSteps = 6

// killedReply is what the model of these runs says: it depends on nothing but
// how many turns it has made, so that any process can go on with it.
func killedReply(_ context.Context, req *backend.Request) (string, error) {
	turns := 0
	for _, m := range req.Messages {
		if m.Role == backend.RoleAssistant {
			turns++
		}
	}
	if turns >= killedSteps {
		return `{"command":"answer","summary":"","content":[{"answer":"done"}]}`, nil
	}
	call := func(part string) string {
		return fmt.Sprintf(`{"command":"append","summary":"","content":[{"line":"%d%s"}]}`, turns, part)
	}
	if turns%2 == 1 {
		return call("a") + "\n" + call("b"), nil
	}
	return call("a"), nil
}

// appendCommand has an effect that shows how often it ran.
func appendCommand() command.Command {
	return command.Func(command.Spec{
		Name: "append", Description: "appends a line", Effect: command.EffectExecute,
		Slots: []command.Slot{{Name: "line", Kind: command.SlotLine}},
	}, func(_ context.Context, env *command.Env, call *command.Call) (*command.Result, error) {
		f, err := os.OpenFile(filepath.Join(env.WorkDir, "out.txt"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		_, err = fmt.Fprintln(f, field(call, "line"))
		return &command.Result{Text: "appended " + field(call, "line")}, err
	})
}

// killedRun starts the session of dir or goes on with it, tells each event on
// standard output once it is kept, and ends the process.
func killedRun(dir string) {
	reg := command.NewRegistry()
	answer := command.Func(command.Spec{Name: "answer", Final: true, Essential: true, Slots: []command.Slot{{Name: "answer", Kind: command.SlotText}}},
		func(_ context.Context, _ *command.Env, call *command.Call) (*command.Result, error) {
			return &command.Result{Answer: field(call, "answer")}, nil
		})
	for _, c := range []command.Command{appendCommand(), answer} {
		if err := reg.Register(c); err != nil {
			panic(err)
		}
	}
	opts := Options{
		Backend:  backend.NewScripted(backend.ScriptedConfig{ContextLength: 32768, Reply: killedReply, Claims: &backend.Capabilities{}}),
		Registry: reg, Env: &command.Env{WorkDir: filepath.Join(dir, "work")}, SessionsDir: filepath.Join(dir, "sessions"),
		Approve: ApproveAuto, Sink: func(ev Event) { _ = json.NewEncoder(os.Stdout).Encode(ev) },
	}
	if os.Getenv(killedRunEnv+"_ASK") != "" {
		opts.Approve = ApproveAsk
		opts.Approver = func(context.Context, *Proposal) (Decision, error) { return Decision{Allow: true}, nil }
	}
	s, err := killedSession(opts)
	if err == nil {
		_, err = s()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func killedSession(opts Options) (run func() (*Result, error), err error) {
	path, err := Find(opts.SessionsDir, "last")
	if err != nil {
		s, err := New(opts)
		return func() (*Result, error) { return s.Run(context.Background(), "append lines") }, err
	}
	old, err := journal.Read(path)
	if err != nil {
		return nil, err
	}
	words := ""
	if old.Task == "" { // killed before it was recorded
		words = "append lines"
	}
	s, err := Resume(path, opts)
	return func() (*Result, error) { return s.Run(context.Background(), words) }, err
}

// A process killed at any moment loses no record that it told of, and whoever
// goes on with its session repeats no side effect unasked and gets to the end.
func TestKilledAnywhere(t *testing.T) {
	kills := 15
	if os.Getenv("AGENT_TEST_FULL") != "" {
		kills = 300
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	done, doubts := 0, 0
	for run := 0; done < kills; run++ {
		k := &killed{t: t, dir: t.TempDir(), ask: run%2 == 1, counts: map[string]int{}}
		require.NoError(t, os.Mkdir(filepath.Join(k.dir, "work"), 0o700))
		for range 1 + rng.IntN(3) {
			if done < kills && k.counts["end answered"] == 0 && k.work(rng.IntN(45), time.Duration(rng.IntN(2000))*time.Microsecond) {
				done++
			}
		}
		k.finish()
		doubts += k.counts["doubt"]
	}
	t.Logf("killed %d times, %d times with a call on its way", done, doubts)
}

// killed is one session that is killed again and again.
type killed struct {
	t      *testing.T
	dir    string
	ask    bool
	told   [][]byte       // events that were told
	counts map[string]int // of what was told
}

// work runs the session and kills it a while after it told so many events;
// a negative number lets it end. It reports whether it was killed.
func (k *killed) work(events int, after time.Duration) bool {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killedRunEnv+"="+k.dir)
	if k.ask {
		cmd.Env = append(cmd.Env, killedRunEnv+"_ASK=1")
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	require.NoError(k.t, err)
	require.NoError(k.t, cmd.Start())
	kill := make(chan struct{})
	go func() {
		<-kill
		time.Sleep(after)
		_ = cmd.Process.Kill()
	}()
	if events == 0 {
		close(kill)
	}
	r := bufio.NewReader(out)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil {
			break // what was torn was not told
		}
		k.see(line)
		if n == events {
			close(kill)
		}
	}
	_, _ = io.Copy(io.Discard, r)
	err = cmd.Wait()
	k.check()
	if err == nil {
		return false
	}
	if strings.Contains(errs.String(), "it is answered already") {
		k.endedUntold()
		return false
	}
	require.Equal(k.t, "signal: killed", err.Error(), "%s", errs.String())
	return true
}

// endedUntold: the process before was killed between keeping its result and
// telling it. So the file must have it.
func (k *killed) endedUntold() {
	path, err := Find(filepath.Join(k.dir, "sessions"), "last")
	require.NoError(k.t, err)
	show, err := Load(path)
	require.NoError(k.t, err)
	last, ok := show.Events[len(show.Events)-1].Data.(*Result)
	require.True(k.t, ok, "the last event kept is no result")
	require.Equal(k.t, StopAnswered, last.Stop)
	k.counts["end answered"]++
}

func (k *killed) see(line []byte) {
	k.told = append(k.told, bytes.TrimSpace(line))
	var ev Event
	require.NoError(k.t, json.Unmarshal(line, &ev))
	switch data := ev.Data.(type) {
	case *CommandResult:
		if text, ok := strings.CutPrefix(data.Text, "appended "); ok {
			k.counts["done "+text]++
		}
	case *Warning:
		if strings.Contains(data.Text, "may have run already") {
			k.counts["doubt"]++
		}
	case *Result:
		k.counts["end "+string(data.Stop)]++
	}
}

// check compares the session file with what was told.
func (k *killed) check() {
	dir := filepath.Join(k.dir, "sessions")
	path, err := Find(dir, "last")
	if err != nil {
		require.Empty(k.t, k.told)
		return
	}
	show, err := Load(path)
	require.NoError(k.t, err)
	kept := map[string]bool{}
	for _, ev := range show.Events {
		line, err := json.Marshal(ev)
		require.NoError(k.t, err)
		kept[string(line)] = true
	}
	for _, line := range k.told {
		require.True(k.t, kept[string(line)], "lost: %s", line)
	}
}

// finish lets the session come to its end, and counts what it did.
func (k *killed) finish() {
	if k.counts["end answered"] == 0 {
		require.False(k.t, k.work(-1, 0))
	}
	require.Equal(k.t, 1, k.counts["end answered"])
	text, err := os.ReadFile(filepath.Join(k.dir, "work", "out.txt"))
	require.NoError(k.t, err)
	lines := map[string]int{}
	for _, line := range strings.Fields(string(text)) {
		lines[line]++
	}
	missing, repeated := 0, 0
	for step := range killedSteps {
		for _, part := range []string{"a", "b"}[:1+step%2] {
			line := fmt.Sprint(step, part)
			n := lines[line]
			assert.LessOrEqual(k.t, k.counts["done "+line], max(n, 1))
			if k.counts["done "+line] > 0 {
				assert.Positive(k.t, n, "line %s was told to be there", line)
			}
			missing += max(0, 1-n)
			repeated += max(0, n-1)
		}
	}
	if k.ask { // the person always says yes
		assert.LessOrEqual(k.t, repeated, k.counts["doubt"], "repeated only when asked: %s", text)
		assert.Zero(k.t, missing, "%s", text)
		return
	}
	assert.Zero(k.t, repeated, "nobody was asked: %s", text)
	assert.LessOrEqual(k.t, missing, 2*k.counts["doubt"], "%s", text) // a turn in doubt drops what follows in it
}
