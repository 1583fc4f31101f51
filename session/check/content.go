package check

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
)

// Problem is a fault of a file.
type Problem struct {
	Reason string // a template in checks.tmpl
	Name   string
	Line   int
	Detail string
	Have   int // columns of the line,
	Want   int // and of the header
}

// Malformed says what is wrong with a file that a run wrote, by what its name
// says that it is; nil where nothing is, or where nobody knows.
func Malformed(name string, data []byte) *Problem {
	p := &Problem{Name: name}
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil
	case hasEnding(name, ".json"):
		return p.json(data)
	case hasEnding(name, ".jsonl", ".ndjson"):
		for i, line := range bytes.Split(data, []byte("\n")) {
			if line = bytes.TrimSpace(line); len(line) > 0 && p.json(line) != nil {
				p.Line = i + 1
				return p
			}
		}
		return nil
	case hasEnding(name, ".csv", ".tsv"):
		return p.table(string(data))
	}
	return nil
}

func hasEnding(name string, endings ...string) bool {
	return slices.Contains(endings, strings.ToLower(path.Ext(name)))
}

func (p *Problem) json(data []byte) *Problem {
	var value any
	err := json.Unmarshal(data, &value)
	if err == nil {
		return nil
	}
	p.Reason, p.Detail = "no_json", err.Error()
	if at, ok := errors.AsType[*json.SyntaxError](err); ok {
		p.Line = 1 + bytes.Count(data[:min(int(at.Offset), len(data))], []byte("\n"))
	}
	return p
}

// delimiters are those of a table in a text file.
const delimiters = ",;\t|"

// table wants as many columns in each row as the header has, and the header once.
func (p *Problem) table(text string) *Problem {
	text = strings.TrimPrefix(text, "\ufeff")
	header, _, _ := strings.Cut(text, "\n")
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord, r.LazyQuotes, r.Comma = -1, true, ','
	for _, d := range delimiters {
		if strings.Count(header, string(d)) > strings.Count(header, string(r.Comma)) {
			r.Comma = d
		}
	}
	first, err := r.Read()
	for err == nil {
		var row []string
		if row, err = r.Read(); err != nil {
			break
		}
		p.Line, _ = r.FieldPos(0)
		p.Have, p.Want = len(row), len(first)
		switch {
		case len(row) != len(first):
			p.Reason = "columns"
			return p
		case len(first) > 1 && slices.Equal(row, first):
			p.Reason = "header_again"
			return p
		}
	}
	if !errors.Is(err, io.EOF) {
		p.Reason, p.Detail = "no_table", err.Error()
		return p
	}
	return nil
}
