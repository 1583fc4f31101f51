package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A repository's hooks and configuration run programs, later and outside of
// every sandbox, when a person types a git command; so do the files by which
// shells, editors and the agent are configured. So those in the work dir are
// read-only for a job, and one that a job made is put out of use.

// repository is what git takes for one: an entry named .git, or a folder of any
// name with the contents of a bare repository. It can also be another guarded
// entry.
type repository struct {
	path string // slash-separated, relative to the work dir, which is "."; any bytes
	head string // what its HEAD is called, of a folder that is one by what is in it
	info fs.FileInfo
	link string // where it leads, when it is a link
}

// String names it in a message.
func (r repository) String() string {
	if r.path == "." {
		return "the work dir, which is a git repository itself,"
	}
	return legiblePath(r.path) + " in the work dir"
}

// same reports that both are the same thing, wherever it is. A link's inode may
// be reused, so its target counts too.
func (r repository) same(other repository) bool {
	return r.link == other.link && r.head == other.head && os.SameFile(r.info, other.info)
}

// legiblePath keeps a name that a job chose from breaking the line that it
// stands in.
func legiblePath(name string) string {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) }
	if utf8.ValidString(name) && !strings.ContainsFunc(name, hidden) {
		return name
	}
	return strconv.Quote(name)
}

// repositoriesBefore finds the repositories before a job. If it could not look
// everywhere, the job is refused: it could write to a repository that was not
// seen.
func repositoriesBefore(ctx context.Context, job Job, p plan) (*survey, error) {
	most := searchEntriesMax
	if job.AllowUnconfined {
		most = 0 // nobody is refused; all that can be found is protected
	}
	before, err := search(ctx, job.Dir, most, nil)
	if err != nil {
		return nil, err
	}
	if job.AllowUnconfined {
		return before, nil
	}
	if len(before.unseen) > 0 {
		return nil, &RefusedError{Reasons: before.problems(), Unseen: true}
	}
	if len(before.found) > 0 && !p.protects() {
		return nil, &RefusedError{Repository: before.found[0].String(),
			Reasons: []string{"without a private root it can't be made read-only"}}
	}
	return before, nil
}

// setAsideNew disables the repositories that were not there before, and returns
// their new names.
func (s *survey) setAsideNew(dir string) ([]string, error) {
	after, err := search(context.Background(), dir, 0, s)
	if err != nil {
		return nil, err
	}
	names, err := after.setAside(dir)
	if len(after.unseen) > 0 {
		err = errors.Join(err, &unseenError{after.problems()})
	}
	return names, err
}

// setAside puts all that was found out of use. It leaves none out because of
// another's error.
func (s *survey) setAside(dir string) ([]string, error) {
	if len(s.found) == 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var names []string
	var problems []error
	for _, r := range slices.Backward(s.found) { // one within another first
		name, err := setAside(root, r)
		if err != nil {
			problems = append(problems, fmt.Errorf("put %s out of use: %w", legiblePath(r.path), err))
			continue
		}
		for r.head == "" && len(names) > 0 && strings.HasPrefix(names[len(names)-1], r.path+"/") {
			names = names[:len(names)-1] // it went along
		}
		names = append(names, name)
	}
	for i, name := range names {
		names[i] = legiblePath(name)
	}
	return names, errors.Join(problems...)
}

// setAside renames a repository so that git no longer finds it, or, where its
// name is not what makes it one, its HEAD. No link leads out of the work dir.
func setAside(root *os.Root, r repository) (string, error) {
	name := r.path
	if r.head != "" {
		name = path.Join(r.path, r.head)
	}
	prefix := "set-aside-"
	if r.head != "" || strings.EqualFold(path.Base(r.path), repositoryName) {
		prefix = "git-set-aside-"
	}
	to, err := unusedName(root, path.Dir(name), prefix)
	if err != nil {
		return "", err
	}
	if err := root.Rename(name, to); err == nil {
		return to, nil
	}
	// The job may have taken away the right to write in the folder.
	return to, errors.Join(root.Chmod(path.Dir(name), 0o700), root.Rename(name, to))
}

// unusedName is a free name for what is set aside, even if a job has taken all
// the plain ones.
func unusedName(root *os.Root, folder, prefix string) (string, error) {
	const plainMax = 1000
	for i := range plainMax {
		name := path.Join(folder, fmt.Sprintf("%s%d", prefix, i+1))
		_, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
	}
	return path.Join(folder, prefix+rand.Text()), nil
}

// unseenError is a work dir that could not be searched completely after a job.
type unseenError struct{ reasons []string }

func (e *unseenError) Error() string {
	return "the work dir can't be searched for git repositories that the job made: " +
		strings.Join(e.reasons, "; ")
}

// Hint says what a person should do about it.
func (e *unseenError) Hint() string {
	return "type no git command there before you have looked at what is named, or taken it away"
}
