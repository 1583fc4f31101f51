package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"agent/command"
)

// redecidedMax is how often one call is decided about, when what it works on
// changes meanwhile.
const redecidedMax = 3

// seen is what a decision about a call stands on.
type seen struct {
	places string            // where the names in the call lead
	sum    [sha256.Size]byte // of what it would do, and of what lies in those places
}

// look takes what a call would do, and what it would do it to.
func (s *Session) look(ctx context.Context, cmd command.Command, spec command.Spec, call *command.Call) seen {
	dir := s.opts.Env.WorkDir
	targets := command.TargetsOf(spec, call, dir)
	base, err := filepath.EvalSymlinks(dir)
	out := seen{places: fmt.Sprint(base, err, targets)}
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", s.preview(ctx, cmd, call))
	root, err := os.OpenRoot(dir)
	if err != nil {
		fmt.Fprintln(h, err)
		return out
	}
	defer root.Close()
	for _, p := range targets.Paths {
		info, err := root.Stat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(h, "%q\n", p)
		case err != nil:
			fmt.Fprintf(h, "%q %v\n", p, err)
		case info.Mode().IsRegular():
			fmt.Fprintf(h, "%q %x\n", p, stateOf(root, p, info, snapshot{}).sum)
		default:
			fmt.Fprintf(h, "%q %v\n", p, info.Mode())
		}
	}
	h.Sum(out.sum[:0])
	return out
}

// approve decides about one call. Deciding takes time: what was allowed holds
// for what was shown, so what changed meanwhile is decided about again, and a
// call whose names lead elsewhere now is refused.
func (s *Session) approve(ctx context.Context, cmd command.Command, spec command.Spec, call *command.Call) (Decision, error) {
	if s.opts.Approver == nil && s.opts.Overseer == nil || !spec.Effect.Consequential() && len(s.opts.Rules) == 0 {
		return s.decideOnce(ctx, cmd, spec, call)
	}
	for range redecidedMax {
		before := s.look(ctx, cmd, spec, call)
		d, err := s.decideOnce(ctx, cmd, spec, call)
		if err != nil || !d.Allow {
			return d, err
		}
		now := s.look(ctx, cmd, spec, call)
		if now == before {
			return d, nil
		}
		if now.places != before.places {
			return s.stale(call, "moved"), nil
		}
		s.warn(fmt.Sprintf("what %s works on changed while it was decided about: it is decided again", call.Command))
	}
	return s.stale(call, "changing"), nil
}

// stale refuses a call that was allowed for what is no longer so.
func (s *Session) stale(call *command.Call, why string) Decision {
	d := Decision{Reason: s.words.render(why, nil)}
	s.tellDecision(call, decided{Decision: d, by: ByMode})
	return d
}
