package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// repositoriesIn lists what is a repository in a folder.
func repositoriesIn(t *testing.T, dir string) []string {
	t.Helper()
	s, err := search(context.Background(), dir, 0, nil)
	require.NoError(t, err)
	require.Empty(t, s.unseen)
	var out []string
	for _, r := range s.found {
		out = append(out, r.path)
	}
	return out
}

// gitTakes reports whether git takes a folder for a part of a repository.
func gitTakes(t *testing.T, dir, below string) bool {
	t.Helper()
	cmd := exec.Command("git", "rev-parse", "--git-dir")
	cmd.Dir = filepath.Join(dir, below)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CEILING_DIRECTORIES=" + filepath.Dir(dir)}
	return cmd.Run() == nil
}

// shape is a repository as a shell script makes it.
type shape struct {
	name, script string
	at           string   // a folder in which git finds it
	aside        []string // what a job is told that made it
}

func shapes() []shape {
	const bare = "mkdir objects refs; echo 'ref: refs/heads/main' > HEAD; echo '[core]' > config"
	const bareIn = "mkdir -p %[1]s; cd %[1]s; " + bare
	in := func(dir string) string { return fmt.Sprintf(bareIn, dir) }
	return []shape{
		{"named .git", in("a/.git"), "a", []string{"a/git-set-aside-1"}},
		{"bytes that are no text", in(`"$(printf 'caf\351')"/.git`), "caf\351", []string{`"caf\xe9/git-set-aside-1"`}},
		{"a name that breaks a line", in("'a\nb'/.git"), "a\nb", []string{`"a\nb/git-set-aside-1"`}},
		{"modules", in("node_modules/x/.git"), "node_modules/x", []string{"node_modules/x/git-set-aside-1"}},
		{"bare", in("store"), "store", []string{"store/git-set-aside-1"}},
		{"bare, links", "mkdir -p store/o; cd store; ln -s o objects; ln -s o refs; ln -s refs/heads/main HEAD", "store", []string{"store/git-set-aside-1"}},
		{"the work dir itself", bare, ".", []string{"git-set-aside-1"}},
		{"what it has lies elsewhere", "mkdir -p common/objects common/refs store; cd store; echo 'ref: refs/heads/main' > HEAD; echo ../common > commondir", "store", []string{"store/git-set-aside-1"}},
		{"within another", in("a/.git") + "; mkdir -p modules/x; cp -r objects refs HEAD modules/x", "a/.git/modules/x", []string{"a/git-set-aside-1"}},
		{"a file that leads to it", in("store") + "; cd ..; mkdir a; echo gitdir: ../store > a/.git", "a", []string{"a/git-set-aside-1", "store/git-set-aside-1"}},
		{"many levels down", in("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/.git"), "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", []string{"1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/git-set-aside-1"}},
	}
}

// TestRepositoriesOfEveryShape: what git takes for a repository is put out of
// use when a job made it, and can't be written when it was there before.
func TestRepositoriesOfEveryShape(t *testing.T) {
	git, _ := exec.LookPath("git")
	eachPlan(t, func(t *testing.T, p plan) {
		for _, s := range shapes() {
			t.Run(s.name, func(t *testing.T) {
				dir := t.TempDir()
				require.NoError(t, scriptOutside(dir, s.script))
				require.NotEmpty(t, repositoriesIn(t, dir))
				if git != "" {
					require.True(t, gitTakes(t, dir, s.at), "else the script makes none")
				}
				attackRepository(t, p, dir)

				dir = t.TempDir()
				out := shell(t, p, dir, s.script)
				assert.ElementsMatch(t, s.aside, out.SetAside)
				assert.Empty(t, repositoriesIn(t, dir))
				if _, err := os.Stat(filepath.Join(dir, s.at)); err == nil && git != "" {
					assert.False(t, gitTakes(t, dir, s.at))
				}
			})
		}
	})
}

func scriptOutside(dir, script string) error {
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	return cmd.Run()
}

