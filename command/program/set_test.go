package program

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

func TestFilesAreTakenUp(t *testing.T) {
	r := newRig(t)
	assert.Empty(t, r.refresh(), "no folder, no change")

	r.writeUser("fahrenheit.py", script(fahrenheit, fahrenheitCode))
	assert.Equal(t, "added fahrenheit", r.refresh())
	assert.Empty(t, r.refresh(), "told once")
	assert.Equal(t, "100.0", r.call("fahrenheit", map[string]any{"degrees": 212.0}).Text)
	assert.Equal(t, "100.0", r.call("f_to_c", map[string]any{"degrees": " 212 "}).Text, "an alias, and a number as text")

	r.writeUser("fahrenheit.py", script(fahrenheit, strings.Replace(fahrenheitCode, "2))", "2), 'C')", 1)))
	assert.Equal(t, "changed fahrenheit", r.refresh())
	assert.Equal(t, "100.0 C", r.call("fahrenheit", map[string]any{"degrees": 212.0}).Text)

	r.writeUser("fahrenheit.py", script(fahrenheit, "import json\nprint('a'\nx = 1\n"))
	assert.Equal(t, "broken fahrenheit: USER/fahrenheit.py:12: SyntaxError: '(' was never closed (kept)", r.refresh())
	assert.Empty(t, r.refresh(), "told once")
	assert.Equal(t, "100.0 C", r.call("fahrenheit", map[string]any{"degrees": 212.0}).Text, "the old version stays")

	r.writeUser("fahrenheit.py", script(strings.Replace(fahrenheit, "kind: number", "kind: nubmer", 1), fahrenheitCode))
	assert.Equal(t, `broken fahrenheit: USER/fahrenheit.py:6: field degrees: unknown kind "nubmer"; did you mean "number"? (kept)`, r.refresh())

	r.writeUser("fahrenheit.py", script(strings.Replace(fahrenheit, "name: fahrenheit", "name: celsius", 1), fahrenheitCode))
	assert.Equal(t, "removed fahrenheit\nadded celsius", r.refresh(), "the file gives itself another name")

	require.NoError(t, os.Remove(filepath.Join(r.user, "fahrenheit.py")))
	assert.Equal(t, "removed celsius", r.refresh())
	_, err := r.reg.Resolve("celsius")
	assert.ErrorContains(t, err, "unknown command")
}

func TestSameSizeAndTimeIsSeen(t *testing.T) {
	r := newRig(t)
	r.writeUser("a.py", script("description: Says a.", "print('a')\n"))
	require.Equal(t, "added a", r.refresh())
	info, err := os.Stat(filepath.Join(r.user, "a.py"))
	require.NoError(t, err)
	r.writeUser("a.py", script("description: Says a.", "print('b')\n"))
	require.NoError(t, os.Chtimes(filepath.Join(r.user, "a.py"), info.ModTime(), info.ModTime()))
	assert.Equal(t, "changed a", r.refresh())
	assert.Equal(t, "b", r.call("a", nil).Text)
}

func TestNamesThatAreTaken(t *testing.T) {
	r := newRig(t)
	r.writeUser("answer.py", script("description: Ends all.", ""))
	r.writeUser("mine.py", script("description: Reads.\naliases: [cat]", ""))
	r.writeUser("one.py", script("name: twin\ndescription: First.", "print(1)"))
	r.writeUser("two.py", script("name: twin\ndescription: Second.", "print(2)"))
	assert.Equal(t, strings.Join([]string{
		`broken answer: USER/answer.py: the name "answer" belongs to the stock command answer`,
		`broken mine: USER/mine.py: the alias "cat" belongs to the stock command reader`,
		`added twin`,
		`broken twin: USER/two.py: the name "twin" is taken by ` + filepath.Join(r.user, "one.py"),
	}, "\n"), strings.ReplaceAll(r.refresh(), "taken by USER", "taken by "+r.user))
	assert.Equal(t, "1", r.call("twin", nil).Text)

	require.NoError(t, os.Remove(filepath.Join(r.user, "one.py")))
	assert.Equal(t, "removed twin\nadded twin", r.refresh(), "the name is free for the other file")
	assert.Equal(t, "2", r.call("twin", nil).Text)
}

