package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/agnivade/levenshtein"

	"agent/internal/legible"
)

// Match says how a name was understood.
type Match int

// How a name was understood, from certain to not at all.
const (
	MatchExact Match = iota // the canonical name
	MatchAlias              // another name or spelling that the command declares
	MatchFuzzy              // a guess by edit distance
	MatchNone               // not understood
)

func (m Match) String() string {
	names := [...]string{"exact", "alias", "fuzzy", "none"}
	if m < 0 || int(m) >= len(names) {
		return fmt.Sprintf("match(%d)", int(m))
	}
	return names[m]
}

// MarshalText makes a Match readable in JSON.
func (m Match) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Lookup is what a [Registry] knows about a name.
type Lookup struct {
	// Name is the canonical name; for MatchNone, the name as written.
	Name string
	// Command is nil when Match is MatchNone, when the command is disabled, and
	// when the name is only an alias of something that is not registered.
	Command  Command
	Match    Match
	Disabled bool
	// Suggestion is the nearest name when Match is MatchFuzzy or MatchNone.
	Suggestion string
}

// Registry is the set of commands of an agent. The program builds it and passes
// it on, so two agents in one process may differ. All methods are safe for
// concurrent use. A command can be called as soon as it is registered.
type Registry struct {
	mu       sync.RWMutex
	commands map[string]Command // by canonical name
	order    []string           // canonical names as registered
	aliases  map[string]string  // folded alias to canonical name
	disabled map[string]bool    // by canonical name
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{
		commands: map[string]Command{},
		aliases:  map[string]string{},
		disabled: map[string]bool{},
	}
}

// Register adds a command. A taken name is an error, so that nothing is replaced
// by accident; see [Registry.Replace].
func (r *Registry) Register(c Command) error {
	return r.add(c, false)
}

// Replace adds a command or redefines one that a user edited while the program
// runs. An essential command is never replaced.
func (r *Registry) Replace(c Command) error {
	return r.add(c, true)
}

// Remove takes a command and its aliases out of the registry. An essential
// command stays. Unlike [Registry.Disable], it frees the name.
func (r *Registry) Remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.commands[name]
	if !ok {
		return &UnknownError{Name: name, Suggestion: r.nearest(fold(name))}
	}
	if c.Spec().Essential {
		return fmt.Errorf("remove command %q: it is essential", name)
	}
	delete(r.commands, name)
	r.order = slices.DeleteFunc(r.order, func(n string) bool { return n == name })
	for _, alias := range c.Spec().Aliases {
		if r.aliases[fold(alias)] == name {
			delete(r.aliases, fold(alias))
		}
	}
	return nil
}

