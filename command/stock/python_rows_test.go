package stock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rows(FILE) reads a table whatever its format, and takes text for a number only
// where that is no guess.
func TestPythonRows(t *testing.T) {
	python := newPython(t)
	for name, tt := range map[string]struct{ text, want string }{
		"comma.csv":       {"name,price\napple,1.50\n\"pear, big\",2\n", "[{'name': 'apple', 'price': 1.5}, {'name': 'pear, big', 'price': 2}]"},
		"semicolon.csv":   {"name;preis\nStuhl;1.120,50\nTisch;80,00\nBild;7\n", "[{'name': 'Stuhl', 'preis': 1120.5}, {'name': 'Tisch', 'preis': 80.0}, {'name': 'Bild', 'preis': 7}]"},
		"tabs.tsv":        {"a\tb\nx\t1\ny\t2\n", "[{'a': 'x', 'b': 1}, {'a': 'y', 'b': 2}]"},
		"codes.csv":       {"code,n\n007,1\n010,2\n", "[{'code': '007', 'n': 1}, {'code': '010', 'n': 2}]"},
		"two readings":    {"city,people\nOslo,\"1,234\"\nBergen,\"2,500\"\n", "[{'city': 'Oslo', 'people': '1,234'}, {'city': 'Bergen', 'people': '2,500'}]"},
		"thousands.csv":   {"city,people\nOslo,\"1,234.5\"\nBergen,900\n", "[{'city': 'Oslo', 'people': 1234.5}, {'city': 'Bergen', 'people': 900}]"},
		"odd cell.csv":    {"day,hours\nMon,7.5\nTue,sick\nWed,8\n", "[{'day': 'Mon', 'hours': 7.5}, {'day': 'Tue', 'hours': 'sick'}, {'day': 'Wed', 'hours': 8}]"},
		"no header.csv":   {"Ida,3\nOla,4\nKai,5\n", "[{'column 1': 'Ida', 'column 2': 3}, {'column 1': 'Ola', 'column 2': 4}, {'column 1': 'Kai', 'column 2': 5}]"},
		"utf-16.csv":      {"\xff\xfea\x00,\x00b\x00\n\x00x\x00,\x001\x00\n\x00", "[{'a': 'x', 'b': 1}]"},
		"windows.csv":     {"ort,n\nK\xf6ln,1\nBonn,2\n", "[{'ort': 'Köln', 'n': 1}, {'ort': 'Bonn', 'n': 2}]"},
		"markdown.md":     {"# Berths\n\nText, with commas | and bars.\n\n| name | depth |\n|---|--:|\n| A1 | 4.5 |\n| B2 | 3 |\n\nEnd.\n", "[{'name': 'A1', 'depth': 4.5}, {'name': 'B2', 'depth': 3}]"},
		"no outer bars":   {"month | rain\n--- | ---\nMay | 48.2\nJune | 103.7\n", "[{'month': 'May', 'rain': 48.2}, {'month': 'June', 'rain': 103.7}]"},
		"page.html":       {"<p>x<table><tr><th>Plant<th>Price<tr><td>Rose &amp; Co<td>4.20</tr><tr><td>Fern</td><td>12</td></tr></table>", "[{'Plant': 'Rose & Co', 'Price': 4.2}, {'Plant': 'Fern', 'Price': 12}]"},
		"aligned.txt":     {"Stock on 1 May\nitem      count  place\n----------------------\nbolt M6     1200 A 1\nnut M8       850 B 22\n", "[{'item': 'bolt M6', 'count': 1200, 'place': 'A 1'}, {'item': 'nut M8', 'count': 850, 'place': 'B 22'}]"},
		"objects.json":    {`{"n": 2, "boats": [{"name": "Ida", "sold": false}, {"name": "Ol", "sold": true}]}`, "[{'name': 'Ida', 'sold': False}, {'name': 'Ol', 'sold': True}]"},
		"lines.jsonl":     {"{\"a\": 1}\n{\"a\": 2}\n", "[{'a': 1}, {'a': 2}]"},
		"short row.csv":   {"a,b\n1,2\n3\n4,5\n6,7\n8,9\n", "[{'a': 1, 'b': 2}, {'a': 3, 'b': ''}, {'a': 4, 'b': 5}, {'a': 6, 'b': 7}, {'a': 8, 'b': 9}]"},
		"title.csv":       {"Staff\na,b\n1,2\n3,4\n5,6\n7,8\n", "[{'a': 1, 'b': 2}, {'a': 3, 'b': 4}, {'a': 5, 'b': 6}, {'a': 7, 'b': 8}]"},
		"long row.csv":    {"a,b\n1,2\n3,4,5\n6,7\n8,9\n", "a row has 3 cells, and the header 2"},
		"letter.txt":      {"Dear Anna,\nhow are you, my friend? We met on Monday.\nBye\n", "has no table"},
		"empty.csv":       {"", "has no table"},
		"settings.json":   {`{"a": 1}`, "has no table"},
		"unclosed.json":   {`[{"a": 1}`, "has no table"},
		"bare table.html": {"<table>", "has no table"},
	} {
		env := workDir(t, nil)
		require.NoError(t, os.WriteFile(filepath.Join(env.WorkDir, name), []byte(tt.text), 0o600))
		res := runCommand(t, python, env, map[string]any{"code": "from tablefile import rows\nrows(\"" + name + "\")"})
		assert.Contains(t, res.Text, tt.want, name)
		assert.Equal(t, !strings.HasPrefix(tt.want, "["), res.Failed, name)
	}
}

