package session

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/session/journal"
)

// finishedLog is the session file of a whole run, which changed something.
func finishedLog(t *testing.T) []byte {
	r := newRig(t, newModel(t, true, " write", " writer", " c.txt", "42\n", " so", " answer", " 42"),
		func(o *Options) { o.SessionsDir = t.TempDir() })
	_, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	data, err := os.ReadFile(r.Path())
	require.NoError(t, err)
	return data
}

// oldLog is a session file as an earlier version wrote it: 1 had no intents, 2
// framed its records and named phases by labels.
func oldLog(t *testing.T, version int) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(finishedLog(t)) {
		text := strings.Replace(string(line), `"version":3`, fmt.Sprintf(`"version":%d`, version), 1)
		text = strings.Replace(text, `"next":"`, `"next":"start_`, 1)
		if version == 2 {
			text = fmt.Sprintf(`{"crc":"9ae0daaf","len":%d,"seq":%d,`, len(line), out.Len()) + text[1:]
		}
		if version > 1 || !strings.Contains(text, `"type":"intent"`) {
			out.WriteString(text)
		}
	}
	return out.Bytes()
}

// workWithFiles is a work dir in which the runs of these tests can go on.
func workWithFiles(t *testing.T) string {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.txt": "", "b.txt": "42\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

// goOn resumes the session kept in data and works it to its end. It returns
// the events of that.
func goOn(t *testing.T, path string, data []byte) []Event {
	require.NoError(t, os.WriteFile(path, data, 0o600))
	old, err := journal.Read(path)
	require.NoError(t, err)
	// Whatever is left to do, a model that answers whenever it is asked ends it.
	m := newModel(t, false)
	for range 5 {
		m.script = append(m.script, `{"command":"answer","summary":"","content":[{"answer":"42"}]}`)
	}
	words := ""
	if old.Result != nil || old.Task == "" {
		words = "and again?"
	}
	var events []Event
	s, err := Resume(path, Options{
		Backend: m, Registry: testCommands(t), Env: &command.Env{WorkDir: workWithFiles(t)}, Approve: ApproveAuto,
		Sink: func(ev Event) { events = append(events, ev) },
	})
	require.NoError(t, err)
	defer s.Close()
	res, err := s.Run(context.Background(), words)
	require.NoError(t, err)
	assert.Equal(t, "42", res.Answer)
	assert.Equal(t, StopAnswered, res.Stop)
	return events
}

// loadsClean reports that after going on, all that was written since is there.
func loadsClean(t *testing.T, path string, events []Event) {
	again, err := Load(path)
	require.NoError(t, err)
	assert.Equal(t, StopAnswered, again.Stop)
	require.GreaterOrEqual(t, len(again.Events), len(events))
	tail := again.Events[len(again.Events)-len(events):]
	for i := range events {
		assert.Equal(t, events[i].Data, tail[i].Data, "event %d", i)
	}
}

// Whatever a file is cut to, it opens, says what is missing, and takes what is
// appended.
func TestLogSurvivesAnyCut(t *testing.T) {
	for version, whole := range map[int][]byte{3: finishedLog(t), 2: oldLog(t, 2), 1: oldLog(t, 1)} {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cut"+journal.Ext)
			for cut := range len(whole) + 1 {
				if version != 3 && cut%5 != 0 {
					continue
				}
				require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
				old, err := journal.Read(path)
				require.NoError(t, err, "cut at %d", cut)
				torn := int64(cut - bytes.LastIndexByte(whole[:cut], '\n') - 1)
				if whole[min(cut, len(whole)-1)] == '\n' {
					torn = 0 // only the newline is missing
				}
				assert.Equal(t, torn, old.Lost.Bytes, "cut at %d", cut)
				if cut%211 == 0 { // resuming at each byte would take long and show nothing more
					loadsClean(t, path, goOn(t, path, whole[:cut]))
				}
			}
		})
	}
}

// Any damaged byte costs at most the lines that it is between, and stays without
// effect on what is appended.
func TestLogSurvivesAnyFlip(t *testing.T) {
	whole := finishedLog(t)
	records := bytes.Count(whole, []byte("\n"))
	path := filepath.Join(t.TempDir(), "flip"+journal.Ext)
	data := make([]byte, len(whole))
	for at := range whole {
		for _, flip := range flips(at, whole[at]) {
			copy(data, whole)
			data[at] ^= flip
			require.NoError(t, os.WriteFile(path, data, 0o600))
			old, err := journal.Read(path)
			if err != nil { // the version in its header is a later one now
				assert.ErrorContains(t, err, "later version", "byte %d", at)
				continue
			}
			assert.LessOrEqual(t, old.Lost.Records, 2, "byte %d", at)
			assert.GreaterOrEqual(t, bytes.Count(data, []byte("\n")), records-1)
		}
		if at%401 == 0 {
			data[at] = ^whole[at]
			loadsClean(t, path, goOn(t, path, data))
		}
	}
}

