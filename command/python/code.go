package python

import (
	"strings"

	"agent/internal/legible"
)

// CleanCode takes off fences and common indentation that models put around code.
func CleanCode(code string) string {
	code = strings.ReplaceAll(code, "\r\n", "\n")
	if _, body, ok := legible.CutFence(strings.TrimSpace(code)); ok {
		code = body
	}
	return dedent(strings.Trim(code, "\n"))
}

func dedent(code string) string {
	lines := strings.Split(code, "\n")
	first := lines[0]
	indent := first[:len(first)-len(strings.TrimLeft(first, " \t"))]
	if indent == "" {
		return code
	}
	for i, line := range lines {
		if strings.TrimSpace(line) == "" {
			lines[i] = ""
			continue
		}
		rest, ok := strings.CutPrefix(line, indent)
		if !ok {
			return code // not common to all: leave the error to Python
		}
		lines[i] = rest
	}
	return strings.Join(lines, "\n")
}
