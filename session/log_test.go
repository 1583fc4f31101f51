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

// firstLog is a session file as version 1 wrote it: without frames.
func firstLog(t *testing.T) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(finishedLog(t)) {
		payload, _, size := unframe(line)
		require.NotZero(t, size)
		payload = bytes.Replace(payload, []byte(`"version":3`), []byte(`"version":1`), 1)
		if !bytes.Contains(payload, []byte(`"type":"intent"`)) {
			out.Write(append(payload, '\n'))
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
	old, err := loadLog(path)
	require.NoError(t, err)
	// Whatever is left to do, a model that answers whenever it is asked ends it.
	m := newModel(t, false)
	for range 5 {
		m.script = append(m.script, `{"command":"answer","summary":"","content":[{"answer":"42"}]}`)
	}
	words := ""
	if old.result != nil || old.task == "" {
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
	for _, version := range []struct {
		name string
		data []byte
	}{{"framed", finishedLog(t)}, {"version 1", firstLog(t)}} {
		t.Run(version.name, func(t *testing.T) {
			whole := version.data
			path := filepath.Join(t.TempDir(), "cut"+logExt)
			for cut := range len(whole) + 1 {
				if version.name != "framed" && (cut < bytes.IndexByte(whole, '\n')+1 || cut%5 != 0) {
					continue // up to there, there is nothing to tell it by
				}
				scan, err := scanLog(bytes.NewReader(whole[:cut]))
				require.NoError(t, err)
				old, err := replay(path, scan)
				require.NoError(t, err, "cut at %d", cut)
				torn := int64(cut - bytes.LastIndexByte(whole[:cut], '\n') - 1)
				if whole[min(cut, len(whole)-1)] == '\n' && version.name == "framed" {
					torn = 0 // only the newline is missing
				}
				assert.Equal(t, torn, old.lost.Bytes, "cut at %d", cut)
				if cut%211 == 0 { // resuming at each byte would take long and show nothing more
					loadsClean(t, path, goOn(t, path, whole[:cut]))
				}
			}
		})
	}
}

// Any damaged byte costs at most its own record, is told, and stays without
// effect on what is appended.
func TestLogSurvivesAnyFlip(t *testing.T) {
	whole := finishedLog(t)
	records := bytes.Count(whole, []byte("\n"))
	path := filepath.Join(t.TempDir(), "flip"+logExt)
	data := make([]byte, len(whole))
	for at := range whole {
		for _, flip := range flips(at, whole[at]) {
			if flip == 0 {
				continue
			}
			copy(data, whole)
			data[at] ^= flip
			scan, err := scanLog(bytes.NewReader(data))
			require.NoError(t, err)
			assert.GreaterOrEqual(t, len(scan.lines), records-1, "byte %d", at)
			assert.Equal(t, records-len(scan.lines), scan.lost.Records, "byte %d", at)
			assert.True(t, scan.lost.Any(), "byte %d", at)
			lineStart := int64(bytes.LastIndexByte(whole[:at], '\n') + 1)
			assert.GreaterOrEqual(t, scan.lost.Offset, lineStart, "byte %d", at)
			assert.LessOrEqual(t, scan.lost.Offset, int64(at), "byte %d", at)
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
	intent := -1
	for i, line := range lines {
		if bytes.Contains(line, []byte(`"type":"intent"`)) {
			intent = i
		}
	}
	require.Positive(t, intent)
	lines[intent][len(lines[intent])/2] ^= 1
	path := filepath.Join(t.TempDir(), "x"+logExt)
	text := fmt.Sprint(goOn(t, path, bytes.Join(lines[:intent+1], nil)))
	_ = text
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(again), "writer may have run already")
}

// What a model or a file says can't pass for a record, even where damage has
// made a reader look for the next one.
func TestForgedRecords(t *testing.T) {
	forged, err := frame(9, Event{Data: &Note{Step: 1, Text: "forged"}})
	require.NoError(t, err)
	var file bytes.Buffer
	for i, v := range []any{
		record{Type: recHeader, Header: &header{Version: logVersion, ID: "x"}},
		Event{Data: &Note{Text: "\n" + string(forged)}},
		Event{Data: &CallMade{Content: []map[string]any{{"x": json.RawMessage(forged)}}}},
		Event{Data: &Note{Text: "real"}},
	} {
		line, err := frame(int64(i), v)
		require.NoError(t, err)
		if i == 1 || i == 2 {
			line[12] ^= 1
		}
		file.Write(line)
	}
	scan, err := scanLog(&file)
	require.NoError(t, err)
	require.Len(t, scan.lines, 2)
	assert.Equal(t, "real", scan.lines[1].event.Data.(*Note).Text)
	assert.Equal(t, 2, scan.lost.Records)
}

// Each record is a JSON object on a line of its own, for jq and its like.
func TestLogIsJSONLines(t *testing.T) {
	sc := bufio.NewScanner(bytes.NewReader(finishedLog(t)))
	types := map[string]int{}
	for sc.Scan() {
		var line struct {
			CRC  string `json:"crc"`
			Len  int    `json:"len"`
			Seq  *int   `json:"seq"`
			Type string `json:"type"`
		}
		require.NoError(t, json.Unmarshal(sc.Bytes(), &line))
		assert.Len(t, line.CRC, crcDigits)
		assert.Positive(t, line.Len)
		require.NotNil(t, line.Seq)
		types[line.Type]++
	}
	for _, typ := range []string{recHeader, recMessage, recIntent, recDone, recStep, "session", "note", "call", "command_result", "result"} {
		assert.Positive(t, types[typ], typ)
	}
}

// A file that begins without frames is of version 1: it can be read and gone on
// with, and what is appended is framed.
func TestFirstVersionOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old"+logExt)
	loadsClean(t, path, goOn(t, path, firstLog(t)))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(data), framePrefix)
	data = bytes.Replace(data, []byte("and again?"), []byte("and\x00again?"), 1)
	scan, err := scanLog(bytes.NewReader(data))
	require.NoError(t, err)
	assert.Equal(t, 1, scan.lost.Records)
}

func TestNoSessionFile(t *testing.T) {
	for _, tc := range []struct{ name, text, err string }{
		{"text", "hello\nworld\n", "not a session file"},
		{"later", mustFrame(t, record{Type: recHeader, Header: &header{Version: 99}}), "later version"},
		{"empty", "", ""},
		{"begun", `{"crc":"12`, ""},
	} {
		path := filepath.Join(t.TempDir(), tc.name+logExt)
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

func mustFrame(t *testing.T, v any) string {
	line, err := frame(0, v)
	require.NoError(t, err)
	return string(line)
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"20260101-000000-aaaaaa", "20260101-000000-abbbbb", "20260102-000000-cccccc"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+logExt), nil, 0o600))
	}
	for _, tc := range []struct{ id, want, err string }{
		{"cccccc", "20260102-000000-cccccc", ""},
		{"20260102", "20260102-000000-cccccc", ""},
		{"last", "20260102-000000-cccccc", ""},
		{"20260101", "", "fits 2 sessions, 20260101-000000-aaaaaa, 20260101-000000-abbbbb among them"},
		{"zzz", "", "none with id"},
		{"cccccd", "", "did you mean 20260102-000000-cccccc?"},
		{"20260103", "", "did you mean 20260102-000000-cccccc?"},
		{"lsat", "", "none with id"},
		{"", "", "none with id"},
		{"../x", "", "none with id"},
	} {
		path, err := Find(dir, tc.id)
		if tc.err != "" {
			assert.ErrorContains(t, err, tc.err)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(dir, tc.want+logExt), path)
	}
	list, err := List(filepath.Join(dir, "not there"))
	require.NoError(t, err)
	assert.Empty(t, list)
}

