package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"agent/command"
)

// Config says where the commands of a [Set] lie and where they go.
type Config struct {
	Registry *command.Registry
	// Folders are looked through in this order; the first to have a name keeps it.
	Folders []Folder
	// Trust decides about folders with Inside set; nil trusts none.
	Trust *Trust
	// Limits and AllowUnsandboxed hold for looking at files; calls go by the Env
	// that they are given.
	Limits           command.Limits
	AllowUnsandboxed bool
}

// ChangeKind says what happened to a command file.
type ChangeKind string

// What can happen to a command file.
const (
	Added     ChangeKind = "added"
	Changed   ChangeKind = "changed"
	Removed   ChangeKind = "removed"
	Broken    ChangeKind = "broken"    // it can't be used; an earlier version stays
	Untrusted ChangeKind = "untrusted" // a project's folder whose commands are not loaded
)

// Change is one thing that a [Set.Refresh] found.
type Change struct {
	Kind ChangeKind
	Name string // of the command; empty where none is known
	File string // or folder
	Err  error  // why, for Broken and Untrusted
	Kept bool   // a Broken one's earlier version stays in force
}

// Set keeps the commands of a registry in step with files. Its methods are
// safe for concurrent use.
type Set struct {
	config Config
	runner *runner

	mu      sync.Mutex
	records map[string]*record // by path
	alarms  map[string]string  // folders with problems, and what was told of them
}

// record is what a set knows about one file.
type record struct {
	candidate candidate
	hash      string
	recent    bool     // changed so shortly before it was read that its time tells nothing
	latest    *Program // made of its newest good contents
	problem   error    // what is wrong with its newest contents
	told      string   // the problem as it was told

	installed *Program // what the registry has
	seen      bool     // in the refresh that is going on
}

// NewSet prepares a set. Nothing is read before [Set.Refresh].
func NewSet(c Config) *Set {
	if c.Trust == nil {
		c.Trust = &Trust{}
	}
	return &Set{
		config: c, runner: &runner{limits: c.Limits, allowUnsandboxed: c.AllowUnsandboxed},
		records: map[string]*record{}, alarms: map[string]string{},
	}
}

// Refresh brings the registry up to date with the files and tells what
// changed since the last time. What is wrong with a file is told once.
func (s *Set) Refresh(ctx context.Context) []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		r.seen = false
	}
	var changes []Change
	var fresh []*record
	for i := range s.config.Folders {
		found, change := s.scan(i)
		fresh = append(fresh, found...)
		if change != nil {
			changes = append(changes, *change)
		}
	}
	changes = append(changes, s.dropUnseen()...)
	s.load(ctx, fresh)
	return append(changes, s.install()...)
}

// scan looks through one folder and returns the files whose contents are new.
func (s *Set) scan(i int) (fresh []*record, change *Change) {
	folder := s.config.Folders[i]
	root, err := folder.open()
	if root == nil && err == nil {
		return nil, s.alarm(folder, nil)
	}
	if err != nil {
		s.keep(i)
		return nil, s.alarm(folder, &Change{Kind: Broken, File: folder.Path,
			Err: &FileError{File: folder.Path, Err: linkReason(err)}})
	}
	defer root.Close()
	list, err := candidates(root, folder.Path)
	if err != nil {
		s.keep(i)
		return nil, s.alarm(folder, &Change{Kind: Broken, File: folder.Path,
			Err: &FileError{File: folder.Path, Err: err}})
	}
	if folder.Inside != "" && len(list) > 0 {
		if trusted, err := s.config.Trust.Trusted(folder.Inside); !trusted {
			return nil, s.alarm(folder, &Change{Kind: Untrusted, File: folder.Path,
				Err: &UntrustedError{folder.Inside, namesOf(list), err}})
		}
	}
	for _, c := range list {
		c.folder = i
		if r := s.examine(root, c); r != nil {
			fresh = append(fresh, r)
		}
	}
	return fresh, s.alarm(folder, nil)
}

func namesOf(list []candidate) []string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.name
	}
	return names
}

// alarm reports a problem of a folder if it is new.
func (s *Set) alarm(folder Folder, change *Change) *Change {
	if change == nil {
		delete(s.alarms, folder.Path)
		return nil
	}
	if text := change.Err.Error(); s.alarms[folder.Path] != text {
		s.alarms[folder.Path] = text
		return change
	}
	return nil
}

