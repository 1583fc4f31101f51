// Package redact takes secrets out of text before it goes to a model, a session
// file or whoever listens: values that the configuration knows, in the encodings
// in which programs print them, and what has the form of a secret.
//
// Promise: [Scrubber.Text] is pure and never fails, and a [Stream] tells nothing
// of a secret that is still being written.
package redact

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
)

// secretLenMin is the shortest value that is hidden whatever its key is called:
// shorter ones ("en", "7") would also hide ordinary text.
const secretLenMin = 5

// redactedText stands where a secret stood.
const redactedText = "[secret]"

var secretKey = regexp.MustCompile(`(?i)key|token|secret|passw|pin$|credential|auth`)

// Scrubber removes secrets from text.
type Scrubber struct {
	replace *strings.Replacer
	forms   []string     // what replace looks for
	wrapped []string     // those of them that programs break into lines
	hid     *atomic.Bool // something was hidden; nil: nobody asks
}

// New hides the values of metadata and other secrets, as they are and in
// the encodings in which programs print them.
func New(metadata map[string]string, secrets ...string) Scrubber {
	var forms, wrapped []string
	add := func(value string) {
		encoded := encodingsOf(value)
		forms = append(append(forms, writtenForms(value)...), encoded...)
		wrapped = append(wrapped, slices.DeleteFunc(encoded,
			func(f string) bool { return len(f) < wrappedMin })...)
	}
	for key, value := range metadata {
		if value == "" || len(value) < secretLenMin && !secretKey.MatchString(key) {
			continue
		}
		add(value)
		for _, part := range partsOf(value) {
			add(part)
		}
	}
	for _, value := range secrets {
		parts := append(partsOf(value), value)
		// Bearer …
		if _, credential, ok := strings.Cut(value, " "); ok && !strings.Contains(credential, " ") {
			parts = append(parts, credential)
		}
		for _, part := range parts {
			if !ordinary(part) {
				add(part)
			}
		}
	}
	s := Scrubber{hid: &atomic.Bool{}}
	if len(forms) == 0 {
		return s
	}
	s.forms, s.wrapped = longestFirst(forms), longestFirst(wrapped)
	var pairs []string
	for _, f := range s.forms {
		pairs = append(pairs, f, redactedText)
	}
	s.replace = strings.NewReplacer(pairs...)
	return s
}

// longestFirst: a secret that contains another must go whole.
func longestFirst(forms []string) []string {
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.Compact(forms)
}

// ordinary reports a value that stands in the place of a key where a server
// asks for none: a short word, which would be hidden wherever it is said.
func ordinary(value string) bool {
	const wordMax = 7
	return len(value) < secretLenMin ||
		len(value) <= wordMax && strings.Trim(value, "abcdefghijklmnopqrstuvwxyz") == ""
}

// secretLineMin is the shortest line of a value of several lines that is hidden
// by itself.
const secretLineMin = 8

// partsOf are the forms in which a value occurs without the white space around
// it, which files and YAML blocks add, and the lines of one that has several.
func partsOf(value string) []string {
	var parts []string
	if trimmed := strings.TrimSpace(value); trimmed != value && len(trimmed) >= secretLenMin {
		parts = append(parts, trimmed)
	}
	if lines := strings.Split(strings.TrimSpace(value), "\n"); len(lines) > 1 {
		for _, line := range lines {
			if line = strings.TrimSpace(line); len(line) >= secretLineMin {
				parts = append(parts, line)
			}
		}
	}
	return parts
}

// writtenForms are a value as it is written in JSON and addresses.
func writtenForms(value string) []string {
	quoted, _ := json.Marshal(value)
	forms := []string{value, strings.Trim(string(quoted), `"`)}
	for _, f := range []string{url.QueryEscape(value), url.PathEscape(value)} {
		forms = append(forms, f, percentCode.ReplaceAllStringFunc(f, strings.ToLower))
	}
	return forms
}

var percentCode = regexp.MustCompile(`%[0-9A-F]{2}`)

// encodingsOf are a value in hexadecimal and in base64, alone and within
// something longer.
func encodingsOf(value string) []string {
	var forms []string
	for _, digits := range []string{"%02x", "%02X"} {
		codes := make([]string, len(value))
		for i := range len(value) {
			codes[i] = fmt.Sprintf(digits, value[i])
		}
		for _, between := range []string{"", " ", ":", "-", `\x`, "%"} {
			forms = append(forms, strings.Join(codes, between))
		}
	}
	for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		forms = append(forms, alphabet.EncodeToString([]byte(value)),
			alphabet.WithPadding(base64.NoPadding).EncodeToString([]byte(value)))
		for offset := range 3 {
			forms = append(forms, base64Within(alphabet, value, offset)...)
		}
	}
	return forms
}

// base64Within is what base64 makes of a value that begins offset bytes after a
// whole group: the characters that hold nothing but the value. A short one
// could be part of anything.
func base64Within(alphabet *base64.Encoding, value string, offset int) []string {
	const bits, charsMin = 6, 6
	encoded := alphabet.EncodeToString([]byte(strings.Repeat("\x00", offset) + value))
	from, to := (offset*8+bits-1)/bits, (offset+len(value))*8/bits
	if to-from < charsMin {
		return nil
	}
	return []string{encoded[from:to]}
}

