package backend

import "strings"

// StopFilter cuts streamed text before the first stop string, however the
// text is divided into pieces. It holds back only what might become a stop
// string, so that text flows as soon as it is safe.
//
// The stop string that is complete first wins, as it would end generation; of
// two that are complete at the same byte, the longer one. Of valid UTF-8 in
// whole runes it makes valid UTF-8 in whole runes.
type StopFilter struct {
	stops   []string
	held    string // a proper prefix of a stop string
	stopped bool
	by      string
}

// NewStopFilter makes a filter for the given strings; empty ones are ignored.
func NewStopFilter(stops []string) *StopFilter {
	f := &StopFilter{}
	for _, s := range stops {
		if s != "" {
			f.stops = append(f.stops, s)
		}
	}
	return f
}

// Push adds a piece of text and returns what may be shown. Once stopped is
// true the reply has ended and later pieces return nothing.
func (f *StopFilter) Push(piece string) (out string, stopped bool) {
	if f.stopped {
		return "", true
	}
	if len(f.stops) == 0 {
		return piece, false
	}
	text := f.held + piece
	if start, by := firstStop(text, f.stops); by != "" {
		f.held, f.stopped, f.by = "", true, by
		return text[:start], true
	}
	keep := longestPartialStop(text, f.stops)
	f.held = text[len(text)-keep:]
	return text[:len(text)-keep], false
}

// By is the stop string that came; empty before one did.
func (f *StopFilter) By() string { return f.by }

// Flush returns what was held back, at the end of the text.
func (f *StopFilter) Flush() string {
	out := f.held
	f.held = ""
	return out
}

// firstStop finds the stop string that is complete first, and where it begins.
func firstStop(text string, stops []string) (start int, by string) {
	end := len(text) + 1
	for _, s := range stops {
		i := strings.Index(text, s)
		if i < 0 {
			continue
		}
		if e := i + len(s); e < end || e == end && i < start {
			start, end, by = i, e, s
		}
	}
	return start, by
}

// longestPartialStop is the length of the longest end of text that is the
// beginning of a stop string.
func longestPartialStop(text string, stops []string) int {
	longest := 0
	for _, s := range stops {
		for n := min(len(s)-1, len(text)); n > longest; n-- {
			if strings.HasSuffix(text, s[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}