func TestDisabledNameStaysTaken(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.reg.Disable("python"))
	r.writeUser("python.py", script("description: Runs all.", ""))
	assert.Contains(t, r.refresh(), `the name "python" belongs to the stock command python`)
}

func TestExecutable(t *testing.T) {
	r := newRig(t)
	const script = `#!/bin/sh
if [ "$1" = --describe ]; then
  echo '{"description": "Shows its request.", "fields": [{"name": "word"}], "metadata": ["token"]}'
  echo "to nobody" >&2
else
  cat; echo "noise" >&2
fi
`
	r.write(filepath.Join(r.user, "echo"), script, 0o755)
	r.write(filepath.Join(r.user, "notes.txt"), "no command", 0o600)
	require.Equal(t, "added echo", r.refresh())
	assert.Equal(t, `{"content":[{"word":"hi"}],"summary":"why","metadata":{"token":"s3cret-token"}}`,
		r.call("echo", map[string]any{"word": "hi"}).Text, "stdout alone; of the metadata what is declared")

	r.write(filepath.Join(r.user, "mute"), "#!/bin/sh\necho sorry >&2; exit 3\n", 0o755)
	r.write(filepath.Join(r.user, "wrong"), "#!/bin/sh\necho '{\"nmae\": \"x\"}'\n", 0o755)
	assert.Equal(t, "broken: USER/mute: --describe ended with exit code 3 : sorry\n"+
		`broken: USER/wrong:1: unknown key "nmae"; did you mean "name"?`, r.refresh())
}

func TestFailures(t *testing.T) {
	r := newRig(t)
	r.writeUser("fail.py", script("description: Fails.\nfields: [{name: n, kind: number}]\ntimeout: 20s", "import sys\nprint('half')\nsys.exit('no '*3)\n"))
	r.writeUser("slow.py", script("description: Sleeps.\ntimeout: 300ms", "print('begun')\nwhile True: pass\n"))
	r.writeUser("loud.py", script("description: Prints.", "print('x' * 100_000)\n"))
	require.Equal(t, "added fail\nadded loud\nadded slow", r.refresh())

	res := r.call("fail", map[string]any{"n": "1"})
	assert.True(t, res.Failed)
	assert.Equal(t, "half\nno no no\nExit code 1.", res.Text)
	res = r.call("fail", map[string]any{"n": "many"})
	assert.True(t, res.Failed)
	assert.Equal(t, `The field n must be a number, not "many".`, res.Text)
	res = r.call("fail", nil)
	assert.Equal(t, "The field n is missing: n.", res.Text)
	res = r.call("slow", nil)
	assert.True(t, res.Failed)
	assert.Contains(t, res.Text, "Stopped after 300ms: the time limit.")
	res = r.call("loud", nil)
	assert.True(t, res.Truncated)
	assert.Less(t, len(res.Text), 20_000)
}

