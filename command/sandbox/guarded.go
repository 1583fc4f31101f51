package sandbox

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// guardedAnywhere are files and folders, in lower case, that make another program
// run or trust something as soon as a person works beside or below them: those of
// repositories, of shells that look for one in each folder, of editors and of
// agents.
func guardedAnywhere() []string {
	return []string{
		repositoryName, ".hg", ".jj", ".bzr", "_darcs",
		".env", ".envrc", ".direnv", ".mise.toml", "mise.toml", ".autoenv", ".exrc", ".nvimrc",
		".nvim.lua",
		".vimrc", ".dir-locals.el", ".gdbinit", ".lldbinit",
		".vscode", ".idea", ".zed", ".fleet", ".cursor", ".devcontainer",
		".agents", "agents.md", "agents.override.md", ".claude", "claude.md", "claude.local.md", ".codex",
		".gemini", "gemini.md", ".mcp.json", ".cursorrules", ".windsurfrules",
	}
}

// guardedAtTop are the names that configure the agent itself. Further down they
// are ordinary names.
func guardedAtTop() []string { return []string{"configs", "commands"} }

// guardedNames tells whether a name in a folder is guarded.
type guardedNames struct{ anywhere, atTop map[string]bool }

func newGuardedNames() guardedNames {
	g := guardedNames{map[string]bool{}, map[string]bool{}}
	for _, name := range guardedAnywhere() {
		g.anywhere[name] = true
	}
	for _, name := range guardedAtTop() {
		g.atTop[name] = true
	}
	return g
}

// holds reports a guarded name. Case does not count, since some disks ignore it.
func (g guardedNames) holds(folder, name string) bool {
	lower := strings.ToLower(name)
	return g.anywhere[lower] || folder == "." && g.atTop[lower] ||
		strings.HasSuffix(lower, ".code-workspace")
}

// Guarded reports a path that neither code nor a model may write: it configures
// the agent, a shell or an editor, or it is or would be part of a repository, by
// its name or by the contents of its folder.
func Guarded(root *os.Root, name string) bool {
	names := newGuardedNames()
	parts := strings.Split(path.Clean(filepath.ToSlash(name)), "/")
	folder := "."
	for i, part := range parts {
		if names.holds(folder, part) || wouldBeBare(root, folder, part, i < len(parts)-1) {
			return true
		}
		folder = path.Join(folder, part)
	}
	return false
}

// wouldBeBare reports a folder that one more entry would make a repository for
// git.
func wouldBeBare(root *os.Root, folder, name string, isDir bool) bool {
	var has contents
	has.addPart(name, isDir)
	f, err := root.Open(folder)
	if err != nil {
		return false // it is not there yet
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.IsDir() {
		return false
	}
	for {
		const atOnce = 1024
		entries, err := f.ReadDir(atOnce)
		for _, e := range entries {
			has.addPart(e.Name(), e.IsDir())
		}
		if has.bare() {
			return true
		}
		if err != nil {
			return !errors.Is(err, io.EOF) // what can't be seen may be one
		}
	}
}
