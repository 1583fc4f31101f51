package redact

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Stream hides secrets in text that comes piece by piece. It tells text a word
// late, and what may become a known secret when it did not.
type Stream struct {
	scrub  Scrubber
	tell   func(text string, tokens int)
	text   string // of the line that is being written, and of a key block before it
	told   string // what was told of it, clean
	tokens int    // whose text is held back
}

// streamBytesMax bounds what is held back, and how long a line is looked at
// again as a whole.
const streamBytesMax = 16 << 10

// NewStream goes on with the last line of what stands before the text.
func NewStream(scrub Scrubber, before string, tell func(text string, tokens int)) *Stream {
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &Stream{scrub: scrub, tell: tell, text: line, told: scrub.Text(line)}
}

// Add takes the next piece, whose text counts so many tokens.
func (st *Stream) Add(text string, tokens int) {
	st.text += text
	st.tokens += tokens
	if len(st.text) > streamBytesMax {
		st.End()
		return
	}
	st.tellTo(st.scrub.safeEnd(st.text))
}

// End tells what was held back: nothing follows.
func (st *Stream) End() {
	st.tellTo(len(st.text))
	st.text, st.told = "", ""
}

func (st *Stream) tellTo(end int) {
	clean := st.scrub.Text(st.text[:end])
	same := commonPrefix(clean, st.told)
	if len(clean) > same {
		st.tell(clean[same:], st.tokens)
		st.tokens = 0
	}
	st.told = clean
	if at := strings.LastIndexByte(st.text[:end], '\n') + 1; at > 0 {
		st.told = st.scrub.Text(st.text[at:end])
		st.text = st.text[at:]
	}
}

// safeEnd is how much of a text that goes on can be told: no secret begins
// before it and ends after it.
func (s Scrubber) safeEnd(text string) int {
	end := 0
	for i, r := range text {
		if unicode.IsSpace(r) || r >= utf8.RuneSelf {
			end = i + utf8.RuneLen(r)
		}
	}
	if at := strings.LastIndex(text[:end], keyBlockBegin); at >= 0 && !keyBlockEnds(text[at:end]) {
		end = at
	}
	for _, form := range s.forms {
		for n := min(len(form)-1, end); n > 0; n-- {
			if strings.HasPrefix(form, text[end-n:end]) {
				end -= n
				break
			}
		}
	}
	return end
}

const (
	keyBlockBegin = "-----BEGIN "
	keyBlockEnd   = "-----END "
	keyBlockMark  = "-----"
)

// keyBlockEnds reports a block whose last line is there, whole.
func keyBlockEnds(block string) bool {
	_, last, ok := strings.Cut(block, keyBlockEnd)
	return ok && strings.Contains(last, keyBlockMark)
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
