package backend

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

const (
	// TextDistanceMax is the largest normalised edit distance (0 same, 1 nothing
	// in common) at which a reply still counts as an option. Above it the reply
	// says something else.
	TextDistanceMax = 0.4
	// textCompareRunes bounds the cost of comparing, which is quadratic.
	textCompareRunes = 512
	// textReplyRunes is how much of a reply is looked at.
	textReplyRunes = 10_000
)

// ChooseByText decides which option a free-text reply means: the method
// "text", for models that give no probabilities. It tries, in this order, the
// exact option, the option up to case, quotes and punctuation, its number or
// letter in the list ("2", "b)", "b) blue"), an option at the start of the reply,
// the only option mentioned, and last the nearest by edit distance. An empty reply, a
// distant one and a tie abstain, with the numbers in Reason.
//
// options must have passed [CheckOptions].
func ChooseByText(reply string, options []Option) *Choice {
	c := &Choice{Index: -1, Method: "text", Margin: math.NaN(), OutsideMass: math.NaN(),
		Options: make([]ScoredOption, len(options))}
	reply = firstRunes(reply, textReplyRunes)
	plainReply := plain(reply)
	plainOptions := make([]string, len(options))
	for i, o := range options {
		plainOptions[i] = plain(o.Text)
		c.Options[i] = ScoredOption{Text: o.Text, Logprob: math.NaN(), Probability: math.NaN(),
			Distance: editDistance(plainReply, plainOptions[i])}
	}
	if i := indexExact(reply, options); i >= 0 {
		return c.pick(i)
	}
	if strings.TrimSpace(reply) == "" {
		return c.abstain("the reply is empty")
	}
	for _, match := range []func() int{
		func() int { return indexOnly(plainOptions, func(o string) bool { return o != "" && o == plainReply }) },
		func() int { return indexLabel(plainReply, len(options)) },
		func() int { return indexPrefix(plainReply, plainOptions) },
		func() int { return indexLeadingLabel(plainReply, len(options)) },
		func() int {
			return indexOnly(plainOptions, func(o string) bool { return containsWord(plainReply, o) })
		},
	} {
		if i := match(); i >= 0 {
			return c.pick(i)
		}
	}
	return c.pickNearest()
}

// pick decides for option i, whatever was decided before.
func (c *Choice) pick(i int) *Choice {
	c.Index, c.Text = i, c.Options[i].Text
	c.Abstained, c.Reason = false, ""
	return c
}

func (c *Choice) abstain(format string, args ...any) *Choice {
	c.Index, c.Text, c.Abstained = -1, "", true
	c.Reason = fmt.Sprintf(format, args...)
	return c
}

// pickNearest decides by edit distance.
func (c *Choice) pickNearest() *Choice {
	best, ties := 0, 1
	for i := 1; i < len(c.Options); i++ {
		switch d := c.Options[i].Distance; {
		case d < c.Options[best].Distance:
			best, ties = i, 1
		case d == c.Options[best].Distance:
			ties++
		}
	}
	d := c.Options[best].Distance
	switch {
	case d > TextDistanceMax:
		return c.abstain("the reply is none of the options: the nearest, %q, is at edit distance %.2f, more than %.2f",
			c.Options[best].Text, d, TextDistanceMax)
	case ties > 1:
		c.Tie = true
		return c.abstain("%d options are equally near to the reply, at edit distance %.2f", ties, d)
	}
	return c.pick(best)
}

func indexExact(reply string, options []Option) int {
	for _, r := range []string{reply, strings.TrimSpace(reply)} {
		for i, o := range options {
			if o.Text == r {
				return i
			}
		}
	}
	return -1
}

// indexOnly finds the option for which ok holds, when there is only one.
func indexOnly(options []string, ok func(string) bool) int {
	found := -1
	for i, o := range options {
		if !ok(o) {
			continue
		}
		if found >= 0 {
			return -1
		}
		found = i
	}
	return found
}

// indexLabel reads "2", "option 2", "b" or "(b" as a place in the list.
func indexLabel(reply string, n int) int {
	reply = strings.TrimPrefix(reply, "option ")
	if k, err := strconv.Atoi(reply); err == nil && k >= 1 && k <= n {
		return k - 1
	}
	if len(reply) == 1 && reply[0] >= 'a' && reply[0] <= 'z' && int(reply[0]-'a') < n {
		return int(reply[0] - 'a')
	}
	return -1
}

// indexLeadingLabel reads "b) blue" as the place b.
func indexLeadingLabel(reply string, n int) int {
	end := strings.IndexAny(reply, ").:")
	if end < 0 || end+1 >= len(reply) || reply[end+1] != ' ' {
		return -1
	}
	return indexLabel(reply[:end], n)
}

// indexPrefix finds the longest option that the reply begins with, as words.
func indexPrefix(reply string, options []string) int {
	best, bestLen := -1, 0
	for i, o := range options {
		if len(o) > bestLen && strings.HasPrefix(reply, o) && wordEndsAt(reply, len(o)) {
			best, bestLen = i, len(o)
		}
	}
	return best
}

// containsWord reports whether word stands in text between word boundaries.
func containsWord(text, word string) bool {
	if word == "" {
		return false
	}
	for from := 0; from <= len(text)-len(word); {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		i += from
		if wordEndsAt(text, i) && wordEndsAt(text, i+len(word)) {
			return true
		}
		from = i + len(word)
	}
	return false
}

// wordEndsAt reports whether no word goes on across byte i of text.
func wordEndsAt(text string, i int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:i])
	after, _ := utf8.DecodeRuneInString(text[i:])
	return !isWord(before) || !isWord(after)
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// plain is the text without what models add around an answer: case, quotes,
// markup, brackets and closing punctuation.
func plain(s string) string {
	s = strings.ToLower(strings.Join(strings.Fields(s), " "))
	return strings.Trim(s, " .,;:!?\"'`*()[]{}<>“”‘’#-")
}

// editDistance is the Levenshtein distance in runes over the longer length.
func editDistance(a, b string) float64 {
	a, b = firstRunes(a, textCompareRunes), firstRunes(b, textCompareRunes)
	longest := max(len([]rune(a)), len([]rune(b)))
	if longest == 0 {
		return 0
	}
	return float64(levenshtein.ComputeDistance(a, b)) / float64(longest)
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// ChooseByReply lets b reply freely and takes the option that the reply means,
// by [ChooseByText]. It is the whole of ChooseFromOptions for a backend that
// has nothing better.
func ChooseByReply(ctx context.Context, b LanguageBackend, req *Request, options []Option,
) (*Choice, error) {
	start := time.Now()
	if err := checkChoose(req, options); err != nil {
		return nil, err
	}
	if req.Choose != nil && req.Choose.Scoring != "" && req.Choose.Scoring != ScoreSum {
		return nil, fmt.Errorf("choose: scoring %q of a free reply: %w", req.Choose.Scoring,
			ErrUnsupported)
	}
	reply, last, err := Collect(b.ChatCompletion(ctx, req))
	if err != nil {
		return nil, err
	}
	c := ChooseByText(reply, options).withUsage(last.Usage)
	c.Wall = time.Since(start)
	return c, nil
}
