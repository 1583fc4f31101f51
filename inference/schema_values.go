package inference

import (
	"encoding/json"
	"math"
	"slices"
)

// values checks listed values against the type beside them; nothing else is
// looked at by the converter.
func values(s map[string]any, only string, p place) error {
	for _, key := range append(slices.Clone(structural),
		slices.Concat(keywordsOf["string"], keywordsOf["number"])...) {
		if _, ok := s[key]; ok && key != only && key != "type" && key != "if" {
			return p.refuseKeyword(key, "beside "+only)
		}
	}
	list, ok := s[only].([]any)
	if only == "const" || !ok {
		list = []any{s[only]}
	}
	for _, v := range list {
		if !slices.ContainsFunc(kindsOf(v),
			func(kind string) bool { return s["type"] == nil || exactly(s, kind) }) {
			return p.refuse("%s holds %s, which is not of the type beside it", only, shortJSON(v))
		}
	}
	return nil
}

// text checks a string. The converter takes its pattern, else its format, else
// its length.
func text(s map[string]any, p place) error {
	format, isFormat := s["format"].(string)
	if isFormat && !slices.Contains(knownFormats, format) {
		return p.blame("format",
			"format %q can't be enforced; known are date, time, date-time and uuid; leave it out and check the "+
				"reply yourself", format)
	}
	rivals := []string{"pattern", "format", "minLength", "maxLength"}
	for i, key := range rivals[:2] {
		if _, ok := s[key]; !ok {
			continue
		}
		for _, other := range rivals[i+1:] {
			if _, ok := s[other]; ok {
				return p.refuseKeyword(other, "beside "+key)
			}
		}
	}
	return nil
}

func numbers(s map[string]any, why string, p place) error {
	for _, key := range keywordsOf["number"] {
		if _, ok := s[key]; ok {
			return p.refuseKeyword(key, why)
		}
	}
	return nil
}

// integer checks bounds; they become rules for digits.
func integer(s map[string]any, p place) error {
	for _, pair := range [][2]string{{"minimum", "exclusiveMinimum"},
		{"maximum", "exclusiveMaximum"}} {
		if holds(s, pair[0]) && holds(s, pair[1]) {
			return p.refuseKeyword(pair[1], "beside "+pair[0])
		}
	}
	low, high := math.Inf(-1), math.Inf(1)
	for _, key := range keywordsOf["number"][:4] {
		value, ok := s[key]
		if !ok {
			continue
		}
		number, _ := value.(json.Number)
		n, err := number.Float64()
		if err != nil || math.Abs(n) > integerMax {
			return p.blame(key, "%s must be a number between -1e15 and 1e15, not %s", key, shortJSON(value))
		}
		switch key {
		case "minimum":
			low = math.Ceil(n)
		case "exclusiveMinimum":
			low = math.Floor(n) + 1
		case "maximum":
			high = math.Floor(n)
		case "exclusiveMaximum":
			high = math.Ceil(n) - 1
		}
	}
	if low > high {
		return p.refuse("no whole number is between its minimum and its maximum")
	}
	return nil
}
