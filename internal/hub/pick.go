package hub

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"agent/internal/near"
)

// quantRanking is the order in which one of several quantisations is taken:
// first what keeps nearly all quality at about 5 bits a weight, then better
// and larger, then smaller. What is not listed comes last.
var quantRanking = []string{
	"Q4_K_M", "Q5_K_M", "Q8_0", "Q4_0", "Q4_K_S", "Q5_K_S", "Q6_K", "Q4_1", "Q5_0", "Q5_1",
	"Q4_K_L", "Q5_K_L", "Q6_K_L", "Q4_K_XL", "IQ4_XS", "IQ4_NL", "MXFP4", "Q3_K_L", "Q3_K_M", "Q3_K_S",
	"BF16", "F16", "F32", "Q2_K",
}

// candidate is one model among a repository's or folder's files: a single
// file, or all parts of a split one.
type candidate struct {
	parts []string // paths, in order
	quant string   // "Q4_K_M"; "" when the name does not say
	mix   string   // "UD": whose mix it is, as the name has it before the quantisation
}

// tag is what a person asks for it by.
func (c candidate) tag() string {
	if c.mix == "" {
		return cmp.Or(c.quant, c.first())
	}
	return c.mix + "-" + c.quant
}

// answers reports whether a wanted tag means it: its own, its name, or whatever that ends
// with.
func (c candidate) answers(tag string) bool {
	if isGGUF(tag) {
		tag = modelBase(tag)
	}
	if normalQuant(tag) == c.quant && c.mix == "" || strings.EqualFold(tag, c.tag()) {
		return true
	}
	base := modelBase(c.first())
	at := len(base) - len(tag)
	return at >= 0 && strings.EqualFold(base[at:], tag) &&
		(at == 0 || strings.ContainsAny(base[at-1:at], "-._/"))
}

// standsIn reports that it is another mix of the quantisation that a tag names, which is
// right only where the plain one is missing.
func (c candidate) standsIn(tag string) bool {
	base := normalQuant(path.Base(modelBase(c.first())))
	at := strings.LastIndex(base, c.quant)
	return normalQuant(tag) == c.quant && (c.mix != "" || at >= 0 && at+len(c.quant) < len(base))
}

func (c candidate) first() string { return c.parts[0] }

var (
	splitName = regexp.MustCompile(`(?i)^(.*)-([0-9]{5})-of-([0-9]{5})(\.gguf)$`)
	quantPart = regexp.MustCompile(`(?i)(?:^|[-._/])((?:I?Q|TQ)[0-9]+(?:_[0-9A-Z]+)*|BF16|FP?16|FP?32|MXFP4(?:_MOE)?)(?:$|[-._/])`)
	variant   = regexp.MustCompile(`(?i)(?:^|[-._/])(UD|i1)[-._]$`) // a maker's own mix of types
	notModel  = regexp.MustCompile(`(?i)(?:^|[-._/])(?:mmproj|imatrix|lora|adapter|` +
		`control[-_]?vector|cvector|ggml-vocab|` +
		`mtp|nextn|draft|drafter|speculator|medusa|eagle[0-9]?)(?:$|[-._/])`)
)

// splitPartsMax bounds the parts of one model.
const splitPartsMax = 999

// splitParts returns the names of all parts of a split model, given any one of
// them; a file that is not split is its own only part.
func splitParts(file string) ([]string, error) {
	m := splitName.FindStringSubmatch(file)
	if m == nil {
		return []string{file}, nil
	}
	no, _ := strconv.Atoi(m[2])
	count, _ := strconv.Atoi(m[3])
	if count < 1 || count > splitPartsMax || no < 1 || no > count {
		return nil, fmt.Errorf("%s: part %d of %d makes no sense", file, no, count)
	}
	parts := make([]string, count)
	for i := range parts {
		parts[i] = fmt.Sprintf("%s-%05d-of-%05d%s", m[1], i+1, count, m[4])
	}
	return parts, nil
}

// modelBase is a file's path without its ending and the number of its part.
func modelBase(file string) string {
	if m := splitName.FindStringSubmatch(file); m != nil {
		return m[1]
	}
	return file[:len(file)-len(".gguf")]
}

// quantAndMix reads the quantisation, and whose mix it is, from a file's name, else from its
// folder's.
func quantAndMix(file string) (quant, mix string) {
	base := modelBase(file)
	for _, s := range []string{path.Base(base), path.Dir(base)} {
		if all := quantPart.FindAllStringSubmatchIndex(s, -1); len(all) > 0 {
			last := all[len(all)-1]
			if m := variant.FindStringSubmatch(s[:last[2]]); m != nil {
				mix = m[1]
			}
			return normalQuant(s[last[2]:last[3]]), mix
		}
	}
	return "", ""
}

