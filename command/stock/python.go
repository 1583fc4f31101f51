package stock

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"agent/command"
	"agent/command/outcome"
	"agent/command/python"
	"agent/command/sandbox"
	"agent/internal/bounded"
)

// Python returns the command that runs Python code in the sandbox. It reports
// what the code printed, the value of a last expression, and which files changed.
// Each call is a new process, but with an Env.StateDir it finds the variables of
// earlier calls: what can be pickled, modules, functions and classes. Only
// sandboxed code reads and writes them; this process never does.
func Python() command.Command {
	return &pythonCommand{spec: describe(command.Spec{
		Name: "python",
		Aliases: []string{"py", "python3", "execute", "execute_python", "run_python", "run_code",
			"code_interpreter"},
		Slots:  []command.Slot{{Name: "code", Kind: command.SlotCode, Lang: "python"}},
		Effect: command.EffectExecute,
	})}
}

type pythonCommand struct {
	spec    command.Spec
	sandbox sandbox.Sandbox
	python  python.Finder
}

func (p *pythonCommand) Spec() command.Spec { return p.spec }

func (p *pythonCommand) Run(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	root, err := openWorkDir(env)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	code := joinCode(root, env, call)
	if strings.TrimSpace(code) == "" {
		return failed("no_code", nil), nil
	}
	limits := env.Limits.OrDefaults()
	before := takeSnapshot(root)
	out, err := p.runCode(ctx, env, limits, code)
	if err != nil {
		return nil, err
	}
	done := before.to(takeSnapshot(root)).outside(env.WorkDir, env.StateDir)
	result := pythonResult(out, limits, done)
	env.Files.DescribeAll(result.Files, call.Summary)
	return result, nil
}

// Preview shows the code that would run, all of it.
func (p *pythonCommand) Preview(_ context.Context, env *command.Env, call *command.Call,
) (string, error) {
	root, err := openWorkDir(env)
	if err != nil {
		return "", err
	}
	defer root.Close()
	return joinCode(root, env, call), nil
}

// stateFolder is where variables are kept, or empty if they are not.
func stateFolder(env *command.Env) (string, error) {
	if env.StateDir == "" {
		return "", nil
	}
	dir, err := filepath.Abs(filepath.Join(env.StateDir, "python"))
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("python: folder for variables: %w", err)
	}
	return dir, nil
}

// pythonTask is what run.py reads.
type pythonTask struct {
	Code  string `json:"code"`
	State string `json:"state,omitempty"`
	User  string `json:"user,omitempty"` // folder of a person's own packages
}

// runCode runs the code in the sandbox.
func (p *pythonCommand) runCode(ctx context.Context, env *command.Env, limits command.Limits,
	code string,
) (*sandbox.Outcome, error) {
	found, err := p.python.Find(ctx, env.WorkDir)
	if err != nil {
		return nil, err
	}
	state, err := stateFolder(env)
	if err != nil {
		return nil, err
	}
	stdin, err := json.Marshal(pythonTask{Code: code, State: state, User: found.User})
	if err != nil {
		return nil, fmt.Errorf("python: %w", err)
	}
	dir, err := filepath.Abs(env.WorkDir)
	if err != nil {
		return nil, fmt.Errorf("python: %w", err)
	}
	var writable []string
	if state != "" {
		writable = []string{state}
	}
	program := strings.Join([]string{texts.Text("state.py"), texts.Text("tables.py"),
		texts.Text("run.py")}, "\n")
	out, err := p.sandbox.Run(ctx, sandbox.Job{
		Path: found.Executable,
		// Isolated, no .pyc files in the work dir, UTF-8, output as it happens.
		Args:  python.Isolated("-c", program),
		Dir:   dir,
		Stdin: stdin,
		// plots go to files: there is no screen
		Env:             append(outcome.ThreadPools(limits), "MPLBACKEND=Agg"),
		ReadOnly:        found.Paths,
		Writable:        writable,
		Limits:          outcome.Limits(limits),
		AllowUnconfined: env.AllowUnsandboxed,
	})
	if err != nil {
		return nil, fmt.Errorf("python: %w", err)
	}
	return out, nil
}

// joinCode joins the code of all entries. An entry may name a script of the work
// dir instead.
func joinCode(root *os.Root, env *command.Env, call *command.Call) string {
	var parts []string
	for _, entry := range call.Content {
		code, ok := command.TextOf(entry, "code", "text", "script", "python", "source", "content",
			"input")
		if !ok {
			code = scriptFile(root, env, entry)
		}
		parts = append(parts, python.CleanCode(code))
	}
	return strings.Join(parts, "\n")
}

func scriptFile(root *os.Root, env *command.Env, entry map[string]any) string {
	name, ok := command.FileOf(entry)
	if !ok {
		return ""
	}
	path, ok := command.LocalPath(env.WorkDir, name)
	if !ok {
		return ""
	}
	data, err := bounded.Within(root, path, env.Limits.OrDefaults().FileBytes)
	if err != nil {
		return ""
	}
	return string(data)
}

// valueMark stands before a variable that run.py shows instead of output.
const valueMark = "\x1e"

// pythonResult tells the model how its code ran.
func pythonResult(out *sandbox.Outcome, limits command.Limits, c changes) *command.Result {
	r := &command.Result{
		Failed:    out.ExitCode != 0 || out.Exceeded != "",
		Truncated: out.Dropped > 0,
		Files:     c.files(),
	}
	var parts []string
	// A variable stands in place of output where there is nothing else to tell:
	// beside a file that was written it would pass for the result.
	text, value, _ := strings.Cut(outcome.Output(out), valueMark)
	if !c.any() {
		text += value
	}
	if text != "" {
		parts = append(parts, text)
	}
	if ending := outcome.Ending(out, limits); ending != "" {
		parts = append(parts, ending)
	}
	if c.any() {
		c.Created, c.Changed, c.Removed = listed(c.Created), listed(c.Changed), listed(c.Removed)
		parts = append(parts, texts.Say("files", c))
	}
	if len(parts) == 0 {
		parts = []string{texts.Say("no_output", nil)}
	}
	r.Text = strings.Join(parts, "\n")
	return r
}

// SandboxReport describes how the python command is confined on this system, for
// `agent doctor`. The error says why it would refuse to run in a folder; empty is
// any.
func SandboxReport(ctx context.Context, dir string) (sandbox.Report, error) {
	var s sandbox.Sandbox
	report, err := s.Probe(ctx)
	if err == nil && dir != "" && report.Confined() {
		err = s.Check(ctx, dir)
	}
	return report, err
}
