package archtest

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

// What counts as too much; CONTRIBUTING.md says why.
const (
	functionLinesMax = 50
	fileLinesMax     = 500
	columnsMax       = 100
	largestTypes     = 10
	listedMin        = 4 // names in one declaration that make it a list of them
)

// TestHouse keeps the built-in commands and the backends in one list each. For
// scripts/house.sh, which sets AGENT_HOUSE, it prints what else it measures.
func TestHouse(t *testing.T) {
	h := measure(t)
	if os.Getenv("AGENT_HOUSE") != "" {
		h.print(os.Stdout)
	}
	assert.Len(t, h.commands, 1, "places that list the built-in commands")
	assert.Len(t, h.backends, 1, "places that list the backends")
}

// room is what one package holds, product code and tests apart.
type room struct{ files, lines, testFiles, testLines int }

// kind is a type with what hangs on it.
type kind struct {
	name            string
	fields, methods int
}

// house is the whole of it.
type house struct {
	rooms                map[string]*room
	kinds                map[string]*kind
	functions, files     []string // that are too long
	wide                 map[string]int
	arrowsUp             []string
	commands, backends   []string // declarations that list them
	commandSet, llmNames map[string]bool
	constants            map[string]string // string constants, by name
}

func measure(t *testing.T) *house {
	h := &house{rooms: map[string]*room{}, kinds: map[string]*kind{}, wide: map[string]int{},
		commandSet: map[string]bool{}, llmNames: map[string]bool{}, constants: map[string]string{}}
	texts := tracked(t)
	for name, text := range texts {
		h.countWide(name, text)
		if dir, file := path.Split(name); dir == "configs/llm/" {
			h.llmNames[strings.TrimSuffix(file, path.Ext(file))] = true
		}
	}
	all := sources(t)
	for _, s := range all {
		h.arrowsUp = append(h.arrowsUp, strayImports(s)...)
		h.count(s, texts[s.name])
		if !s.isTest() {
			h.learn(s)
		}
	}
	for _, s := range all {
		if s.isTest() {
			continue
		}
		for _, decl := range s.file.Decls {
			for _, d := range parts(decl) {
				h.look(s, d)
			}
		}
	}
	return h
}

// parts are the declarations of a group; constants count together.
func parts(decl ast.Decl) []ast.Node {
	group, ok := decl.(*ast.GenDecl)
	if !ok || group.Tok == token.CONST {
		return []ast.Node{decl}
	}
	var out []ast.Node
	for _, spec := range group.Specs {
		out = append(out, spec)
	}
	return out
}

func (h *house) count(s source, text []byte) {
	r := h.rooms[s.dir]
	if r == nil {
		r = &room{}
		h.rooms[s.dir] = r
	}
	lines := bytes.Count(text, []byte("\n"))
	if lines > fileLinesMax {
		h.files = append(h.files, fmt.Sprintf("%s %d", s.name, lines))
	}
	if s.isTest() {
		r.testFiles, r.testLines = r.testFiles+1, r.testLines+lines
	} else {
		r.files, r.lines = r.files+1, r.lines+lines
	}
}

// countWide counts lines over columnsMax. Rows of tables can't be broken.
func (h *house) countWide(name string, text []byte) {
	about := path.Ext(name)
	switch {
	case strings.HasSuffix(name, "_test.go"):
		about = "tests"
	case about == ".go" || about == ".md" || about == ".sh":
	case about == ".cpp" || about == ".h" || about == ".c":
		about = "native"
	default:
		return
	}
	for line := range bytes.Lines(text) {
		isRow := about == ".md" && bytes.HasPrefix(line, []byte("|"))
		if !isRow && utf8.RuneCount(bytes.TrimRight(line, "\n")) > columnsMax {
			h.wide[about]++
		}
	}
}

// learn collects types, methods, long functions and the names that lists are
// made of: of commands from their specs, and string constants.
func (h *house) learn(s source) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.TypeSpec:
			if body, ok := x.Type.(*ast.StructType); ok {
				h.kind(s.dir + "." + x.Name.Name).fields += body.Fields.NumFields()
			}
		case *ast.FuncDecl:
			if x.Recv != nil {
				h.kind(s.dir+"."+receiver(x)).methods++
			}
			from, to := s.fset.Position(x.Pos()).Line, s.fset.Position(x.End()).Line
			if n := to - from + 1; n > functionLinesMax {
				h.functions = append(h.functions, fmt.Sprintf("%s %s %d", s.at(x.Pos()), x.Name.Name, n))
			}
		case *ast.ValueSpec:
			for i, name := range x.Names {
				if text, ok := literal(x.Values, i); ok {
					h.constants[name.Name] = text
				}
			}
		case *ast.CompositeLit:
			if name, ok := specName(x); ok && strings.HasPrefix(s.dir, "command") || ok && s.dir == "session" {
				h.commandSet[name] = true
			}
		}
		return true
	})
}