// keep keeps the commands of a folder that can't be read at the moment.
func (s *Set) keep(folder int) {
	for _, r := range s.records {
		r.seen = r.seen || r.candidate.folder == folder
	}
}

// recentAge is the age below which a file's time is no proof that it has not
// changed since: file systems keep time in steps of up to two seconds.
const recentAge = 3 * time.Second

// examine reads a candidate if it may have changed, and returns its record if
// it has.
func (s *Set) examine(root *os.Root, c candidate) *record {
	r, known := s.records[c.path]
	if !known {
		r = &record{}
		s.records[c.path] = r
	}
	r.seen = true
	same := known && r.hash != "" && !r.recent && r.candidate.state == c.state
	r.candidate = c
	if c.err != nil {
		r.hash, r.problem = "", &FileError{File: c.path, Err: c.err}
		return nil
	}
	if same {
		return nil
	}
	code, err := readFile(root, c)
	if err != nil {
		r.hash, r.problem = "", &FileError{File: c.path, Err: err}
		return nil
	}
	r.recent = time.Since(c.state.modified) < recentAge
	hash := hashOf(code)
	if hash == r.hash {
		return nil
	}
	r.hash = hash
	r.latest = &Program{file: c.path, code: code, python: c.python()} // to be defined by load
	return r
}

// dropUnseen removes the commands whose files are gone.
func (s *Set) dropUnseen() []Change {
	var changes []Change
	for _, path := range s.paths() {
		r := s.records[path]
		if r.seen {
			continue
		}
		delete(s.records, path)
		if r.installed == nil {
			continue
		}
		if err := s.config.Registry.Remove(r.installed.spec.Name); err == nil {
			changes = append(changes, Change{Kind: Removed, Name: r.installed.spec.Name, File: path})
		}
	}
	return changes
}

// paths are those of the records, in order of precedence.
func (s *Set) paths() []string {
	return slices.SortedFunc(maps.Keys(s.records), func(a, b string) int {
		return cmp.Or(s.records[a].candidate.folder-s.records[b].candidate.folder, strings.Compare(a, b))
	})
}