// attackRepository sees that a job can't change what makes the repositories in
// a folder.
func attackRepository(t *testing.T, p plan, dir string) {
	t.Helper()
	before := describe(dir)
	script := `find . '(' -name HEAD -o -name config -o -name commondir -o -name .git ')' -exec sh -c '
		for f; do echo x > "$f/config" || echo x > "$f"; rm -rf "$f"; mkdir "${f%/*}/hooks"; done' sh {} + 2>/dev/null; echo over`
	out, err := shellContext(t, context.Background(), p, dir, script)
	if !p.protects() {
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		assert.ErrorContains(t, err, "can't be made read-only")
		return
	}
	require.NoError(t, err)
	assert.Contains(t, string(out.Head), "over\n")
	assert.Empty(t, out.SetAside)
	for line := range strings.Lines(before) {
		if !strings.Contains(line, "drwx") { // a job may write beside a repository
			assert.Contains(t, describe(dir), line)
		}
	}
}

// TestRepositoryBehindManyFiles: neither the number of files before a
// repository nor a folder that a job closed keeps it from being found.
func TestRepositoryBehindManyFiles(t *testing.T) {
	dir := dirInMemory(t)
	before, err := search(context.Background(), dir, searchEntriesMax, nil)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "!a"), 0o755))
	for i := range 50_001 {
		f, err := os.Create(filepath.Join(dir, "!a", fmt.Sprint(i)))
		require.NoError(t, err)
		f.Close()
	}
	for _, git := range []string{".git", "~/.git"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, git), 0o755))
	}
	assert.ElementsMatch(t, []string{".git", "~/.git"}, repositoriesIn(t, dir))
	aside, err := before.setAsideNew(dir)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"git-set-aside-1", "~/git-set-aside-1"}, aside)
	assert.Empty(t, repositoriesIn(t, dir))
}

// dirInMemory is a folder in memory where the system has such a disk.
func dirInMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "agent-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestRepositoriesThatAJobHides: folders that it closed are opened again, and
// names that it took are not needed.
func TestRepositoriesThatAJobHides(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		for name, tt := range map[string]struct {
			script string
			aside  int
		}{
			"a closed folder":      {"mkdir -p a/b/.git; chmod 0 a/b a", 1},
			"a folder not entered": {"mkdir -p a/b/.git; chmod 600 a/b; chmod 400 a", 1},
			"the work dir":         {"mkdir .git; chmod 0 .", 1},
			"its entries alone":    {"mkdir -p a/.git; chmod 400 .", 1},
			"a closed repository":  {"mkdir -p .git/modules/x; cd .git/modules/x; mkdir objects refs; : > HEAD; cd ../..; chmod 0 modules .", 1},
			"all names are taken":  {"mkdir .git; i=0; while [ $i -lt 1000 ]; do i=$((i+1)); : > git-set-aside-$i; done", 1},
			"another case":         {"mkdir .Git", 1},
			"no repository":        {"mkdir -p HEAD objects refs a/objects b/refs c; : > a/HEAD; : > c/HEAD; : > .gitignore", 0},
		} {
			dir := t.TempDir()
			out := shell(t, p, dir, tt.script)
			assert.Len(t, out.SetAside, tt.aside, name)
			assert.Empty(t, repositoriesIn(t, dir), name)
		}
	})
}

// TestRepositoriesThatCannotBeSeen: where one may lie that was not seen a job
// is refused, and its result is an error.
func TestRepositoriesThatCannotBeSeen(t *testing.T) {
	deep := strings.Repeat("d/", searchDepthMax+1)
	t.Run("many entries", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, scriptOutside(dir, "mkdir a b c"))
		s, err := search(context.Background(), dir, 2, nil)
		require.NoError(t, err)
		assert.Equal(t, []string{"it has more than 2 files and folders"}, s.problems())
		s, err = search(context.Background(), dir, 3, nil)
		require.NoError(t, err)
		assert.Empty(t, s.problems())
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := search(ctx, t.TempDir(), 0, nil)
		assert.ErrorIs(t, err, context.Canceled)
	})
	eachPlan(t, func(t *testing.T, p plan) {
		dir := t.TempDir()
		_, err := shellContext(t, context.Background(), p, dir, "mkdir .git; mkdir -p "+deep)
		require.ErrorContains(t, err, "git repositories that the job made: d/d/")
		assert.ErrorContains(t, err, "nested more than 256 folders deep")
		assert.DirExists(t, filepath.Join(dir, "git-set-aside-1"), "what was seen is put out of use all the same")
		var hinter interface{ Hint() string }
		require.ErrorAs(t, err, &hinter)
		assert.Contains(t, hinter.Hint(), "type no git command there")

		_, err = shellContext(t, context.Background(), p, dir, "echo x > new")
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		assert.ErrorContains(t, err, "the work dir can't be searched for git repositories")
		assert.Contains(t, refused.Hint(), "choose a smaller folder")
		assert.NoFileExists(t, filepath.Join(dir, "new"), "it did not run")

		allowed := func(j *Job) { j.AllowUnconfined = true }
		shell(t, p, t.TempDir(), "true", allowed)
		_, err = shellContext(t, context.Background(), p, dir, "echo x > new", allowed)
		require.NoError(t, err, "a person accepted the risk")
		assert.FileExists(t, filepath.Join(dir, "new"))
	})
}