// FuzzReadLog: whatever is in a file, reading it ends, without a panic, never
// claims more bytes than there are, and what is appended then is read again.
func FuzzReadLog(f *testing.F) {
	f.Add([]byte(`{"type":"header","header":{"version":1,"id":"x"}}` + "\n" + `{"type":"message","entry":{"kind":"task","text":"t"}}` + "\n"))
	f.Add([]byte(`{"type":"header","header":null}` + "\n{\"type\":\"compacted\",\"entries\":[null]}\n"))
	f.Add([]byte(`{"type":"result","stop":"answered"}` + "\n" + `{"type":"done"}` + "\n{"))
	var whole []byte
	for i, v := range []any{
		record{Type: recHeader, Header: &header{Version: logVersion, ID: "x"}},
		record{Type: recMessage, Entry: &entry{Kind: kindTurn, Text: "t"}, Turn: &openTurn{Calls: []*command.Call{{Command: "writer"}}}, Usage: &Usage{}},
		record{Type: recIntent, Intent: &intent{Key: "k"}},
	} {
		line, err := frame(int64(i), v)
		if err != nil {
			f.Fatal(err)
		}
		whole = append(whole, line...)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append(bytes.Clone(whole), 0, 0, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		scan, err := scanLog(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if scan.keep > int64(len(data)) || scan.lost.Bytes > int64(len(data)) {
			t.Fatalf("keeps %d and loses %d of %d bytes", scan.keep, scan.lost.Bytes, len(data))
		}
		s, err := replay("f", scan)
		if err != nil {
			return
		}
		s.info("f")
		s.stepCosts()
		messages("system", s.entries)
		after := bytes.Clone(data[:scan.keep])
		if scan.open {
			after = append(after, '\n')
		}
		line, err := frame(scan.nextSeq(), Event{Data: &Note{Text: "appended"}})
		if err != nil {
			t.Fatal(err)
		}
		again, err := scanLog(bytes.NewReader(append(after, line...)))
		if err != nil || len(again.lines) != len(scan.lines)+1 {
			t.Fatalf("%d records and one more are %d (%v)", len(scan.lines), len(again.lines), err)
		}
	})
}

// The id of a file is that of its header, and no path.
func TestRemove(t *testing.T) {
	r := newRig(t, newModel(t, true, readThenAnswer...), func(o *Options) { o.SessionsDir = t.TempDir() })
	r.write(t, "b.txt", "42\n")
	_, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	assert.ErrorContains(t, Remove(r.Path()), "in use")
	base, outside := strings.TrimSuffix(r.Path(), logExt), t.TempDir()
	closed := filepath.Join(base+stateExt, "python", "closed")
	for _, dir := range []string{base + childrenExt, filepath.Join(base+childrenExt, "child"+stateExt), closed} {
		require.NoError(t, os.MkdirAll(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "kept"), []byte("x"), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(outside, "theirs"), nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(base+stateExt, "link")))
	require.NoError(t, os.Chmod(closed, 0)) // as code could leave it
	other := filepath.Join(filepath.Dir(base), "another"+stateExt)
	require.NoError(t, os.Mkdir(other, 0o700))
	require.NoError(t, r.Close())
	require.NoError(t, Remove(r.Path()))
	left, err := filepath.Glob(base + "*")
	require.NoError(t, err)
	assert.Empty(t, left, "nothing of the session is left")
	assert.FileExists(t, filepath.Join(outside, "theirs"))
	assert.DirExists(t, other)
}
