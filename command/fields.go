package command

import (
	"encoding/json"
	"slices"
	"strings"
)

// TextOf returns the first of the named fields as text. Models use many names for
// one thing; a command lists the names it accepts.
func TextOf(entry map[string]any, names ...string) (string, bool) {
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

// YesNoOf returns the first of the named fields that is a yes or no. An empty text
// is a no.
func YesNoOf(entry map[string]any, names ...string) (value, ok bool) {
	for _, name := range names {
		if text, isText := entry[name].(string); isText && strings.TrimSpace(text) == "" {
			return false, true
		}
		if value, ok := YesNo(entry[name]); ok {
			return value, true
		}
	}
	return false, false
}

// YesNo reads a value as yes or no, given as JSON or as a word.
func YesNo(v any) (value, ok bool) {
	switch strings.ToLower(strings.Trim(AsText(v), " \t\r\n.!\"'")) {
	case "yes", "y", "true", "1", "on":
		return true, true
	case "no", "n", "false", "0", "off":
		return false, true
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

// AsText is a value as one text: strings as they are, others as JSON.
func AsText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	}
	out, err := JSON(v)
	if err != nil {
		return ""
	}
	return string(out)
}

// fileKeys are the names that models use for a file.
func fileKeys() []string {
	return []string{"file", "filename", "path", "file_path", "filepath", "file_name", "name", "url",
		"source"}
}

// saveKeys are the names that models use for the file to save into.
func saveKeys() []string {
	return []string{"save_as", "save_to", "save", "output", "output_file"}
}

// IsFileKey reports a name that models use for a file.
func IsFileKey(name string) bool {
	return slices.Contains(fileKeys(), name) || slices.Contains(saveKeys(), name)
}

// FileOf is the file or address that an entry names.
func FileOf(entry map[string]any) (string, bool) { return TextOf(entry, fileKeys()...) }

// SaveOf is the file in which an entry wants its result saved.
func SaveOf(entry map[string]any) (string, bool) { return TextOf(entry, saveKeys()...) }