// quantOf is the tag by which a file is asked for; empty when its name does not say.
func quantOf(file string) string {
	c := candidate{parts: []string{file}}
	if c.quant, c.mix = quantAndMix(file); c.quant == "" {
		return ""
	}
	return c.tag()
}

// normalQuant gives the one spelling of a quantisation's name.
func normalQuant(q string) string {
	q = strings.ToUpper(q)
	switch q {
	case "FP16":
		return "F16"
	case "FP32":
		return "F32"
	}
	return strings.TrimSuffix(q, "_MOE")
}

// candidates groups files into models, best first. Projectors, importance matrices, adapters
// and drafters are no models; a split model with a part missing is left out.
func candidates(files []string) []candidate {
	present := make(map[string]bool, len(files))
	for _, f := range files {
		present[f] = true
	}
	var out []candidate
	for _, f := range files {
		if !isGGUF(f) || notModel.MatchString(f) {
			continue
		}
		parts, err := splitParts(f)
		if err != nil || parts[0] != f || !allPresent(parts, present) {
			continue
		}
		c := candidate{parts: parts}
		c.quant, c.mix = quantAndMix(f)
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(rank(a.quant), rank(b.quant)),
			cmp.Compare(len(a.mix), len(b.mix)),
			cmp.Compare(strings.Count(a.first(), "/"), strings.Count(b.first(), "/")),
			cmp.Compare(len(modelBase(a.first())), len(modelBase(b.first()))),
			cmp.Compare(a.first(), b.first()),
		)
	})
	return out
}

// missingPart names a part of a split model that is not there, though others are; empty
// if none is missing.
func missingPart(files []string) string {
	for _, f := range files {
		if !isGGUF(f) {
			continue
		}
		parts, err := splitParts(f)
		if err != nil {
			continue
		}
		for _, p := range parts {
			if !slices.Contains(files, p) {
				return p
			}
		}
	}
	return ""
}

// matching are the files whose quantisation a tag means.
func matching(files []string, tag string) []string {
	return slices.DeleteFunc(slices.Clone(files), func(f string) bool {
		if !isGGUF(f) {
			return true
		}
		c := candidate{parts: []string{f}}
		c.quant, c.mix = quantAndMix(f)
		return !c.answers(tag)
	})
}

// pieceName is a file of which several are one GGUF only when joined.
var pieceName = regexp.MustCompile(`(?i)^(.*\.gguf[-.](?:split|part)[-.]?)[0-9a-z]+(?:of[0-9]+)?$`)

// piecesOf is what the names of such files begin with, empty if there are none.
func piecesOf(files []string) string {
	for _, f := range files {
		if m := pieceName.FindStringSubmatch(f); m != nil {
			return m[1]
		}
	}
	return ""
}

func allPresent(parts []string, present map[string]bool) bool {
	for _, p := range parts {
		if !present[p] {
			return false
		}
	}
	return true
}

func rank(quant string) int {
	if i := slices.Index(quantRanking, quant); i >= 0 {
		return i
	}
	return len(quantRanking)
}

// anyTag is what other programs write where no tag is wanted.
const anyTag = "latest"

// pick chooses one model of files. others are the ones not taken. The error
// says what there is instead.
func pick(files []string, quant string) (chosen candidate, others []candidate, err error) {
	all := candidates(files)
	if len(all) == 0 {
		return candidate{}, nil, errNoGGUF
	}
	if quant == "" {
		return all[0], all[1:], nil
	}
	for i, c := range all {
		if c.answers(quant) {
			return c, slices.Delete(slices.Clone(all), i, i+1), nil
		}
	}
	if strings.EqualFold(quant, anyTag) {
		return all[0], all[1:], nil
	}
	names := quantNames(all)
	advice := "there are: " + strings.Join(names, ", ")
	if near := near.Name(quant, names); near != "" {
		advice = fmt.Sprintf("did you mean %s? %s", near, advice)
	}
	return candidate{}, all, &Error{Op: "choose a quantisation",
		Err: fmt.Errorf("there is no %s", quant), Reason: ErrNotFound, Advice: advice}
}

// quantNames lists candidates by their tags, or by their files where a tag is unknown or
// not theirs alone.
func quantNames(all []candidate) []string {
	shared := map[string]int{}
	for _, c := range all {
		shared[c.tag()]++
	}
	var names []string
	for _, c := range all {
		if shared[c.tag()] > 1 {
			names = append(names, c.first())
		} else {
			names = append(names, c.tag())
		}
	}
	return names
}