// Text hides what is known to be secret, and what looks it.
func (s Scrubber) Text(t string) string {
	clean := s.unwrapped(t)
	if s.replace != nil {
		clean = s.replace.Replace(clean)
	}
	clean = HidePatterns(clean)
	if s.hid != nil && clean != t {
		s.hid.Store(true)
	}
	return clean
}

// wrappedMin is the shortest encoding that is looked for across lines.
const wrappedMin = 12

var lineBreak = regexp.MustCompile(`[ \t]*\r?\n[ \t]*`)

// unwrapped hides encoded secrets that go over the end of a line, where base64
// and its like break what they write.
func (s Scrubber) unwrapped(t string) string {
	if len(s.wrapped) == 0 || !strings.Contains(t, "\n") {
		return t
	}
	var joined strings.Builder
	var breaks [][2]int // where a line break was: in joined, and the bytes left out up to there
	at, left := 0, 0
	for _, b := range lineBreak.FindAllStringIndex(t, -1) {
		joined.WriteString(t[at:b[0]])
		at, left = b[1], left+b[1]-b[0]
		breaks = append(breaks, [2]int{joined.Len(), left})
	}
	joined.WriteString(t[at:])
	text := joined.String()
	place := func(i int) int { // in t, of what stands at i in joined
		n := sort.Search(len(breaks), func(k int) bool { return breaks[k][0] > i })
		if n == 0 {
			return i
		}
		return i + breaks[n-1][1]
	}
	var spans [][2]int
	for _, f := range s.wrapped {
		for at, next := strings.Index(text, f), 0; at >= 0; at = next {
			if from, to := place(at), place(at+len(f)-1)+1; to-from > len(f) {
				spans = append(spans, [2]int{from, to})
			}
			if next = strings.Index(text[at+len(f):], f); next >= 0 {
				next += at + len(f)
			}
		}
	}
	return withoutSpans(t, spans)
}

// withoutSpans puts a placeholder in the place of each stretch of text.
func withoutSpans(t string, spans [][2]int) string {
	slices.SortFunc(spans, func(a, b [2]int) int { return a[0] - b[0] })
	var out strings.Builder
	end := 0
	for _, span := range spans {
		if span[0] >= end {
			out.WriteString(t[end:span[0]] + redactedText)
		}
		end = max(end, span[1])
	}
	return out.String() + t[end:]
}

// Recall notes that a text from an earlier run has something hidden in it.
func (s Scrubber) Recall(text string) {
	if HasPlaceholder(text) {
		s.hid.Store(true)
	}
}

// HidSome reports that something was hidden.
func (s Scrubber) HidSome() bool { return s.hid.Load() }

// HasPlaceholder reports a text that has one in place of a secret.
func HasPlaceholder(text string) bool { return placeholder.MatchString(text) }

// placeholder matches what stands where a secret stood.
var placeholder = regexp.MustCompile(`\[secret(?:: [a-z ]{3,30})?\]`)

// Distinct scrubs options, which may be the names of files, and keeps them apart
// where nothing else did.
func (s Scrubber) Distinct(options []string) []string {
	out := Copy(s, options)
	seen := map[string]bool{}
	for i, o := range out {
		for n := 2; seen[out[i]]; n++ {
			out[i] = fmt.Sprintf("%s (%d)", o, n)
		}
		seen[out[i]] = true
	}
	return out
}

// Copy returns a copy of v without secrets in any of its strings, so that what is
// added to a type is scrubbed without being listed.
func Copy[T any](s Scrubber, v T) T { return Each(v, s.Text) }

// Each returns a deep copy of v with f applied to all of its strings.
func Each[T any](v T, f func(string) string) T {
	out, _ := each(reflect.ValueOf(&v).Elem(), f).Interface().(T)
	return out
}

func each(v reflect.Value, f func(string) string) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.String:
		out.SetString(f(v.String()))
	case reflect.Interface, reflect.Pointer, reflect.Map, reflect.Slice:
		if !v.IsNil() {
			eachInside(v, out, f)
		}
	case reflect.Array:
		for i := range v.Len() {
			out.Index(i).Set(each(v.Index(i), f))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if out.Field(i).CanSet() {
				out.Field(i).Set(each(v.Field(i), f))
			}
		}
	}
	return out
}

// eachInside puts a copy of what v refers to into out.
func eachInside(v, out reflect.Value, f func(string) string) {
	switch v.Kind() {
	case reflect.Interface:
		inner := each(v.Elem(), f)
		if n, ok := inner.Interface().(json.Number); ok && n != v.Elem().Interface() {
			inner = reflect.ValueOf(string(n)) // it is no number any more
		}
		out.Set(inner)
	case reflect.Pointer:
		out.Set(reflect.New(v.Type().Elem()))
		out.Elem().Set(each(v.Elem(), f))
	case reflect.Map:
		out.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
		for key, value := range v.Seq2() {
			out.SetMapIndex(each(key, f), each(value, f))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 { // text, as bytes
			out.SetBytes([]byte(f(string(v.Bytes()))))
			return
		}
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(each(v.Index(i), f))
		}
	}
}
