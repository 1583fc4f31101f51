package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"agent/backend"
	"agent/command"
	"agent/command/stock"
	"agent/examples/backend/shout"
	"agent/inference"
	"agent/inference/gguf/gguftest"
	"agent/internal/cli"
	"agent/internal/hub/hubtest"
)

// TestMain makes this test binary stand in for the program, so that scripts
// run the real command line in processes of their own; agent-shout is the
// program with the backend of docs/go.md added to it. The child that
// tries a model first is this binary too.
func TestMain(m *testing.M) {
	if code, child := inference.RunChild(); child {
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){
		"agent":       func() { os.Exit(cli.Main(customBackends(), root)) },
		"agent-shout": func() { os.Exit(cli.Main(backend.Registry{"shout": shout.New}, root)) },
		"mcp-notes":   notesServer,
	})
}

// TestScripts runs testdata/script/*.txtar, which read as documentation of the
// command line. Beside testscript's own commands they have:
//
//	exits CODE COMMAND…         the command ends with exactly this code
//	hub start                   a model hub on loopback; sets HF_ENDPOINT
//	hub add OWNER/REPO DIR [gated]   serves the files of a folder
//	hub faults NAME=VALUE…      lets it misbehave; without arguments it behaves
//	hub asked N                 it was asked N times since
//	gguf FILE [KEY=VALUE | -KEY]…   writes a tiny model, well-formed but for what
//	                            is changed; u32: before a value makes it a number
//	fill FILE BYTES             writes a file of that size
//
// Conditions are native (the engine is built in), model (and the default model
// is here, as $MODEL), root, mounts (file systems of one's own can be mounted),
// and sandbox (Python runs, confined).
//
// Each script has a home and a Hugging Face home of its own, and no network
// but its hub.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUpScript,
		Condition:           scriptCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits,
			"hub":   cmdHub,
			"gguf":  cmdGGUF,
			"fill":  cmdFill,
		},
	})
}

// defaultModelPath is where `make model` puts the default model.
func defaultModelPath() string {
	path, err := filepath.Abs(filepath.Join("..", "..", "models", "SmolLM2-135M-Instruct.Q4_1.gguf"))
	if err != nil {
		return ""
	}
	return path
}

func scriptCondition(name string) (bool, error) {
	switch name {
	case "native":
		return inference.Built(), nil
	case "model":
		_, err := os.Stat(defaultModelPath())
		return err == nil && inference.Built(), nil
	case "root":
		return os.Geteuid() == 0, nil
	case "sandbox":
		return sandboxWorks(), nil
	case "mounts":
		return exec.Command("unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt").Run() == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// sandboxWorks tries once whether code runs confined here. A build with the race
// detector needs more address space than any job may have.
var sandboxWorks = sync.OnceValue(func() bool {
	dir, err := os.MkdirTemp("", "agent-sandbox-test-")
	if err != nil {
		return false
	}
	defer os.RemoveAll(dir)
	env := &command.Env{WorkDir: dir}
	call := &command.Call{Content: []map[string]any{{"code": "print(6 * 7)"}}}
	res, err := stock.Python().Run(context.Background(), env, call)
	return err == nil && strings.TrimSpace(res.Text) == "42"
})

type hubKey struct{}

// setUpScript gives a script clean folders. The environment is otherwise
// testscript's own, so nothing of the developer's leaks in.
func setUpScript(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	for name, value := range map[string]string{
		"HOME": home, "HF_HOME": filepath.Join(home, "hf"), "AGENT_MODELS_DIR": filepath.Join(home, "models"),
		"XDG_DATA_HOME": filepath.Join(home, "data"), "XDG_CONFIG_HOME": filepath.Join(home, "config"), "XDG_CACHE_HOME": filepath.Join(home, "cache"),
		"MODEL":       defaultModelPath(),
		"HF_ENDPOINT": "http://127.0.0.1:1", // nobody listens: a script that needs a hub starts one
	} {
		env.Setenv(name, value)
	}
	server := hubtest.New()
	env.Defer(server.Close)
	env.Values[hubKey{}] = server
	return os.MkdirAll(home, 0o755)
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d", got, want)
	}
}

func cmdHub(ts *testscript.TestScript, neg bool, args []string) {
	server := ts.Value(hubKey{}).(*hubtest.Server)
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: hub start | add | faults | asked")
	case args[0] == "start":
		ts.Setenv("HF_ENDPOINT", server.URL())
	case args[0] == "add" && len(args) >= 3:
		server.Add(args[1], hubtest.Repo{Files: filesIn(ts, ts.MkAbs(args[2])), Gated: len(args) > 3 && args[3] == "gated"})
	case args[0] == "faults":
		server.Misbehave(parseFaults(ts, args[1:]))
	case args[0] == "asked" && len(args) == 2:
		if got := strconv.Itoa(len(server.Requests())); got != args[1] {
			ts.Fatalf("the hub was asked %s times, expected %s: %+v", got, args[1], server.Requests())
		}
	default:
		ts.Fatalf("hub: can't read %q", args)
	}
}

// filesIn reads a folder as a repository: weights are large files.
func filesIn(ts *testscript.TestScript, dir string) []hubtest.File {
	var out []hubtest.File
	ts.Check(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, relErr := filepath.Rel(dir, path)
		lfs := strings.HasSuffix(path, ".gguf") || strings.HasSuffix(path, ".safetensors")
		out = append(out, hubtest.File{Path: filepath.ToSlash(rel), Data: data, LFS: lfs})
		return errors.Join(err, relErr)
	}))
	return out
}

func parseFaults(ts *testscript.TestScript, args []string) hubtest.Faults {
	var f hubtest.Faults
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(value)
		ts.Check(err)
		switch name {
		case "cuts":
			f.Cuts = n
		case "cut-after":
			f.CutAfterBytes = n
		case "status":
			f.FailStatus = n
		case "fails":
			f.Fails = n
		case "corrupt":
			f.Corrupt = n != 0
		case "slow-ms":
			f.SlowPerBlock = time.Duration(n) * time.Millisecond
		default:
			ts.Fatalf("hub faults: unknown %q", name)
		}
	}
	return f
}

func cmdGGUF(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: gguf FILE [KEY=VALUE | -KEY]…")
	}
	model := gguftest.Model()
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		if key, deleted := strings.CutPrefix(key, "-"); deleted {
			model.Delete(key)
		} else if number, ok := strings.CutPrefix(value, "u32:"); ok {
			n, err := strconv.ParseUint(number, 10, 32)
			ts.Check(err)
			model.Set(key, uint32(n))
		} else {
			model.Set(key, value)
		}
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, model.Bytes(), 0o644))
}

func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fill FILE BYTES")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * 31 / 7)
	}
	path := ts.MkAbs(args[0])
	copy(data, "GGUF") // no more of a model is looked for while it is fetched
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, data, 0o644))
}

// wholeTree is every command of the program.
func wholeTree() *cobra.Command {
	a := cli.New(strings.NewReader(""), io.Discard, io.Discard, nil)
	return a.Root(root(a))
}
