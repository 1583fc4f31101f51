package decide

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"agent/command"
	"agent/internal/legible"
)

// TextsMax is how many texts one source may have.
const TextsMax = 100_000

// Text is one text to decide about, and where it stands.
type Text struct {
	Kind   string // of place: "line", "row" or "entry"
	Number int    // of the place, from 1
	Text   string // empty: there is nothing to decide about
}

// Place says where a text stands.
func (t Text) Place() string { return fmt.Sprintf("%s %d", t.Kind, t.Number) }

// Source is the texts of a file or of a call.
type Source struct {
	Texts  []Text
	Column string // of the table that they are from; empty: from none
	table  *table // nil: none
}

// table is a file of rows, for writing it again with one column more.
type table struct {
	comma  rune
	header []string
	rows   [][]string
}

// FromTexts makes a source of texts that stand in a call.
func FromTexts(texts ...string) *Source {
	s := &Source{}
	for i, t := range texts {
		s.Texts = append(s.Texts, Text{"entry", i + 1, strings.TrimSpace(t)})
	}
	return s
}

// Read finds the texts in a file by the ending of its name: the rows of .csv and
// .tsv, the entries of a JSON list, the lines of .jsonl and .ndjson as JSON, the
// lines of everything else. column names the field of a row or object that is
// meant; empty is the one with the longest texts. What can't be read as what the
// name says is an error with its place.
func Read(name string, data []byte, column string) (*Source, error) {
	text, _, ok := legible.Decode(data)
	if !ok {
		return nil, fmt.Errorf("%s is not text", name)
	}
	var s *Source
	var err error
	switch ext := extOf(name); ext {
	case extCSV, extTSV:
		s, err = readTable(text, ext, column)
	case extJSON:
		s, err = readJSON(text, column)
	case extJSONL, extLines:
		s, err = readJSONLines(text, column)
	default:
		s, err = readLines(text, column)
	}
	if err == nil && len(s.Texts) > TextsMax {
		err = fmt.Errorf("it holds %d texts, more than %d", len(s.Texts), TextsMax)
	}
	if err == nil && !slices.ContainsFunc(s.Texts, func(t Text) bool { return t.Text != "" }) {
		err = errors.New("it holds no text to decide about")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func readLines(text, column string) (*Source, error) {
	if column != "" {
		return nil, fmt.Errorf("it has lines and no column %q; .csv, .tsv, .json and .jsonl have columns",
			column)
	}
	s := &Source{}
	for line := range strings.Lines(text) {
		s.Texts = append(s.Texts, Text{"line", len(s.Texts) + 1, strings.TrimSpace(line)})
	}
	return s, nil
}

// readTable reads rows below a header.
func readTable(text, ext, column string) (*Source, error) {
	t := &table{comma: '\t'}
	if ext == extCSV {
		t.comma = commaOf(text)
	}
	in := csv.NewReader(strings.NewReader(text))
	in.Comma, in.FieldsPerRecord = t.comma, -1
	rows, err := in.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) < 2 {
		return nil, errors.New("it has no rows below a header")
	}
	t.header, t.rows = rows[0], rows[1:]
	for i, row := range t.rows {
		if len(row) > len(t.header) {
			return nil, fmt.Errorf("row %d has %d fields, the header %d", i+1, len(row), len(t.header))
		}
		t.rows[i] = append(row, make([]string, len(t.header)-len(row))...)
	}
	at, err := pickColumn(t.header, column, t.rows)
	if err != nil {
		return nil, err
	}
	s := &Source{Column: t.header[at], table: t}
	for i, row := range t.rows {
		s.Texts = append(s.Texts, Text{"row", i + 1, strings.TrimSpace(row[at])})
	}
	return s, nil
}

// commaOf is what separates the fields of a header: what occurs most in it.
func commaOf(text string) rune {
	header, _, _ := strings.Cut(text, "\n")
	best := ','
	for _, c := range ";\t|" {
		if strings.Count(header, string(c)) > strings.Count(header, string(best)) {
			best = c
		}
	}
	return best
}

// pickColumn finds a column by its name, in any case; without one, the column
// with the most text.
func pickColumn(header []string, column string, rows [][]string) (int, error) {
	if column == "" {
		return longest(len(header), func(i int) int {
			n := 0
			for _, row := range rows {
				n += utf8.RuneCountInString(row[i])
			}
			return n
		}), nil
	}
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		named := func(h string) bool { return same(strings.TrimSpace(h), strings.TrimSpace(column)) }
		if i := slices.IndexFunc(header, named); i >= 0 {
			return i, nil
		}
	}
	return 0, fmt.Errorf("it has no column %q, only %s", column, strings.Join(header, ", "))
}

// longest is the first of n with the largest size.
func longest(n int, size func(int) int) int {
	best := 0
	for i := range n {
		if size(i) > size(best) {
			best = i
		}
	}
	return best
}

func readJSON(text, column string) (*Source, error) {
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("it is not one JSON list: %w", err)
	}
	return fromValues("entry", list, column)
}

func readJSONLines(text, column string) (*Source, error) {
	var list []json.RawMessage
	for line := range strings.Lines(text) {
		raw := json.RawMessage(bytes.TrimSpace([]byte(line)))
		if len(raw) == 0 {
			raw = json.RawMessage(`""`)
		}
		list = append(list, raw)
	}
	return fromValues("line", list, column)
}

// fromValues takes the texts out of JSON values: texts, or objects with a field.
func fromValues(kind string, list []json.RawMessage, column string) (*Source, error) {
	values := make([]any, len(list))
	fields := map[string]int{} // with the characters in them
	for i, raw := range list {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&values[i]); err != nil {
			return nil, fmt.Errorf("%s %d is no JSON: %w", kind, i+1, err)
		}
		if _, err := dec.Token(); err != io.EOF {
			return nil, fmt.Errorf("%s %d holds more than one JSON value", kind, i+1)
		}
		object, _ := values[i].(map[string]any)
		for name, value := range object {
			fields[name] += utf8.RuneCountInString(command.AsText(value))
		}
	}
	s := &Source{}
	if len(fields) > 0 {
		names := slices.Sorted(maps.Keys(fields))
		at, err := pickColumn(names, column, nil)
		if err != nil {
			return nil, err
		}
		if column == "" {
			at = longest(len(names), func(i int) int { return fields[names[i]] })
		}
		s.Column = names[at]
	} else if column != "" {
		return nil, fmt.Errorf("its entries are no objects, and have no %q", column)
	}
	for i, v := range values {
		if object, ok := v.(map[string]any); ok {
			v = object[s.Column]
		}
		s.Texts = append(s.Texts, Text{kind, i + 1, strings.TrimSpace(command.AsText(v))})
	}
	return s, nil
}