// A number is written as it was read, and what rows() gives is kept for later calls.
func TestPythonRowsAreWritten(t *testing.T) {
	python, env := newPython(t), workDir(t, nil)
	env.StateDir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(env.WorkDir, "a.csv"), []byte("x,y\np,12.50\nq,3\n"), 0o600))
	res := runCommand(t, python, env, map[string]any{"code": "import csv, sys\nfrom tablefile import rows\nt = rows('a.csv')\ncsv.DictWriter(sys.stdout, ['x', 'y']).writerows(t)\nprint(sum(r['y'] for r in t), t[0]['y'])"})
	assert.Equal(t, "p,12.50\r\nq,3\r\n15.5 12.50", strings.TrimSpace(res.Text))
	res = runCommand(t, python, env, map[string]any{"code": "t[0]['y'] + 1"})
	assert.Equal(t, "13.5", strings.TrimSpace(res.Text))
}

func TestPythonSavesRows(t *testing.T) {
	python, env := newPython(t), workDir(t, map[string]string{"a.csv": "x;y\nü;12,50\nq;3,00\n"})
	res := runCommand(t, python, env, map[string]any{"code": "from tablefile import rows, save\nfor f in ('b.csv', 'b.tsv', 'b.json'):\n    save((r for r in rows('a.csv') if r['y'] > 5), f)"})
	require.False(t, res.Failed, res.Text)
	for name, want := range map[string]string{
		"b.csv": "x,y\nü,\"12,50\"\n", "b.tsv": "x\ty\nü\t12,50\n", "b.json": "[\n  {\n    \"x\": \"ü\",\n    \"y\": 12.5\n  }\n]",
	} {
		got, err := os.ReadFile(filepath.Join(env.WorkDir, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	res = runCommand(t, python, env, map[string]any{"code": "from tablefile import rows\nrows([{'a': 1}])"})
	assert.Contains(t, res.Text, "save(ROWS, FILE)")
}

// After an error code is shown a row of the table that it names, an odd one first, where
// the csv module reads another table or none.
func TestPythonShowsTableAfterError(t *testing.T) {
	python, env := newPython(t), workDir(t, nil)
	require.NoError(t, os.WriteFile(filepath.Join(env.WorkDir, "h.csv"), []byte("day;hours\n1;7,5\n2;n/a\n3;8\n"), 0o600))
	res := runCommand(t, python, env, map[string]any{"code": "from tablefile import rows\nsum(row['hours'] for row in rows('h.csv'))"})
	assert.True(t, res.Failed)
	assert.Contains(t, res.Text, `rows("h.csv")[1] is {'day': 2, 'hours': 'n/a'}`)

	require.NoError(t, os.WriteFile(filepath.Join(env.WorkDir, "p.csv"), []byte("day,hours\n1,7.5\n2,n/a\n3,8\n"), 0o600))
	res = runCommand(t, python, env, map[string]any{"code": "import csv\n[float(row['hours']) for row in csv.DictReader(open('p.csv'))]"})
	assert.True(t, res.Failed)
	assert.NotContains(t, res.Text, "tablefile", "the csv module reads it the same way")
}
