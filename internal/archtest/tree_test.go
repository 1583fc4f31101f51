package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// source is one Go file of the repository, whatever its build tags.
type source struct {
	name string // slash-separated, from the repository's root
	dir  string // the folder of name, "." for the root
	file *ast.File
	fset *token.FileSet
}

// at names a position the way compilers do: file:line, from the root.
func (s source) at(p token.Pos) string {
	pos := s.fset.Position(p)
	return pos.String()[:strings.LastIndexByte(pos.String(), ':')]
}

func (s source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// parse reads one file's text as it would stand at name.
func parse(t testing.TB, name, text string) source {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	require.NoError(t, err)
	return source{name: name, dir: path.Dir(name), file: file, fset: fset}
}

// root is the repository's folder, found by its go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	require.FailNow(t, "no go.mod above the working directory")
	return ""
}

// sources parses every Go file of the repository. What the go command passes
// over is passed over here too, and so are the folders of fetched and built things.
func sources(t testing.TB) []source {
	t.Helper()
	top := root(t)
	var all []source
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(p, top), string(filepath.Separator)))
		switch {
		case d.IsDir() && rel != "" && (passedOver(rel) || ownModule(p)):
			return filepath.SkipDir
		case d.IsDir() || path.Ext(rel) != ".go":
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		all = append(all, parse(t, rel, string(text)))
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, all, "no Go files found: this test looked in the wrong place")
	return all
}

func passedOver(dir string) bool {
	base := path.Base(dir)
	return base == "testdata" || base[0] == '.' || base[0] == '_' ||
		dir == "third_party" || dir == "build" || dir == "bin"
}

// ownModule: the folder is another module, of a program that only checks this one.
func ownModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// report fails the test with every finding on a line of its own.
func report(t *testing.T, findings []string, advice string) {
	t.Helper()
	if len(findings) > 0 {
		t.Errorf("%s\n%s", strings.Join(findings, "\n"), advice)
	}
}
