package decide

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
)

// Endings of names, for how a file is read and written.
const (
	extCSV, extTSV     = ".csv", ".tsv"
	extJSON            = ".json"
	extJSONL, extLines = ".jsonl", ".ndjson"
)

func extOf(name string) string { return strings.ToLower(path.Ext(name)) }

func isTable(name string) bool { return extOf(name) == extCSV || extOf(name) == extTSV }

// LabelDefault is the name of the column of labels.
const LabelDefault = "label"

// CheckWrite refuses, before anything is decided, what could not be written: labels
// into a column of that name that has something in it.
func (s *Source) CheckWrite(name, label string) error {
	if !isTable(name) || s.table == nil {
		return nil
	}
	at := slices.Index(s.table.header, label)
	if at < 0 {
		return nil
	}
	for i, row := range s.table.rows {
		if strings.TrimSpace(row[at]) != "" {
			return fmt.Errorf("there is a column %q already, and row %d has %q in it; give the labels another name",
				label, i+1, row[at])
		}
	}
	return nil
}

// Write writes the labels in the form that the ending of a file's name says: for .csv
// and .tsv the table with a column more, or of other texts two columns; for .json
// a list and for .jsonl and .ndjson lines of objects with probabilities; else one
// label a line, which is empty for what has none. label is the name of the column.
func (r *Result) Write(w io.Writer, name, label string) error {
	switch extOf(name) {
	case extCSV, extTSV:
		return r.writeTable(w, name, label)
	case extJSON:
		list := make([]line, len(r.Verdicts))
		for i, v := range r.Verdicts {
			list[i] = r.line(v)
		}
		enc := encoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	case extJSONL, extLines:
		for _, v := range r.Verdicts {
			if err := r.Question.WriteLine(w, v); err != nil {
				return err
			}
		}
		return nil
	}
	out := bufio.NewWriter(w)
	for _, v := range r.Verdicts {
		fmt.Fprintln(out, v.Label)
	}
	return out.Flush()
}

func (r *Result) writeTable(w io.Writer, name, label string) error {
	t := r.Source.table
	if t == nil {
		t = &table{comma: ',', header: []string{"text"}}
		for _, v := range r.Verdicts {
			t.rows = append(t.rows, []string{v.Text.Text})
		}
	}
	out := csv.NewWriter(w)
	switch {
	case extOf(name) == extTSV:
		out.Comma = '\t'
	case t.comma != '\t':
		out.Comma = t.comma
	}
	at := slices.Index(t.header, label)
	header := slices.Clone(t.header)
	if at < 0 {
		at, header = len(header), append(header, label)
	}
	_ = out.Write(header) // Flush tells the first failure
	for i, row := range t.rows {
		row = append(slices.Clone(row), make([]string, len(header)-len(row))...)
		row[at] = r.Verdicts[i].Label
		_ = out.Write(row)
	}
	out.Flush()
	return out.Error()
}

// line is a verdict as JSON.
type line struct {
	Place         string             `json:"place"`
	Text          string             `json:"text"`
	Label         *string            `json:"label"` // null: it has none
	Margin        *float64           `json:"margin,omitempty"`
	Close         bool               `json:"close,omitempty"`
	Probabilities map[string]float64 `json:"probabilities,omitempty"`
	Why           string             `json:"why,omitempty"`
}

func (r *Result) line(v Verdict) line { return r.Question.line(v) }

func (q Question) line(v Verdict) line {
	out := line{Place: v.Place(), Text: v.Text.Text, Close: v.Close(), Why: v.Why}
	if v.Label != "" {
		out.Label = &v.Label
	}
	if len(v.Probabilities) > 0 {
		out.Probabilities = map[string]float64{}
		if !math.IsInf(v.Margin, 0) { // which JSON can't say
			out.Margin = &v.Margin
		}
		for i, p := range v.Probabilities {
			out.Probabilities[q.Options[i]] = p
		}
	}
	return out
}

// WriteLine writes one verdict as a line of JSON.
func (q Question) WriteLine(w io.Writer, v Verdict) error { return encoder(w).Encode(q.line(v)) }

func encoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}