func (h *house) kind(name string) *kind {
	if h.kinds[name] == nil {
		h.kinds[name] = &kind{name: name}
	}
	return h.kinds[name]
}

// specName is the name in command.Spec{Name: "reader", …}.
func specName(x *ast.CompositeLit) (string, bool) {
	name := x.Type
	if sel, ok := name.(*ast.SelectorExpr); ok {
		name = sel.Sel
	}
	if id, ok := name.(*ast.Ident); !ok || id.Name != "Spec" {
		return "", false
	}
	for _, element := range x.Elts {
		if kv, ok := element.(*ast.KeyValueExpr); ok {
			if id, ok := kv.Key.(*ast.Ident); ok && id.Name == "Name" {
				return literal([]ast.Expr{kv.Value}, 0)
			}
		}
	}
	return "", false
}

func literal(values []ast.Expr, i int) (string, bool) {
	if i >= len(values) {
		return "", false
	}
	lit, ok := values[i].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// look notes a declaration that names so many commands or backends that it is
// a list of them: by a string, a constant, or what makes them.
func (h *house) look(s source, decl ast.Node) {
	commands, backends := map[string]bool{}, map[string]bool{}
	note := func(name string) {
		if h.commandSet[name] {
			commands[name] = true
		}
		if h.llmNames[name] {
			backends[name] = true
		}
	}
	ast.Inspect(decl, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.BasicLit:
			if text, ok := literal([]ast.Expr{x}, 0); ok {
				note(text)
			}
		case *ast.Ident:
			note(h.constants[x.Name])
		case *ast.CallExpr:
			if len(x.Args) <= 1 {
				note(made(x.Fun))
			}
		}
		return true
	})
	if len(commands) >= listedMin {
		h.commands = append(h.commands, s.at(decl.Pos()))
	}
	if len(backends) >= listedMin {
		h.backends = append(h.backends, s.at(decl.Pos()))
	}
}

// made is what a constructor makes: Reader() a reader.
func made(fun ast.Expr) string {
	switch f := fun.(type) {
	case *ast.SelectorExpr:
		return strings.ToLower(f.Sel.Name)
	case *ast.Ident:
		return strings.ToLower(f.Name)
	}
	return ""
}

func (h *house) print(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "files\tlines\ttest files\ttest lines\t  package")
	var sum room
	for _, dir := range slices.Sorted(maps.Keys(h.rooms)) {
		r := h.rooms[dir]
		fmt.Fprintf(table, "%d\t%d\t%d\t%d\t  %s\n", r.files, r.lines, r.testFiles, r.testLines, dir)
		sum.files, sum.lines = sum.files+r.files, sum.lines+r.lines
		sum.testFiles, sum.testLines = sum.testFiles+r.testFiles, sum.testLines+r.testLines
	}
	fmt.Fprintf(table, "%d\t%d\t%d\t%d\t  all\n", sum.files, sum.lines, sum.testFiles, sum.testLines)
	table.Flush()

	kinds := make([]*kind, 0, len(h.kinds))
	for _, k := range h.kinds {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b *kind) int {
		return cmp.Or(b.fields+b.methods-a.fields-a.methods, strings.Compare(a.name, b.name))
	})
	fmt.Fprintf(w, "\n%d largest types\n", largestTypes)
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "fields\tmethods\t  type")
	for _, k := range kinds[:min(largestTypes, len(kinds))] {
		fmt.Fprintf(table, "%d\t%d\t  %s\n", k.fields, k.methods, k.name)
	}
	table.Flush()

	h.list(w, fmt.Sprintf("functions over %d lines", functionLinesMax), h.functions)
	h.list(w, fmt.Sprintf("files over %d lines", fileLinesMax), h.files)
	fmt.Fprintf(w, "\nlines over %d columns\n", columnsMax)
	for _, about := range slices.Sorted(maps.Keys(h.wide)) {
		fmt.Fprintf(w, "  %s %d\n", about, h.wide[about])
	}
	h.list(w, "arrows up between rooms", h.arrowsUp)
	h.list(w, "places that list the built-in commands", h.commands)
	h.list(w, "places that list the backends", h.backends)
}

func (h *house) list(w io.Writer, title string, items []string) {
	fmt.Fprintf(w, "\n%s: %d\n", title, len(items))
	slices.Sort(items)
	for _, item := range items {
		fmt.Fprintln(w, "  "+item)
	}
}
