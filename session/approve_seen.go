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
	"agent/session/workdir"
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
func (g *gate) look(ctx context.Context, a asked) seen {
	dir := g.opts.Env.WorkDir
	targets := command.TargetsOf(a.spec, a.call, dir)
	base, err := filepath.EvalSymlinks(dir)
	out := seen{places: fmt.Sprint(base, err, targets)}
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", g.preview(ctx, a))
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
			fmt.Fprintf(h, "%q %x\n", p, workdir.Sum(root, p, info))
		default:
			fmt.Fprintf(h, "%q %v\n", p, info.Mode())
		}
	}
	h.Sum(out.sum[:0])
	return out
}
