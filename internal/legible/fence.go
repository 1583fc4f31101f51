package legible

import "strings"

// CutFence splits a text that is exactly one fenced block.
func CutFence(text string) (info, body string, ok bool) {
	rest, ok := strings.CutPrefix(text, "```")
	if !ok || strings.HasPrefix(rest, "`") {
		return "", "", false
	}
	rest, ok = strings.CutSuffix(strings.TrimRight(rest, " \t\r\n"), "```")
	if !ok || strings.Contains(rest, "\n```") {
		return "", "", false
	}
	info, body, ok = strings.Cut(rest, "\n")
	if !ok {
		return "", strings.TrimSpace(rest), true
	}
	if !IsFenceInfo(info) {
		return "", rest, true
	}
	return strings.TrimSpace(info), body, true
}

// IsFenceInfo reports whether the rest of a fence's line names a language.
func IsFenceInfo(line string) bool {
	line = strings.TrimSpace(line)
	return !strings.ContainsAny(line, " {[(\"'") && len(line) < 32
}
