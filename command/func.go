package command

import "context"

// RunFunc is the Run method of a [Command] as a function.
type RunFunc func(ctx context.Context, env *Env, call *Call) (*Result, error)

// Func makes a command of a spec and a Go function, so that a program needs no
// type of its own.
func Func(spec Spec, run RunFunc) Command { return funcCommand{spec, run} }

type funcCommand struct {
	spec Spec
	run  RunFunc
}

func (f funcCommand) Spec() Spec { return f.spec }

func (f funcCommand) Run(ctx context.Context, env *Env, call *Call) (*Result, error) {
	return f.run(ctx, env, call)
}