// load makes programs of files with new contents.
func (s *Set) load(ctx context.Context, fresh []*record) {
	items := make([]*item, len(fresh))
	for i, r := range fresh {
		items[i] = &item{file: r.candidate.path, code: r.latest.code, python: r.latest.python}
	}
	err := s.runner.load(ctx, items)
	for i, r := range fresh {
		r.latest, r.problem = items[i].program, items[i].err
		if err != nil { // of this system: to be tried again
			r.latest, r.hash = nil, ""
			r.problem = &FileError{File: r.candidate.path, Err: err, Advice: hintOf(err)}
		}
	}
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// install registers new programs and reports the changes and problems.
func (s *Set) install() []Change {
	var changes []Change
	for _, path := range s.paths() {
		r := s.records[path]
		if r.latest != nil && r.latest != r.installed && r.problem == nil {
			r.problem = s.problemOf(r)
			if r.problem == nil {
				changes = append(changes, s.put(r)...)
			}
		}
		if change := r.tell(); change != nil {
			changes = append(changes, *change)
		}
		if isConflict(r.problem) {
			r.problem = nil // it may have a way out next time
		}
	}
	return changes
}

// tell reports a problem if it is new.
func (r *record) tell() *Change {
	if r.problem == nil {
		r.told = ""
		return nil
	}
	text := r.problem.Error()
	if text == r.told {
		return nil
	}
	r.told = text
	c := &Change{Kind: Broken, File: r.candidate.path, Err: r.problem, Kept: r.installed != nil}
	switch {
	case r.installed != nil:
		c.Name = r.installed.spec.Name
	case r.latest != nil:
		c.Name = r.latest.spec.Name
	}
	return c
}

// put registers a program in place of its earlier version.
func (s *Set) put(r *record) []Change {
	old := r.installed
	kind := Added
	if old != nil {
		kind = Changed
	}
	var changes []Change
	if old != nil && old.spec.Name != r.latest.spec.Name {
		if err := s.config.Registry.Remove(old.spec.Name); err != nil {
			r.problem = &FileError{File: r.candidate.path, Err: err}
			return nil
		}
		r.installed, kind = nil, Added
		changes = append(changes, Change{Kind: Removed, Name: old.spec.Name, File: r.candidate.path})
	}
	if err := s.config.Registry.Replace(r.latest); err != nil {
		r.problem = &FileError{File: r.candidate.path, Err: err}
		return changes
	}
	r.installed = r.latest
	return append(changes, Change{Kind: kind, Name: r.latest.spec.Name, File: r.candidate.path})
}

// problemOf is why a valid program can't be registered here.
func (s *Set) problemOf(r *record) error {
	own := ""
	if r.installed != nil {
		own = r.installed.spec.Name
	}
	if err := s.conflict(r.latest.spec, own); err != nil {
		return &FileError{File: r.candidate.path, Err: err, Advice: "give it another name"}
	}
	folder := s.config.Folders[r.candidate.folder]
	beyond := slices.Contains(r.latest.needs, needNetwork) || len(r.latest.metadata) > 0
	if folder.Inside != "" && beyond && !s.config.Trust.Holds(folder.Inside, r.hash) {
		return &FileError{
			File:   r.candidate.path,
			Err:    &conflictError{"it wants the network or metadata and has changed since its folder was trusted"},
			Advice: "look at it, then: agent commands trust " + folder.Inside,
		}
	}
	if s.bytesHeld()+len(r.latest.code) > setBytesMax {
		return &FileError{File: r.candidate.path,
			Err: fmt.Errorf("the command files have more than %d MiB together", setBytesMax>>20)}
	}
	return nil
}

func (s *Set) bytesHeld() int {
	n := 0
	for _, r := range s.records {
		if r.installed != nil {
			n += len(r.installed.code)
		}
	}
	return n
}

// conflictError is a reason outside the file, which may go away.
type conflictError struct{ text string }

func (e *conflictError) Error() string { return e.text }

func isConflict(err error) bool {
	var c *conflictError
	return errors.As(err, &c)
}

// conflict finds another command that has one of the names. own is the name
// under which the command is registered already.
func (s *Set) conflict(spec command.Spec, own string) error {
	for i, name := range append([]string{spec.Name}, spec.Aliases...) {
		l := s.config.Registry.Lookup(name)
		taken := l.Match == command.MatchExact || l.Match == command.MatchAlias
		if !taken || l.Command == nil && !l.Disabled || l.Name == own {
			continue
		}
		what := "name"
		if i > 0 {
			what = "alias"
		}
		if file := s.fileOf(l.Name); file != "" {
			return &conflictError{fmt.Sprintf("the %s %q is taken by %s", what, name, file)}
		}
		return &conflictError{fmt.Sprintf("the %s %q belongs to the stock command %s", what, name,
			l.Name)}
	}
	return nil
}

// fileOf is the file of a registered command, empty for one that is none.
func (s *Set) fileOf(name string) string {
	for path, r := range s.records {
		if r.installed != nil && r.installed.spec.Name == name {
			return path
		}
	}
	return ""
}

// Programs lists what is registered, in order of precedence.
func (s *Set) Programs() []*Program {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Program
	for _, path := range s.paths() {
		if p := s.records[path].installed; p != nil {
			out = append(out, p)
		}
	}
	return out
}

// UntrustedError is a project whose commands are not loaded.
type UntrustedError struct {
	Folder string // to trust
	Files  []string
	Err    error // why trust could not be looked up, if so
}

func (e *UntrustedError) Error() string {
	text := fmt.Sprintf("the commands of %s are not loaded, since the folder is not trusted: %s",
		e.Folder, strings.Join(e.Files[:min(len(e.Files), 5)], ", "))
	if more := len(e.Files) - 5; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text
}

// Hint says how to trust it.
func (e *UntrustedError) Hint() string {
	return "look at these files, then: agent commands trust " + e.Folder
}

// FoundFile is a file that would be a command.
type FoundFile struct {
	Name string
	Hash string // of its contents
}

// Find lists the files of a folder that would be commands, without loading
// them, for a person to decide about.
func Find(folder Folder) ([]FoundFile, error) {
	root, err := folder.open()
	if root == nil || err != nil {
		return nil, err
	}
	defer root.Close()
	list, err := candidates(root, folder.Path)
	if err != nil {
		return nil, err
	}
	var out []FoundFile
	for _, c := range list {
		if c.err != nil {
			continue
		}
		data, err := readFile(root, c)
		if err != nil {
			return nil, &FileError{File: filepath.Join(folder.Path, c.name), Err: err}
		}
		out = append(out, FoundFile{c.name, hashOf(data)})
	}
	return out, nil
}
