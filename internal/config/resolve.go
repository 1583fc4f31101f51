package config

import (
	"cmp"
	"slices"
	"strings"

	"agent/internal/near"
)

// resolver evaluates interpolations within one tree. It never changes the tree.
type resolver struct {
	root    *node
	env     map[string]string // the variables that oc.env finds
	secrets secretSet
	open    []*node          // values being evaluated, to notice cycles
	memo    map[*node]*node  // evaluated strings
	parsed  map[string]*expr // parsed strings
	nodes   int
	bytes   int
	depth   int
	reached map[string]bool // notes the sections that references lead to, unless nil
}

func newResolver(root *node, env map[string]string, secrets secretSet) *resolver {
	if secrets == nil {
		secrets = secretSet{}
	}
	return &resolver{root: root, env: env, secrets: secrets, memo: map[*node]*node{},
		parsed: map[string]*expr{}}
}

// resolve returns a copy of the tree at n with every interpolation evaluated.
// Mandatory values that are not set stay `???`.
func (r *resolver) resolve(n *node) (*node, error) {
	if r.nodes++; r.nodes > nodesMax {
		return nil, problem(n.origin, n.path(), "interpolations make more than %d values", nodesMax)
	}
	r.depth++
	defer func() { r.depth-- }()
	if r.depth > 4*depthMax {
		return nil, problem(n.origin, n.path(), "interpolations are nested deeper than %d", 4*depthMax)
	}
	if n.isInterpolation() {
		return r.evaluate(n)
	}
	c := *n
	c.parent, c.key, c.keys, c.items, c.fields = nil, "", nil, nil, nil
	if n.kind == kindMap {
		c.fields = make(map[string]*node, len(n.keys))
	}
	for _, k := range n.keys {
		v, err := r.resolve(n.fields[k])
		if err != nil {
			return nil, err
		}
		c.set(k, v)
	}
	for _, it := range n.items {
		v, err := r.resolve(it)
		if err != nil {
			return nil, err
		}
		c.push(v)
	}
	return &c, nil
}

// evaluate computes the value of a string with interpolations.
func (r *resolver) evaluate(n *node) (*node, error) {
	if done := r.memo[n]; done != nil {
		return done.clone(), nil
	}
	if err := r.enter(n); err != nil {
		return nil, err
	}
	defer r.leave()
	e, err := r.parse(n)
	if err != nil {
		return nil, err
	}
	v, err := r.eval(e, n)
	if err != nil {
		return nil, err
	}
	v.origin = n.origin
	if !v.isContainer() {
		r.memo[n] = v.clone()
	}
	return v, nil
}

// enter notes that n is being evaluated; when it already is, its value depends
// on itself.
func (r *resolver) enter(n *node) error {
	if i := slices.Index(r.open, n); i >= 0 {
		var chain []string
		for _, o := range append(slices.Clone(r.open[i:]), n) {
			chain = append(chain, o.path())
		}
		return problem(n.origin, n.path(), "interpolation depends on itself: %s",
			strings.Join(chain, " → "))
	}
	if len(r.open) >= depthMax {
		return problem(n.origin, n.path(), "interpolations refer to each other more than %d deep",
			depthMax)
	}
	r.open = append(r.open, n)
	return nil
}

func (r *resolver) leave() { r.open = r.open[:len(r.open)-1] }

func (r *resolver) parse(n *node) (*expr, error) {
	if e := r.parsed[n.text]; e != nil {
		return e, nil
	}
	e, err := parseText(n.text)
	if err != nil {
		return nil, problem(n.origin, n.path(), "%s", err).
			Advise(`write \${ for a literal ${; quote special characters in arguments`)
	}
	r.parsed[n.text] = e
	return e, nil
}

// eval evaluates an expression that stands in the value n. The result belongs
// to the caller.
func (r *resolver) eval(e *expr, n *node) (*node, error) {
	switch e.kind {
	case exprLiteral:
		c := e.node.clone()
		c.origin = n.origin
		return c, nil
	case exprConcat:
		return r.concat(e, n)
	case exprRef:
		return r.reference(e, n)
	case exprCall:
		return r.call(e, n)
	}
	out := &node{kind: kindList, origin: n.origin}
	if e.kind == exprDict {
		out = newMap(n.origin)
	}
	for i, p := range e.parts {
		v, err := r.eval(p, n)
		if err != nil {
			return nil, err
		}
		if e.kind == exprDict {
			out.set(e.keys[i], v)
		} else {
			out.push(v)
		}
	}
	return out, nil
}

// concat joins the parts to one string, within the limits that keep a few
// lines from growing to gigabytes.
func (r *resolver) concat(e *expr, n *node) (*node, error) {
	var b strings.Builder
	secret := false
	for _, p := range e.parts {
		v, err := r.eval(p, n)
		if err != nil {
			return nil, err
		}
		secret = secret || v.hasSecret()
		s := v.display()
		r.bytes += len(s)
		if b.Len()+len(s) > stringBytesMax || r.bytes > resolvedBytesMax {
			return nil, problem(n.origin, n.path(), "interpolation makes a string of more than %d bytes",
				stringBytesMax)
		}
		b.WriteString(s)
	}
	out := newString(b.String(), n.origin)
	out.secret = secret
	return out, nil
}

