package archtest

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// selfEvident are methods of the interfaces error, fmt.Stringer and event.Payload:
// what there is to say stands on their type.
var selfEvident = map[string]bool{"Error": true, "Unwrap": true, "String": true, "EventType": true}

// Commands (package main) explain themselves by their help, and the examples by
// docs/go.md; everything else by its comments.
func TestWhatIsExportedIsExplained(t *testing.T) {
	var findings []string
	packageDoc := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() || s.file.Name.Name == "main" || matches("examples/...", s.dir) {
			continue
		}
		packageDoc[s.dir] = packageDoc[s.dir] || hasText(s.file.Doc)
		findings = append(findings, unexplained(s)...)
	}
	for dir, has := range packageDoc {
		if !has {
			findings = append(findings, dir+": the package has no comment")
		}
	}
	report(t, findings, "Every exported name says why it exists, in a comment above it.")
}

// unexplained lists the exported names of one file, methods of exported types
// among them, that no comment explains.
func unexplained(s source) []string {
	var findings []string
	miss := func(id *ast.Ident) {
		if id.IsExported() {
			findings = append(findings, s.at(id.Pos())+": "+id.Name+" has no comment")
		}
	}
	for _, decl := range s.file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			method := d.Recv != nil && selfEvident[d.Name.Name]
			if !hasText(d.Doc) && !method && ast.IsExported(receiver(d)) {
				miss(d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				for _, id := range bare(spec, d) {
					miss(id)
				}
			}
		}
	}
	return findings
}

// receiver is the name of the type that a method hangs on. A function has none,
// and counts as hanging on something exported.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return "Function"
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// bare gives the names of one declaration that have neither a comment of their
// own nor, for constants and variables, one above their group.
func bare(spec ast.Spec, group *ast.GenDecl) []*ast.Ident {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if !hasText(s.Doc, s.Comment) && (group.Lparen.IsValid() || !hasText(group.Doc)) {
			return []*ast.Ident{s.Name}
		}
	case *ast.ValueSpec:
		if !hasText(s.Doc, s.Comment, group.Doc) && group.Tok != token.IMPORT {
			return s.Names
		}
	}
	return nil
}

func hasText(comments ...*ast.CommentGroup) bool {
	for _, c := range comments {
		if strings.TrimSpace(c.Text()) != "" {
			return true
		}
	}
	return false
}

func TestUnexplainedNamesAreSeen(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"// F does.\nfunc F() {}", nil},
		{"func F() {}", []string{"p/a.go:2: F has no comment"}},
		{"func f() {}\nfunc (t T[K]) m() {}\nfunc (t hidden) M() {}", nil},
		{"func (t T) Error() string { return \"\" }", nil},
		{"func Error() {}", []string{"p/a.go:2: Error has no comment"}},
		{"func (t *T[K]) M() {}", []string{"p/a.go:2: M has no comment"}},
		{"type T int", []string{"p/a.go:2: T has no comment"}},
		{"// T is.\ntype T int", nil},
		{"// All of them.\ntype (\nT int\n)", []string{"p/a.go:4: T has no comment"}},
		{"const (\n\tA = 1 // one\n\t// B is two.\n\tB = 2\n\tC = 3\n)", []string{"p/a.go:6: C has no comment"}},
		{"// All of them.\nconst (\n\tA = 1\n\tB = 2\n)", nil},
		{"//go:noinline\nfunc F() {}", []string{"p/a.go:3: F has no comment"}},
	} {
		assert.Equal(t, c.want, unexplained(parse(t, "p/a.go", "package p\n"+c.text)), c.text)
	}
}
