package config

import (
	"fmt"
	"strings"

	"agent/internal/near"
)

// resolverFunc is one of the functions that ${name:args} may call.
type resolverFunc func(r *resolver, n *node, args []*node) (*node, error)

// resolverFuncs are those of OmegaConf's resolvers that configurations of models use.
func resolverFuncs() map[string]resolverFunc {
	return map[string]resolverFunc{
		"oc.env":    resolveEnv,
		"oc.select": resolveSelect,
		"oc.decode": resolveDecode,
	}
}

// call evaluates ${name:args}.
func (r *resolver) call(e *expr, n *node) (*node, error) {
	var words []string
	for _, p := range e.name {
		w, err := r.eval(p, n)
		if err != nil {
			return nil, err
		}
		words = append(words, w.display())
	}
	name := strings.Join(words, ".")
	f, ok := resolverFuncs()[name]
	if !ok {
		names := sortedKeys(resolverFuncs())
		return nil, problem(n.origin, n.path(), "unknown resolver %q%s", name, near.Hint(name, names)).
			Advise("known: %s", listed(names))
	}
	args := make([]*node, len(e.parts))
	for i, p := range e.parts {
		v, err := r.eval(p, n)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	return f(r, n, args)
}

// wantArgs checks the number of arguments.
func wantArgs(n *node, name string, args []*node, least, most int) error {
	if len(args) >= least && len(args) <= most {
		return nil
	}
	want := fmt.Sprint(least)
	if most > least {
		want = fmt.Sprintf("%d to %d", least, most)
	}
	return problem(n.origin, n.path(), "%s takes %s arguments, got %d", name, want, len(args))
}

// resolveEnv is ${oc.env:NAME} and ${oc.env:NAME,default}. The value is always
// a string, as the environment's are; a null default stays null.
func resolveEnv(r *resolver, n *node, args []*node) (*node, error) {
	if err := wantArgs(n, "oc.env", args, 1, 2); err != nil {
		return nil, err
	}
	name := args[0].display()
	if v, ok := r.env[name]; ok {
		out := newString(v, n.origin)
		if secretEnv.MatchString(name) && !isPlaceholder(v) {
			out.secret = true
			r.secrets.add(v)
		}
		return out, nil
	}
	switch {
	case len(args) == 1:
		return nil, problem(n.origin, n.path(), "environment variable %s is not set",
			name).is(ErrUndefinedEnv).
			Advise("export %s=… or put it into .env", name)
	case args[1].kind == kindNull:
		return args[1], nil
	default:
		out := newString(args[1].display(), n.origin)
		out.secret = args[1].hasSecret()
		return out, nil
	}
}

// resolveSelect is ${oc.select:key,default}: the value at key, or the default
// where there is none.
func resolveSelect(r *resolver, n *node, args []*node) (*node, error) {
	if err := wantArgs(n, "oc.select", args, 1, 2); err != nil {
		return nil, err
	}
	key := args[0].display()
	dots := countRun(key, ".")
	v := newNull(n.origin)
	if len(args) == 2 {
		v = args[1]
	}
	at, err := r.walk(dots, splitKey(key[dots:]), n)
	if err != nil || at.isMissing() {
		return v, nil
	}
	found, err := r.resolve(at)
	if err != nil {
		return nil, err
	}
	found.secret = found.secret || secretHolder(at)
	return found, nil
}

// resolveDecode is ${oc.decode:text}: text read as a value, so that an
// environment variable can be a number or a list.
func resolveDecode(r *resolver, n *node, args []*node) (*node, error) {
	if err := wantArgs(n, "oc.decode", args, 1, 1); err != nil {
		return nil, err
	}
	switch args[0].kind {
	case kindNull:
		return args[0], nil
	case kindString:
	default:
		return nil, problem(n.origin, n.path(), "oc.decode reads a string, got %s", args[0].kind)
	}
	e, err := parseElement(args[0].text)
	if err != nil {
		return nil, problem(n.origin, n.path(), "oc.decode: %s", err)
	}
	if err := r.enterDecode(n); err != nil {
		return nil, err
	}
	defer func() { r.depth-- }()
	v, err := r.eval(e, n)
	if err == nil && args[0].secret {
		v.secret = true
	}
	return v, err
}

// enterDecode bounds text that decodes to text that decodes.
func (r *resolver) enterDecode(n *node) error {
	if r.depth++; r.depth > depthMax {
		r.depth--
		return problem(n.origin, n.path(), "oc.decode is nested too deep")
	}
	return nil
}
