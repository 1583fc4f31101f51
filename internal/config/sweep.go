package config

import (
	"math/big"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// sweep is a value that stands for several jobs.
type sweep struct {
	items  []element
	simple bool // a,b,c rather than choice(a,b,c)
	glob   *globSweep
}

// globSweep selects options of a group by name.
type globSweep struct{ include, exclude []string }

// Sweep expands overrides with several values into one list of overrides per
// job, the last varying fastest, as Hydra's --multirun does: `a=1,2`,
// `choice(…)`, `range(…)`, `sort(…)`, and `glob(…)` over the options of a group.
// opts gives the search path for glob. Without sweeps there is one job.
func Sweep(opts Options, args []string) ([][]string, error) {
	var keys []string
	values := map[string][]string{}
	jobs := 1
	for _, arg := range args {
		o, err := parseOverride(arg)
		if err != nil {
			return nil, err
		}
		expanded := []string{arg}
		if o.sweep != nil {
			if expanded, err = o.expand(opts); err != nil {
				return nil, err
			}
		}
		key := o.keyElement()
		if _, again := values[key]; !again {
			keys = append(keys, key)
		}
		values[key] = expanded
	}
	for _, k := range keys {
		if jobs *= len(values[k]); jobs > sweepJobsMax {
			return nil, problem(commandLine, k, "sweep has more than %d jobs", sweepJobsMax)
		}
	}
	return product(keys, values), nil
}

// product is the Cartesian product in the order of keys.
func product(keys []string, values map[string][]string) [][]string {
	jobs := [][]string{{}}
	for _, k := range keys {
		var next [][]string
		for _, job := range jobs {
			for _, v := range values[k] {
				next = append(next, append(slices.Clone(job), v))
			}
		}
		jobs = next
	}
	return jobs
}

// expand writes one override per value.
func (o *override) expand(opts Options) ([]string, error) {
	var out []string
	if g := o.sweep.glob; g != nil {
		repo, err := openRepository(opts)
		if err != nil {
			return nil, err
		}
		for _, option := range repo.options(o.key) {
			if g.matches(option) {
				out = append(out, o.keyElement()+"="+option)
			}
		}
		if len(out) == 0 {
			return nil, problem(commandLine, o.key, "no option of the group matches").
				advise("options of %s: %s", o.key, listed(repo.options(o.key)))
		}
		return out, nil
	}
	for _, it := range o.sweep.items {
		out = append(out, o.keyElement()+"="+it.text)
	}
	return out, nil
}

// matches applies shell patterns in which * also crosses slashes.
func (g *globSweep) matches(option string) bool {
	match := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			flat := strings.NewReplacer("/", "\x00")
			ok, err := path.Match(flat.Replace(p), flat.Replace(option))
			return err == nil && ok
		})
	}
	return match(g.include) && !match(g.exclude)
}

// notSwept is the error for several values outside a sweep.
func (o *override) notSwept() error {
	key := o.keyElement()
	e := problem(commandLine, o.key, "%q gives several values to one key", o.shown())
	if o.sweep.simple {
		return e.advise("for a list write %s=[a,b]; for text with commas quote it: %s='\"a,b\"'; to run each value add --multirun%s", key, key, o.maybeText())
	}
	return e.advise("to run each value add --multirun%s", o.maybeText())
}

