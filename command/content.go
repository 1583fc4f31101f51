package command

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// stringField returns the first of the named fields of an entry as text.
// Models call one thing by many names; a command lists those it takes.
func stringField(entry map[string]any, names ...string) (string, bool) {
	for _, name := range names {
		switch v := entry[name].(type) {
		case string:
			return v, true
		case json.Number:
			return v.String(), true
		case []any: // lines of a text, or a list of one
			if joined, ok := joinStrings(v); ok {
				return joined, true
			}
		}
	}
	return "", false
}

// boolField returns the first of the named fields of an entry as yes or no,
// written as JSON or as a word.
func boolField(entry map[string]any, names ...string) (value, ok bool) {
	for _, name := range names {
		switch v := entry[name].(type) {
		case bool:
			return v, true
		case string:
			switch strings.ToLower(strings.TrimSpace(v)) {
			case "yes", "true", "y", "1", "on":
				return true, true
			case "no", "false", "n", "0", "off", "":
				return false, true
			}
		}
	}
	return false, false
}

func joinStrings(list []any) (string, bool) {
	parts := make([]string, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			return "", false
		}
		parts[i] = s
	}
	return strings.Join(parts, "\n"), len(parts) > 0
}

// cutHead returns at most n bytes of s, ending at a whole rune and, if one is
// near, at the end of a line.
func cutHead(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	if line := strings.LastIndexByte(s[:n], '\n'); line >= n-n/4 && line >= 0 {
		n = line + 1
	}
	return s[:n]
}

// cutTail is cutHead for the end of s.
func cutTail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	from := len(s) - n
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	if line := strings.IndexByte(s[from:], '\n'); line >= 0 && line < n/4 {
		from += line + 1
	}
	return s[from:]
}
