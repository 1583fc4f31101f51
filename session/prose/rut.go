package prose

import (
	"strings"
	"unicode"
)

// Weak models fall into a rut: the same words over and over until a limit ends
// the reply. What is repeated often enough to be no content is found while it
// is written, so that the rut costs neither time nor context.

// Rut says how much repetition is too much.
type Rut struct {
	times     int  // repeats of exactly the same text, one after another
	bytesMin  int  // that these repeats must fill
	sentences int  // same sentences or lines anywhere; 0: not looked at
	fences    bool // it ends, too, at a fence that closes nothing; see StrayFence
}

// ProseRut is for sentences.
func ProseRut() Rut { return Rut{times: 3, bytesMin: 160, sentences: 4} }

// OpenRut is for an answer, which runs to the end of a reply.
func OpenRut() Rut { return Rut{times: 3, bytesMin: 160, sentences: 4, fences: true} }

// BlockRut is for code and data, which may well repeat themselves.
func BlockRut() Rut { return Rut{times: 8, bytesMin: 800} }

const (
	periodMax    = 400 // bytes of one repeat
	sentenceMin  = 24  // bytes; shorter ones may come back
	lettersMin   = 12  // of a sentence: lines of dashes may come back
	rutCheckStep = 32  // bytes of new text between two looks
)

// Until watches a growing reply and says when to end it; nil: never.
func (r Rut) Until() func(reply string) bool {
	if r.times == 0 {
		return nil
	}
	looked := 0
	return func(reply string) bool {
		if len(reply)-looked < rutCheckStep {
			return false
		}
		looked = len(reply)
		return r.End(reply) >= 0
	}
}

// End is where text first begins to repeat itself, or goes on after its end, or
// -1 if it does not.
func (r Rut) End(text string) int {
	if r.times == 0 {
		return -1
	}
	if r.fences {
		if at := StrayFence(text); at >= 0 {
			return at
		}
	}
	if at := r.periodic(text); at >= 0 {
		return at
	}
	if r.sentences > 0 {
		return r.recurring(text)
	}
	return -1
}

// periodic finds the same piece several times in a row at the end of text, and
// gives the end of the first one.
func (r Rut) periodic(text string) int {
	for period := 1; period <= min(periodMax, len(text)/r.times); period++ {
		n := max(period*r.times, r.bytesMin)
		if n > len(text) {
			continue
		}
		if tail := text[len(text)-n:]; tail[period:] != tail[:n-period] {
			continue
		}
		from := len(text) - n
		for from > 0 && text[from-1] == text[from-1+period] {
			from--
		}
		return from + period
	}
	return -1
}

// recurring finds a sentence that came too often, and gives where it came for
// the second time.
func (r Rut) recurring(text string) int {
	type seen struct{ times, second int }
	found := map[string]*seen{}
	from := 0
	for i := 0; i < len(text); i++ {
		if !sentenceEnd(text, i) {
			continue
		}
		sentence := strings.TrimSpace(text[from : i+1])
		at := from
		from = i + 1
		if len(sentence) < sentenceMin || letters(sentence) < lettersMin {
			continue
		}
		s := found[sentence]
		if s == nil {
			s = &seen{}
			found[sentence] = s
		}
		s.times++
		if s.times == 2 {
			s.second = at
		}
		if s.times == r.sentences {
			return s.second
		}
	}
	return -1
}

func sentenceEnd(text string, i int) bool {
	switch text[i] {
	case '\n':
		return true
	case '.', '!', '?':
		return i+1 < len(text) && (text[i+1] == ' ' || text[i+1] == '\n')
	}
	return false
}

func letters(text string) (n int) {
	for _, r := range text {
		if unicode.IsLetter(r) {
			n++
		}
	}
	return n
}