func (r *Registry) add(c Command, replace bool) error {
	spec := c.Spec()
	if err := checkName(spec.Name); err != nil {
		return fmt.Errorf("register command: %w", err)
	}
	if typed, ok := c.(interface{ check() error }); ok && typed.check() != nil {
		return fmt.Errorf("register command %q: %w", spec.Name, typed.check())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.checkFree(spec, replace); err != nil {
		return fmt.Errorf("register command %q: %w", spec.Name, err)
	}
	if old, ok := r.commands[spec.Name]; ok {
		for _, alias := range old.Spec().Aliases {
			delete(r.aliases, fold(alias))
		}
	} else {
		r.order = append(r.order, spec.Name)
	}
	delete(r.aliases, fold(spec.Name)) // a command's own name beats another's alias
	r.commands[spec.Name] = c
	for _, alias := range spec.Aliases {
		r.aliases[fold(alias)] = spec.Name
	}
	return nil
}

// checkFree reports whether a command may take its name and aliases.
func (r *Registry) checkFree(spec Spec, replace bool) error {
	if old, ok := r.commands[spec.Name]; ok {
		if old.Spec().Essential {
			return errors.New("an essential command is never replaced")
		}
		if !replace {
			return errors.New("the name is taken")
		}
	}
	if owner, ok := r.aliases[fold(spec.Name)]; ok && r.isEssential(owner) && owner != spec.Name {
		return fmt.Errorf("the name is an alias of the essential command %q", owner)
	}
	for _, alias := range spec.Aliases {
		if owner, ok := r.owner(fold(alias)); ok && owner != spec.Name {
			return fmt.Errorf("the alias %q belongs to %q", alias, owner)
		}
	}
	return nil
}

// owner returns the canonical name behind a folded name or alias.
func (r *Registry) owner(folded string) (string, bool) {
	if _, ok := r.commands[folded]; ok {
		return folded, true
	}
	name, ok := r.aliases[folded]
	return name, ok
}

func (r *Registry) isEssential(name string) bool {
	c, ok := r.commands[name]
	return ok && c.Spec().Essential
}

// Alias lets a name stand for a command that may or may not be registered, so
// that "google" is understood as "search" even by an agent that has no search.
func (r *Registry) Alias(alias, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if owner, ok := r.owner(fold(alias)); ok && owner != name {
		return fmt.Errorf("alias %q for %q: it belongs to %q", alias, name, owner)
	}
	r.aliases[fold(alias)] = name
	return nil
}

// Disable takes a command away. It acts on the command behind the name, so no
// alias slips past. Essential and unknown commands are errors.
func (r *Registry) Disable(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	canonical, ok := r.owner(fold(name))
	if !ok || r.commands[canonical] == nil {
		return &UnknownError{Name: name, Suggestion: r.nearest(fold(name))}
	}
	if r.isEssential(canonical) {
		return fmt.Errorf("disable command %q: it is essential", canonical)
	}
	r.disabled[canonical] = true
	return nil
}

// Lookup says what a name stands for. It never guesses silently: a guess has
// Match MatchFuzzy.
func (r *Registry) Lookup(name string) Lookup {
	if r == nil {
		return Lookup{Name: name, Match: MatchNone}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	written, folded := strings.TrimSpace(name), fold(name)
	if canonical, ok := r.owner(folded); ok {
		match := MatchAlias
		if canonical == written {
			match = MatchExact
		}
		return r.found(canonical, match)
	}
	near := r.nearest(folded)
	if near == "" || !closeEnough(folded, near) {
		return Lookup{Name: written, Match: MatchNone, Suggestion: near}
	}
	l := r.found(near, MatchFuzzy)
	if canonical, ok := r.owner(near); ok { // near may be an alias
		l = r.found(canonical, MatchFuzzy)
	}
	l.Suggestion = l.Name
	return l
}

func (r *Registry) found(canonical string, match Match) Lookup {
	l := Lookup{Name: canonical, Match: match, Disabled: r.disabled[canonical]}
	if !l.Disabled {
		l.Command = r.commands[canonical]
	}
	return l
}

// Resolve returns the command that may run under a name: its own name, an
// alias, or a fuzzy guess when running the guess can do no harm. Anything else
// is an [UnknownError] or a [DisabledError].
func (r *Registry) Resolve(name string) (Command, error) {
	l := r.Lookup(name)
	switch {
	case l.Disabled:
		return nil, &DisabledError{Name: l.Name}
	case l.Command == nil:
		return nil, &UnknownError{Name: l.Name, Suggestion: l.Suggestion}
	case l.Match == MatchFuzzy && l.Command.Spec().Effect.Consequential():
		return nil, &UnknownError{Name: strings.TrimSpace(name), Suggestion: l.Name}
	}
	return l.Command, nil
}

// Names returns the canonical names of the enabled commands, as registered.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.enabled()
}

func (r *Registry) enabled() []string {
	names := make([]string, 0, len(r.order))
	for _, name := range r.order {
		if !r.disabled[name] {
			names = append(names, name)
		}
	}
	return names
}

// Specs returns the specs of the enabled commands, in the order of Names.
func (r *Registry) Specs() []Spec {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names := r.enabled() // under the same lock: a command may be removed at any time
	specs := make([]Spec, len(names))
	for i, name := range names {
		specs[i] = r.commands[name].Spec()
	}
	return specs
}

// nearest returns the registered name or alias with the smallest edit distance,
// or "" if none is close. Ties go to the first name.
func (r *Registry) nearest(folded string) string {
	if len(folded) > nameBytesMax {
		return ""
	}
	best, bestDistance := "", len(folded)
	try := func(candidate string) {
		if d := levenshtein.ComputeDistance(folded, candidate); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	for _, name := range r.order {
		try(name)
	}
	for _, alias := range slices.Sorted(maps.Keys(r.aliases)) {
		try(alias)
	}
	if bestDistance > suggestDistanceMax {
		return ""
	}
	return best
}

const (
	nameBytesMax       = 64 // longest name; more is prose, and not worth a distance
	suggestDistanceMax = 3  // farther names are no help in an error message
)

// closeEnough is the rule for a fuzzy match: one edit in a name of four to
// seven letters, two in a longer one, none in a short one.
func closeEnough(a, b string) bool {
	shorter := min(len(a), len(b))
	allowed := 0
	switch {
	case shorter >= 8:
		allowed = 2
	case shorter >= 4:
		allowed = 1
	}
	return levenshtein.ComputeDistance(a, b) <= allowed
}

// fold makes names comparable: it drops case, hyphens and the marks that models
// put around a name.
func fold(name string) string {
	name = strings.Trim(name, " \t\r\n`'\"*:")
	return strings.ReplaceAll(strings.ToLower(name), "-", "_")
}

func checkName(name string) error {
	if name == "" || len(name) > nameBytesMax {
		return fmt.Errorf("the name must have 1 to %d bytes, got %d", nameBytesMax, len(name))
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return fmt.Errorf("the name %q has %q; only a-z, 0-9 and _ are allowed", name, c)
		}
	}
	return nil
}

// UnknownError is a name that stands for no command.
type UnknownError struct {
	Name       string
	Suggestion string // nearest name, "" when nothing is near
}

func (e *UnknownError) Error() string { return fmt.Sprintf("unknown command %q", clip(e.Name)) }

// Hint names the nearest command.
func (e *UnknownError) Hint() string {
	if e.Suggestion == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", e.Suggestion)
}

// DisabledError is a command that is disabled.
type DisabledError struct{ Name string }

func (e *DisabledError) Error() string { return fmt.Sprintf("command %q is disabled", e.Name) }

// clip shortens a name that a model made up, so that it can't flood a message.
func clip(s string) string { return legible.Clip(s, nameBytesMax) }