// TestRepositoriesInClosedFolders: a folder that was closed before may hold one,
// unless it is another user's, who lets the job in no more than the agent.
func TestRepositoriesInClosedFolders(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		dir := t.TempDir()
		closed := filepath.Join(dir, "a", "closed")
		require.NoError(t, os.MkdirAll(filepath.Join(closed, ".git"), 0o755))
		t.Cleanup(func() { _ = os.Chmod(closed, 0o755) })
		if os.Geteuid() == 0 {
			if !p.protects() {
				return // refused because of what root sees in there
			}
			require.NoError(t, errors.Join(os.Chmod(closed, 0o700), os.Chown(closed, ordinaryUID, ordinaryUID)))
			out := shell(t, p, dir, "ls a/closed || echo shut")
			assert.Contains(t, string(out.Head), "shut")
			assert.Empty(t, out.SetAside)
			return
		}
		for _, mode := range []os.FileMode{0, 0o300, 0o600} {
			require.NoError(t, os.Chmod(closed, mode))
			_, err := shellContext(t, context.Background(), p, dir, "chmod 700 a/closed; echo x > a/closed/.git/config")
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			assert.ErrorContains(t, err, "a/closed: permission denied")
			assert.NotContains(t, err.Error(), "without a private root")
		}
		out := shell(t, p, dir, "ls", func(j *Job) { j.AllowUnconfined = true })
		assert.Empty(t, out.SetAside, "what nobody saw is not taken for new")
	})
}

// TestRepositoryFoldersOfOthers: folders of another user who lets nobody
// in are no reason to refuse.
func TestRepositoryFoldersOfOthers(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs an ordinary user")
	}
	const foreign = "/root"
	parent, err := os.Open(filepath.Dir(foreign))
	require.NoError(t, err)
	defer parent.Close()
	if _, err := openFolder(parent, "root"); !errors.Is(err, os.ErrPermission) {
		t.Skip("needs a folder of root that is closed to others")
	}
	assert.False(t, withinReach(parent, "root"))
	assert.True(t, withinReach(parent, "usr"))
	assert.False(t, withinReach(parent, "no such folder"))
}

// TestRepositorySearchIsQuick measures what each job pays twice in a large work
// dir; AGENT_TEST_FULL=1 prints it for 200,000 entries.
func TestRepositorySearchIsQuick(t *testing.T) {
	if os.Getenv("AGENT_TEST_FULL") == "" {
		t.Skip("needs AGENT_TEST_FULL=1")
	}
	dir := t.TempDir()
	for i := range 2000 {
		folder := filepath.Join(dir, fmt.Sprint("d", i%50), fmt.Sprint("e", i))
		require.NoError(t, os.MkdirAll(folder, 0o755))
		for j := range 99 {
			require.NoError(t, os.WriteFile(filepath.Join(folder, fmt.Sprint(j)), nil, 0o644))
		}
	}
	start := time.Now()
	s, err := search(context.Background(), dir, searchEntriesMax, nil)
	took := time.Since(start)
	require.NoError(t, err)
	assert.Empty(t, s.unseen)
	assert.Less(t, took, 10*time.Second)
	t.Logf("200,000 entries: %v", took)
}