// functionNames lists the functions of the value grammar.
func functionNames() []string {
	var names []string
	for name := range sweepFunctions() {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// sweepFunctions are the functions of the value grammar.
func sweepFunctions() map[string]func(call) (element, error) {
	return map[string]func(call) (element, error){
		"choice":   choiceFunction,
		"range":    rangeFunction,
		"glob":     globFunction,
		"sort":     sortFunction,
		"tag":      tagFunction,
		"interval": intervalFunction,
		"int":      castFunction(castInt),
		"float":    castFunction(castFloat),
		"str":      castFunction(castString),
		"bool":     castFunction(castBool),
	}
}

func choiceFunction(c call) (element, error) {
	if len(c.named) > 0 {
		return element{}, grammarError("choice takes no named arguments")
	}
	if len(c.args) == 0 {
		return element{}, grammarError("choice of nothing")
	}
	for _, a := range c.args {
		if a.sweep != nil {
			return element{}, grammarError("choices can't be nested")
		}
	}
	return element{sweep: &sweep{items: c.args}}, nil
}

// tagFunction accepts Hydra's labels for sweepers and drops them.
func tagFunction(c call) (element, error) {
	if s, ok := c.named["sweep"]; ok {
		return s, nil
	}
	if len(c.args) == 0 || c.args[len(c.args)-1].sweep == nil {
		return element{}, grammarError("the last argument of tag must be a sweep")
	}
	return c.args[len(c.args)-1], nil
}

func intervalFunction(call) (element, error) {
	return element{}, grammarError("interval has no finite list of values; use range or choice")
}

func globFunction(c call) (element, error) {
	bound, err := c.bind("include", "exclude")
	if err != nil {
		return element{}, err
	}
	if _, ok := bound["include"]; !ok {
		return element{}, grammarError("glob needs a pattern")
	}
	g := &globSweep{}
	if g.include, err = stringList(bound["include"].node); err != nil {
		return element{}, err
	}
	if g.exclude, err = stringList(bound["exclude"].node); err != nil {
		return element{}, err
	}
	return element{sweep: &sweep{glob: g}}, nil
}

// stringList reads a string or a list of strings; nil is an empty list.
func stringList(n *node) ([]string, error) {
	switch {
	case n == nil:
		return nil, nil
	case n.kind == kindString:
		return []string{n.text}, nil
	case n.kind == kindList:
		var out []string
		for _, it := range n.items {
			if it.kind != kindString {
				return nil, grammarError("patterns must be strings")
			}
			out = append(out, it.text)
		}
		return out, nil
	default:
		return nil, grammarError("patterns must be strings")
	}
}

// rangeFunction counts from start (0) towards stop, which is left out.
func rangeFunction(c call) (element, error) {
	bound, err := c.bind("start", "stop", "step")
	if err != nil {
		return element{}, err
	}
	zero, one := newInt(0, commandLine), newInt(1, commandLine)
	start, stop, step := zero, bound["stop"].node, one
	if first := bound["start"].node; stop == nil {
		stop = first
	} else if first != nil {
		start = first
	}
	if s := bound["step"].node; s != nil {
		step = s
	}
	return countUp(start, stop, step)
}

// countUp lists the values of a range exactly: binary fractions are not
// rounded on the way, so that their number is right.
func countUp(start, stop, step *node) (element, error) {
	var r [3]*big.Rat
	whole := true
	for i, n := range []*node{start, stop, step} {
		if n == nil || (n.kind != kindInt && n.kind != kindFloat) {
			return element{}, grammarError("range needs numbers")
		}
		f, _ := n.number()
		if r[i] = new(big.Rat).SetFloat64(f); r[i] == nil {
			return element{}, grammarError("range needs finite numbers")
		}
		whole = whole && n.kind == kindInt
	}
	at, end, by := r[0], r[1], r[2]
	if by.Sign() == 0 {
		return element{}, grammarError("range with step 0")
	}
	s := &sweep{}
	for at.Cmp(end) == -by.Sign() {
		if len(s.items) == sweepJobsMax {
			return element{}, grammarError("range has more than " + strconv.Itoa(sweepJobsMax) + " values")
		}
		n := newInt(new(big.Int).Quo(at.Num(), at.Denom()).Int64(), commandLine)
		if !whole {
			f, _ := at.Float64()
			n = newFloat(f, commandLine)
		}
		s.items = append(s.items, element{node: n, text: n.text})
		at = new(big.Rat).Add(at, by)
	}
	if len(s.items) == 0 {
		return element{}, grammarError("range is empty")
	}
	return element{sweep: s}, nil
}

// sortFunction orders the values of a sweep, or of a list.
func sortFunction(c call) (element, error) {
	reverse := false
	if r, ok := c.named["reverse"]; ok {
		reverse = r.node != nil && r.node.kind == kindBool && r.node.flag
		delete(c.named, "reverse")
	}
	if len(c.named) > 0 {
		return element{}, grammarError("sort takes values and reverse=true")
	}
	if len(c.args) == 1 && c.args[0].sweep == nil && c.args[0].node.kind == kindList {
		return sortList(c.args[0].node, reverse)
	}
	items := c.args
	if len(items) == 1 && items[0].sweep != nil {
		items = items[0].sweep.items
	}
	items = slices.Clone(items)
	if err := sortElements(items, reverse); err != nil {
		return element{}, err
	}
	return element{sweep: &sweep{items: items, simple: true}}, nil
}

func sortList(n *node, reverse bool) (element, error) {
	items := make([]element, len(n.items))
	for i, it := range n.items {
		items[i].node = it
	}
	if err := sortElements(items, reverse); err != nil {
		return element{}, err
	}
	sorted := newList(n.origin)
	for _, it := range items {
		sorted.push(it.node)
	}
	return element{node: sorted, text: formatValue(sorted)}, nil
}

func sortElements(items []element, reverse bool) error {
	allNumbers, allStrings := true, true
	for _, it := range items {
		if it.node == nil {
			return grammarError("sort needs plain values")
		}
		_, isNumber := it.node.number()
		allNumbers = allNumbers && isNumber
		allStrings = allStrings && it.node.kind == kindString
	}
	if !allNumbers && !allStrings {
		return grammarError("sort needs only numbers or only strings")
	}
	slices.SortStableFunc(items, func(a, b element) int {
		c := strings.Compare(a.node.text, b.node.text)
		if allNumbers {
			x, _ := a.node.number()
			y, _ := b.node.number()
			c = compareFloats(x, y)
		}
		if reverse {
			return -c
		}
		return c
	})
	return nil
}

func compareFloats(x, y float64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	default:
		return 0
	}
}

// castFunction applies a cast to a value, to each in a list or dict, or to
// each of a sweep.
func castFunction(cast func(*node) (*node, error)) func(call) (element, error) {
	var apply func(n *node) (*node, error)
	apply = func(n *node) (*node, error) {
		if !n.isContainer() {
			return cast(n)
		}
		out := &node{kind: n.kind, origin: n.origin, fields: map[string]*node{}}
		for _, k := range n.keys {
			v, err := apply(n.fields[k])
			if err != nil {
				return nil, err
			}
			out.set(k, v)
		}
		for _, it := range n.items {
			v, err := apply(it)
			if err != nil {
				return nil, err
			}
			out.push(v)
		}
		return out, nil
	}
	return func(c call) (element, error) { return castCall(c, apply) }
}

func castCall(c call, apply func(*node) (*node, error)) (element, error) {
	if v, ok := c.named["value"]; ok && len(c.args) == 0 && len(c.named) == 1 {
		c = call{args: []element{v}}
	}
	if len(c.args) == 0 || len(c.named) > 0 {
		return element{}, grammarError("a cast needs values")
	}
	items := c.args
	swept := len(items) > 1
	if items[0].sweep != nil {
		items, swept = items[0].sweep.items, true
	}
	out := make([]element, len(items))
	for i, it := range items {
		if it.node == nil {
			return element{}, grammarError("this can't be cast")
		}
		n, err := apply(it.node)
		if err != nil {
			return element{}, err
		}
		out[i] = element{node: n, text: formatValue(n)}
	}
	if swept {
		return element{sweep: &sweep{items: out, simple: true}}, nil
	}
	return out[0], nil
}

func castInt(n *node) (*node, error) {
	switch n.kind {
	case kindInt, kindBool:
		f, _ := n.number()
		if n.kind == kindInt {
			return newInt(n.int, n.origin), nil
		}
		return newInt(int64(f), n.origin), nil
	case kindFloat:
		const exact = 1 << 62
		if n.float > -exact && n.float < exact {
			return newInt(int64(n.float), n.origin), nil
		}
	case kindString:
		if i, err := strconv.ParseInt(strings.TrimSpace(n.text), 10, 64); err == nil {
			return newInt(i, n.origin), nil
		}
	}
	return nil, grammarError("value can't be cast to int")
}

func castFloat(n *node) (*node, error) {
	if f, ok := n.number(); ok {
		return newFloat(f, n.origin), nil
	}
	if n.kind == kindString {
		if f, err := strconv.ParseFloat(strings.TrimSpace(n.text), 64); err == nil {
			return newFloat(f, n.origin), nil
		}
	}
	return nil, grammarError("value can't be cast to float")
}

func castString(n *node) (*node, error) {
	switch n.kind {
	case kindNull:
		return nil, grammarError("null can't be cast to str")
	case kindBool:
		return newString(strconv.FormatBool(n.flag), n.origin), nil
	default:
		return newString(n.display(), n.origin), nil
	}
}

func castBool(n *node) (*node, error) {
	if f, ok := n.number(); ok {
		return newBool(f != 0, n.origin), nil
	}
	switch {
	case n.kind == kindString && strings.EqualFold(n.text, "true"):
		return newBool(true, n.origin), nil
	case n.kind == kindString && strings.EqualFold(n.text, "false"):
		return newBool(false, n.origin), nil
	}
	return nil, grammarError("value can't be cast to bool")
}

// formatValue writes a value in the grammar of the command line.
func formatValue(n *node) string {
	switch n.kind {
	case kindNull:
		return "null"
	case kindBool:
		return strconv.FormatBool(n.flag)
	case kindString:
		return Quote(n.text)
	case kindMap:
		var parts []string
		for _, k := range n.keys {
			parts = append(parts, k+":"+formatValue(n.fields[k]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case kindList:
		var parts []string
		for _, it := range n.items {
			parts = append(parts, formatValue(it))
		}
		return "[" + strings.Join(parts, ",") + "]"
	default:
		return n.repr()
	}
}