// A program has the access that it declared and no more.
func TestNeeds(t *testing.T) {
	r := newRig(t)
	r.write(filepath.Join(r.project, "data.txt"), "data", 0o600)
	const code = `import os
def tries(what, f):
    try:
        f(); print(what, "yes")
    except OSError:
        print(what, "no")
tries("read", lambda: open(%s).read())
tries("write", lambda: open(%s, "w").write("x"))
print(os.environ.get("HOME", "").startswith("/tmp"), sorted(k for k in os.environ if "SECRET" in k))
`
	t.Setenv("MY_SECRET", "hidden-in-the-environment")
	fill := func(folder string) string {
		quote := func(name string) string { return `"` + filepath.Join(folder, name) + `"` }
		return strings.Replace(strings.Replace(code, "%s", quote("data.txt"), 1), "%s", quote("new.txt"), 1)
	}
	for name, needs := range map[string]string{"nothing": "[]", "reads": "[read]", "writes": "[write]"} {
		r.writeUser(name+".py", script("description: Tries.\nneeds: "+needs, fill(r.project)))
	}
	r.writeUser("here.py", script("description: Tries.\nneeds: [read]", fill("")))
	require.Equal(t, "added here\nadded nothing\nadded reads\nadded writes", r.refresh())
	const env = "\nTrue []"
	assert.Equal(t, "read no\nwrite no"+env, r.call("nothing", nil).Text)
	assert.Equal(t, "read yes\nwrite no"+env, r.call("reads", nil).Text)
	assert.Equal(t, "read yes\nwrite no"+env, r.call("here", nil).Text, "it starts in the work dir")
	assert.NoFileExists(t, filepath.Join(r.project, "new.txt"))
	assert.Equal(t, "read yes\nwrite yes"+env, r.call("writes", nil).Text)
	assert.FileExists(t, filepath.Join(r.project, "new.txt"))

	effects := map[string]command.Effect{}
	for _, p := range r.Programs() {
		effects[p.Spec().Name] = p.Spec().Effect
	}
	assert.Equal(t, map[string]command.Effect{
		"nothing": command.EffectNone, "reads": command.EffectRead, "here": command.EffectRead, "writes": command.EffectWrite,
	}, effects)
}

func TestNetwork(t *testing.T) {
	r := newRig(t)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	code := fmt.Sprintf("import socket\ntry:\n    socket.create_connection(('127.0.0.1', %d)).close()\n    print('reached')\nexcept OSError:\n    print('cut off')\n", port)
	r.writeUser("inside.py", script("description: Tries.", code))
	r.writeUser("outside.py", script("description: Tries.\nneeds: [network]", code))
	require.Equal(t, "added inside\nadded outside", r.refresh())
	assert.Equal(t, "cut off", r.call("inside", nil).Text)
	assert.Equal(t, "reached", r.call("outside", nil).Text)
}

func TestTrust(t *testing.T) {
	r := newRig(t)
	r.writeProject("hello.py", script("description: Greets.", "print('hello')\n"))
	assert.Equal(t, "untrusted: the commands of PROJECT are not loaded, since the folder is not trusted: hello.py", r.refresh())
	assert.Empty(t, r.refresh(), "told once")
	assert.Empty(t, r.Programs())

	found, err := Find(r.config.Folders[1])
	require.NoError(t, err)
	require.NoError(t, r.config.Trust.Add(r.project, found, false))
	assert.Equal(t, "added hello", r.refresh())
	r.writeProject("bye.py", script("description: Leaves.", "print('bye')\n"))
	assert.Equal(t, "added bye", r.refresh(), "the folder is trusted as it grows")

	r.writeProject("spy.py", script("description: Sends.\nmetadata: [token]", "print('sent')\n"))
	assert.Equal(t, "broken spy: PROJECT/commands/spy.py: it wants the network or metadata and has changed since its folder was trusted", r.refresh())
	assert.Empty(t, r.refresh(), "told once")
	found, err = Find(r.config.Folders[1])
	require.NoError(t, err)
	require.NoError(t, r.config.Trust.Add(r.project, found, false))
	assert.Equal(t, "added spy", r.refresh())
	r.writeProject("spy.py", script("description: Sends.\nmetadata: [token, other]", "print('sent')\n"))
	assert.Contains(t, r.refresh(), "has changed since its folder was trusted (kept)")

	again := OpenTrust(r.config.Trust.path)
	trusted, err := again.Trusted(r.project)
	require.NoError(t, err)
	assert.True(t, trusted, "kept for later runs")
	removed, err := again.Remove(r.project)
	require.NoError(t, err)
	assert.True(t, removed)
	assert.Equal(t, "untrusted: the commands of PROJECT are not loaded, since the folder is not trusted: bye.py, hello.py, spy.py\nremoved bye\nremoved hello\nremoved spy", r.refresh())
}

func TestTrustFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state", "trust.json")
	project := filepath.Join(dir, "project")
	require.NoError(t, os.Mkdir(project, 0o700))
	require.NoError(t, os.Symlink(project, filepath.Join(dir, "link")))
	trust := OpenTrust(path)
	require.NoError(t, trust.Add(filepath.Join(dir, "link"), nil, false))
	trusted, err := trust.Trusted(project)
	require.NoError(t, err)
	assert.True(t, trusted, "known by its canonical path")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, os.WriteFile(path, []byte("{torn"), 0o600))
	trusted, err = trust.Trusted(project)
	assert.ErrorContains(t, err, "damaged")
	assert.False(t, trusted, "what can't be read trusts nothing")
	assert.Error(t, trust.Add(project, nil, false), "and is not overwritten")

	once := &Trust{}
	require.NoError(t, once.Add(project, nil, true))
	trusted, err = once.Trusted(project)
	require.NoError(t, err)
	assert.True(t, trusted)
	assert.Error(t, (&Trust{}).Add(project, nil, false), "no place to keep it")
}

func TestOddFiles(t *testing.T) {
	r := newRig(t)
	outside := filepath.Join(t.TempDir(), "outside.py")
	r.write(outside, script("description: From outside.", "print('out')\n"), 0o600)
	r.writeUser("real.py", script("description: Here.", "print('in')\n"))
	require.NoError(t, os.Symlink(outside, filepath.Join(r.user, "escape.py")))
	require.NoError(t, os.Symlink("real.py", filepath.Join(r.user, "same.py")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(r.user, "lock.py")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(r.user, "pipe.py"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(r.user, "folder.py"), 0o700))
	r.writeUser("_helper.py", "x = 1\n")
	r.writeUser(".hidden.py", "x = 1\n")
	r.writeUser("plain.py", "print('no header')\n")
	r.writeUser("large.py", script("description: Large.", "#"+strings.Repeat("x", pythonBytesMax)))
	r.writeUser("nul.py", script("description: Zero.", "x = '\x00'\n"))
	r.writeUser("deep.py", script("description: Deep.", "x = "+strings.Repeat("(", 50_000)+strings.Repeat(")", 50_000)))
	got := r.refresh()
	assert.Contains(t, got, "broken: USER/escape.py: not read: it is a link that leads out of its folder")
	assert.Contains(t, got, "broken: USER/pipe.py: it is no regular file")
	assert.Contains(t, got, "broken: USER/plain.py:1: it has no header")
	assert.Contains(t, got, "broken: USER/large.py: it has more than 1 MiB")
	assert.Contains(t, got, "broken: USER/nul.py:")
	assert.Contains(t, got, "broken: USER/deep.py:")
	assert.Contains(t, got, "added real")
	assert.Contains(t, got, "added same")
	assert.NotContains(t, got, "helper")
	assert.NotContains(t, got, "hidden")
	assert.NotContains(t, got, "lock")
	assert.NotContains(t, got, "folder.py")
}

func TestProjectFolderThatIsALink(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.config.Trust.Add(r.project, nil, true))
	elsewhere := t.TempDir()
	r.write(filepath.Join(elsewhere, "a.py"), script("description: A.", ""), 0o600)
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(r.project, "commands")))
	assert.Equal(t, "broken: PROJECT/commands: it is a link that leads out of its folder", r.refresh())
}

// What runs are the bytes that were checked.
func TestRunsWhatWasChecked(t *testing.T) {
	r := newRig(t)
	r.writeUser("a.py", script("description: Says a.", "print('checked')\n"))
	require.Equal(t, "added a", r.refresh())
	r.writeUser("a.py", script("description: Says a.\nneeds: [write]", "print('slipped in')\n"))
	assert.Equal(t, "checked", r.call("a", nil).Text)
	require.NoError(t, os.Remove(filepath.Join(r.user, "a.py")))
	assert.Equal(t, "checked", r.call("a", nil).Text)
}

func TestCancelledRefreshIsTriedAgain(t *testing.T) {
	r := newRig(t)
	r.writeUser("a.py", script("description: Says a.", "print('a')\n"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range r.Refresh(ctx) {
		assert.Equal(t, Broken, c.Kind)
	}
	assert.Equal(t, "added a", r.refresh())
}