// hasSecret reports whether a secret is at or below n.
func (n *node) hasSecret() bool {
	if n.secret {
		return true
	}
	found := false
	n.children(func(c *node) { found = found || c.hasSecret() })
	return found
}

// reference evaluates ${a.b}.
func (r *resolver) reference(e *expr, n *node) (*node, error) {
	target, err := r.find(e, n)
	if err != nil {
		return nil, err
	}
	for up := n; up != nil; up = up.parent {
		if up == target && up != n {
			return nil, problem(n.origin, n.path(), "interpolation refers to %s, which contains it",
				orRoot(target.path()))
		}
	}
	v, err := r.resolve(target)
	if err != nil {
		return nil, err
	}
	if v.isMissing() {
		return nil, r.missing(n, target)
	}
	if secretHolder(target) && !isPlaceholder(v.text) {
		v.secret = true
	}
	return v, nil
}

// secretHolder reports whether the value stands under a key that names a secret.
func secretHolder(n *node) bool {
	for ; n != nil && n.parent != nil; n = n.parent {
		if n.parent.kind == kindMap && secretKey(n.key) {
			return true
		}
	}
	return false
}

func orRoot(path string) string {
	if path == "" {
		return "the whole configuration"
	}
	return path
}

func (r *resolver) missing(n, target *node) error {
	return problem(n.origin, n.path(), "refers to %s, which is mandatory and not set (%s)",
		target.path(), target.origin).is(ErrMissing).
		Advise("set it with %s=VALUE", target.path())
}

// find returns the value in the tree that a reference names.
func (r *resolver) find(e *expr, n *node) (*node, error) {
	var path []string
	for _, p := range e.parts {
		k, err := r.eval(p, n)
		if err != nil {
			return nil, err
		}
		if k.kind != kindString {
			return nil, problem(n.origin, n.path(),
				"a key made by an interpolation must be a string, it is %s", k.kind)
		}
		path = append(path, splitKey(k.text)...)
	}
	return r.walk(e.dots, path, n)
}

// splitKey splits a dotted path; a[b] is the same as a.b.
func splitKey(key string) []string {
	key = strings.ReplaceAll(strings.ReplaceAll(key, "]", ""), "[", ".")
	return strings.Split(key, ".")
}

// walk follows a path from the root, or from dots levels above n.
func (r *resolver) walk(dots int, path []string, n *node) (*node, error) {
	at := r.root
	if dots > 0 {
		for at = n; dots > 0 && at != nil; dots-- {
			at = at.parent
		}
		if at == nil {
			return nil, problem(n.origin, n.path(),
				"relative interpolation goes above the top of the configuration")
		}
	}
	if r.reached != nil {
		r.reached[cmp.Or(at.section(), path[0])] = true
	}
	for i, key := range path {
		if i > 0 {
			var err error
			if at, err = r.follow(at, n); err != nil {
				return nil, err
			}
		}
		next := at.child(key)
		if next == nil {
			return nil, r.notFound(n, at, path[:i+1])
		}
		at = next
	}
	return at, nil
}

// follow turns an interpolation on the way of a path into what it stands for.
func (r *resolver) follow(at, n *node) (*node, error) {
	if at.isMissing() {
		return nil, r.missing(n, at)
	}
	if !at.isInterpolation() {
		return at, nil
	}
	if err := r.enter(at); err != nil {
		return nil, err
	}
	defer r.leave()
	e, err := r.parse(at)
	if err != nil {
		return nil, err
	}
	if e.kind != exprRef {
		return r.eval(e, at)
	}
	target, err := r.find(e, at)
	if err != nil {
		return nil, err
	}
	return r.follow(target, n)
}

func (r *resolver) notFound(n, at *node, path []string) error {
	name := path[len(path)-1]
	where := strings.Join(path, ".")
	if !at.isContainer() {
		return problem(n.origin, n.path(), "interpolation refers to %s, but %s is %s", where,
			orRoot(strings.Join(path[:len(path)-1], ".")), at.kind)
	}
	return problem(n.origin, n.path(), "interpolation refers to %s, which does not exist%s", where,
		near.Hint(name, at.keys))
}

// lookup is the evaluated value at a dotted path, or nil when there is none.
func (r *resolver) lookup(root *node, key string) *node {
	at, err := r.walk(0, splitKey(key), root)
	if err != nil {
		return nil
	}
	v, err := r.resolve(at)
	if err != nil {
		return nil
	}
	return v
}

// target is the tree's value that a lone reference points to, or nil.
func (r *resolver) target(n *node) *node {
	t, err := r.follow(n, n)
	if err != nil {
		return nil
	}
	return t
}
