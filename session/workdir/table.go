package workdir

import (
	"regexp"
	"strings"
)

// Tables are told by their first lines, whatever the name of the file: fields with
// a delimiter, a table of Markdown, HTML or JSON, or columns at fixed places.

// tableRowsMin is how many lines in a row must look like those of a table.
const tableRowsMin = 4

// delimiters that a table in a text file can have.
const delimiters = ";,\t|"

var (
	tableStart = regexp.MustCompile(`(?i)<table[\s>]|^\s*\[\s*\{`)
	wideGap    = regexp.MustCompile(`\S {2,}\S`)
	digit      = regexp.MustCompile(`\d`)
)

// HoldsTable reports a text file whose beginning shows a table.
func HoldsTable(dir, name string) bool {
	head, _, err := readHead(dir, name, peekBytes)
	if err != nil {
		return false
	}
	lines, _, binary := headLines(head, len(head), true)
	return !binary && (tableStart.Match(head) || separated(lines) || fixedColumns(lines))
}

// separated reports lines in a row with the same number of fields, and more than one.
func separated(lines []string) bool {
	for _, d := range delimiters {
		row, before := 0, 0
		for _, line := range lines {
			n := strings.Count(line, string(d))
			if strings.Contains(line, string(d)+" ") && d != '|' { // as in prose
				n = 0
			}
			if n == 0 || n != before {
				row = 0
			}
			if before = n; n > 0 {
				row++
			}
			if row >= tableRowsMin {
				return true
			}
		}
	}
	return false
}

// fixedColumns reports lines in a row with wide gaps and numbers, which prose and
// code have not.
func fixedColumns(lines []string) bool {
	row := 0
	for _, line := range lines {
		if row++; !wideGap.MatchString(line) || row > 1 && !digit.MatchString(line) {
			row = 0
		}
		if row >= tableRowsMin {
			return true
		}
	}
	return false
}
