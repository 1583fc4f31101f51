package prose

import (
	"regexp"
	"strings"

	"agent/internal/legible"
)

// Fenced puts content between fences that it can't contain.
func Fenced(content string) string {
	fence := legible.Fence(content)
	return fence + "\n" + strings.TrimRight(content, "\n") + "\n" + fence
}

// FenceMark is the fence around a field that the model writes: the one it
// knows best. Fences inside the field are told from its end by BlockEnd.
const FenceMark = "```"

var (
	fenceClose = regexp.MustCompile("^```+[ \t]*$")
	fenceOpen  = regexp.MustCompile("^```+[ \t]*[A-Za-z0-9_+.#-]+[ \t]*$")
)

// BlockEnd finds where a fenced block that was opened before text ends: the
// byte offset of the line with its closing fence, or -1 while it is open. A
// fence with a language opens a nested block, which has a closing fence of
// its own.
func BlockEnd(text string) int {
	depth, offset := 0, 0
	for line := range strings.SplitAfterSeq(text, "\n") {
		bare := strings.TrimRight(line, "\r\n")
		switch {
		case fenceOpen.MatchString(bare):
			depth++
		case fenceClose.MatchString(bare) && depth > 0:
			depth--
		case fenceClose.MatchString(bare):
			return offset
		}
		offset += len(line)
	}
	return -1
}

// StrayFence finds, in text that began outside of any block, a closing fence
// that nothing opened and that an empty line follows: its offset, or -1. A model
// that writes one goes on to something else.
func StrayFence(text string) int {
	open, offset := false, 0
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		bare := strings.TrimRight(line, "\r\n")
		switch {
		case fenceOpen.MatchString(bare):
			open = true
		case fenceClose.MatchString(bare) && open:
			open = false
		case fenceClose.MatchString(bare):
			if i > 0 && i+2 < len(lines) && strings.TrimSpace(lines[i+1]) == "" {
				return offset
			}
			open = true
		}
		offset += len(line)
	}
	return -1
}

// WithoutBareFences takes fences from the end of text that hold nothing: blocks
// without a line in them, and one that was opened last or that closes nothing.
func WithoutBareFences(text string) string {
	for {
		lines := strings.Split(strings.TrimRight(text, " \t\r\n"), "\n")
		last := len(lines) - 1
		if !isFence(lines[last]) {
			return text
		}
		fences := 0
		for _, line := range lines {
			if isFence(line) {
				fences++
			}
		}
		switch {
		case fences%2 == 1:
			text = strings.Join(lines[:last], "\n")
		case last > 0 && isFence(lines[last-1]):
			text = strings.Join(lines[:last-1], "\n")
		default:
			return text
		}
		if text = strings.TrimRight(text, " \t\r\n"); text == "" {
			return ""
		}
	}
}

func isFence(line string) bool {
	line = strings.TrimRight(line, "\r")
	return fenceOpen.MatchString(line) || fenceClose.MatchString(line)
}

// BlockBody cuts text at the end of its block, and gives it as lines without
// the last line's end.
func BlockBody(text string) string {
	if end := BlockEnd(text); end >= 0 {
		text = text[:end]
	}
	return strings.TrimRight(text, "\r\n")
}

// Unfenced is the inside of text that is one Fenced block and nothing else.
func Unfenced(text string) string {
	first, rest, ok := strings.Cut(text, "\n")
	if !ok || !strings.HasPrefix(first, FenceMark) {
		return text
	}
	end := BlockEnd(rest)
	if end < 0 || strings.Contains(strings.TrimSpace(rest[end:]), "\n") {
		return text
	}
	return BlockBody(rest)
}