// flips are the ways in which a byte is damaged: to another, to a newline, to a
// NUL and so on; one of them, or in the long form of the test all.
func flips(at int, b byte) []byte {
	all := []byte{0x01, b ^ '\n', 0x20, b, 0x02, 0x80, 0xff, b ^ '"', b ^ '{'}
	if os.Getenv("AGENT_TEST_FULL") == "" {
		return all[at%len(all):][:1]
	}
	return all
}

// A call whose record was damaged is as uncertain as one that was cut off.
func TestDamageBeforeTheEndMakesCallsDoubtful(t *testing.T) {
	lines := bytes.SplitAfter(finishedLog(t), []byte("\n"))
	at := -1
	for i, line := range lines {
		if bytes.Contains(line, []byte(`"type":"intent"`)) {
			at = i
		}
	}
	require.Positive(t, at)
	lines[at][0] ^= 1
	path := filepath.Join(t.TempDir(), "x"+journal.Ext)
	text := fmt.Sprint(goOn(t, path, bytes.Join(lines[:at+1], nil)))
	_ = text
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(again), "writer may have run already")
}

// Each record is a JSON object on a line of its own, for jq and its like.
func TestLogIsJSONLines(t *testing.T) {
	sc := bufio.NewScanner(bytes.NewReader(finishedLog(t)))
	types := map[string]int{}
	for sc.Scan() {
		var line struct{ Type string }
		require.NoError(t, json.Unmarshal(sc.Bytes(), &line))
		types[line.Type]++
	}
	for _, typ := range []string{journal.TypeHeader, journal.TypeMessage, journal.TypeIntent, journal.TypeDone, journal.TypeStep, "session", "note", "call", "command_result", "result"} {
		assert.Positive(t, types[typ], typ)
	}
}

// Files of earlier versions are read and gone on with.
func TestEarlierVersionsOpen(t *testing.T) {
	for _, version := range []int{1, 2} {
		path := filepath.Join(t.TempDir(), "old"+journal.Ext)
		loadsClean(t, path, goOn(t, path, oldLog(t, version)))
		old, err := journal.Read(path)
		require.NoError(t, err)
		assert.Zero(t, old.Lost)
		for _, e := range old.Entries {
			assert.NotContains(t, e.Next, "start_")
		}
	}
}

func TestNoSessionFile(t *testing.T) {
	for _, tc := range []struct{ name, text, err string }{
		{"text", "hello\nworld\n", "not a session file"},
		{"later", `{"type":"header","header":{"version":99}}` + "\n", "later version"},
		{"empty", "", ""},
		{"begun", `{"crc":"12`, ""},
	} {
		path := filepath.Join(t.TempDir(), tc.name+journal.Ext)
		require.NoError(t, os.WriteFile(path, []byte(tc.text), 0o600))
		show, err := Load(path)
		if tc.err != "" {
			assert.ErrorContains(t, err, tc.err)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, tc.name, show.ID)
		loadsClean(t, path, goOn(t, path, []byte(tc.text)))
	}
}

// The id of a file is that of its header, and no path.
func TestRemove(t *testing.T) {
	r := newRig(t, newModel(t, true, readThenAnswer...), func(o *Options) { o.SessionsDir = t.TempDir() })
	r.write(t, "b.txt", "42\n")
	_, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	assert.ErrorContains(t, Remove(r.Path()), "in use")
	base, outside := strings.TrimSuffix(r.Path(), journal.Ext), t.TempDir()
	closed := filepath.Join(base+journal.StateExt, "python", "closed")
	for _, dir := range []string{base + journal.ChildrenExt, filepath.Join(base+journal.ChildrenExt, "child"+journal.StateExt), closed} {
		require.NoError(t, os.MkdirAll(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "kept"), []byte("x"), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(outside, "theirs"), nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(base+journal.StateExt, "link")))
	require.NoError(t, os.Chmod(closed, 0)) // as code could leave it
	other := filepath.Join(filepath.Dir(base), "another"+journal.StateExt)
	require.NoError(t, os.Mkdir(other, 0o700))
	require.NoError(t, r.Close())
	require.NoError(t, Remove(r.Path()))
	left, err := filepath.Glob(base + "*")
	require.NoError(t, err)
	assert.Empty(t, left, "nothing of the session is left")
	assert.FileExists(t, filepath.Join(outside, "theirs"))
	assert.DirExists(t, other)
}
