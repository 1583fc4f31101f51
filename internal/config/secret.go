package config

import (
	"cmp"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// redactedMark stands for a secret wherever a configuration is shown.
const redactedMark = "[redacted]"

// secretBytesMin is the shortest secret that is looked for inside other text;
// shorter ones would blank out innocent words.
const secretBytesMin = 4

var (
	secretName = regexp.MustCompile(`(?:^|[_.])(?:api_?keys?|secrets?|token|tokens?_secret|passwords?|passwd|` +
		`passphrase|pwd|authorization|credentials?|bearer|cookie|` +
		`(?:access|private|secret|signing|encryption|master|account|subscription|shared)_key)$`)
	plainToken = regexp.MustCompile(`(?:^|[_.])(?:timeout|first|max|min|per|for|pad|eos|bos|unk|sep|cls|mask|` +
		`image|stop|start|end|eot|eom|prefix|suffix|middle)_token$`)
	secretEnv   = regexp.MustCompile(`(?i)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTHORIZATION|_PAT)$`)
	secretTexts = regexp.MustCompile(`\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}`)
	urlPassword = regexp.MustCompile(`://[^/\s:@]*:([^@/\s]+)@`)
	camelHump   = regexp.MustCompile(`([a-z0-9])([A-Z])`)

	// Keys with a value inside of a text: of a dict or a list of settings as it
	// is typed, and in a value of the configuration, where a colon is ordinary.
	typedPair  = regexp.MustCompile(`([A-Za-z_][\w.-]*)["']?\s*[:=]\s*`)
	storedPair = regexp.MustCompile(`([A-Za-z_][\w.-]*)=`)
	nextPair   = regexp.MustCompile(`\s[+~]*[A-Za-z_][\w./@-]*=`)
)

// shownMax is how much of an argument is printed.
const shownMax = 200

// Shown is a command-line argument as it may be printed: without the values of
// keys that name a secret, in a dict or in a text such as "openai api_key=…".
func Shown(text string) string {
	shown := hideSecrets(text)
	if len(shown) > shownMax {
		return strings.ToValidUTF8(shown[:shownMax], "") + "…"
	}
	return shown
}

// hideSecrets is Shown for a text of any length.
func hideSecrets(text string) string {
	key, value, ok := strings.Cut(text, "=")
	hidden := hidePairs(text, typedPair)
	switch {
	case ok && secretPath(key) && !strings.Contains(key, " "):
		return key + "=" + redactedMark
	case hidden != text && ok && strings.Contains(value, "{"):
		return hidePairs(key, typedPair) + "={…}" // where a value in a dict ends is not looked for
	case !secretInText(hidden):
		return hidden
	case ok && !secretInText(key):
		return hidePairs(key, typedPair) + "=" + redactedMark
	}
	return redactedMark
}

// hidePairs replaces what a text gives to keys that name a secret.
func hidePairs(text string, pair *regexp.Regexp) string {
	var b strings.Builder
	at := 0
	for _, s := range secretSpans(text, pair) {
		b.WriteString(text[at:s[0]] + redactedMark)
		at = s[1]
	}
	return b.String() + text[at:]
}

// secretSpans finds the values that a text gives to keys that name a secret. A
// value may have spaces; it ends where the next key=value begins.
func secretSpans(text string, pair *regexp.Regexp) (spans [][2]int) {
	end := 0
	for _, m := range pair.FindAllStringSubmatchIndex(text, -1) {
		if m[0] < end || !secretPath(text[m[2]:m[3]]) {
			continue
		}
		end = len(text)
		if next := nextPair.FindStringIndex(text[m[1]:]); next != nil {
			end = m[1] + next[0]
		}
		spans = append(spans, [2]int{m[1], end})
	}
	return spans
}

// secretKey reports whether a key's name says that its value is a secret:
// api_key, openaiApiKey, hf_token, Authorization, but not max_tokens or
// pad_token.
func secretKey(key string) bool {
	k := strings.ToLower(strings.ReplaceAll(camelHump.ReplaceAllString(key, "${1}_${2}"), "-", "_"))
	return secretName.MatchString(k) && !plainToken.MatchString(k)
}

// secretPath reports whether any part of a dotted path names a secret.
func secretPath(p string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(p,
		func(r rune) bool { return strings.ContainsRune("./@+~[]", r) }), secretKey)
}

// secretInText finds text that looks like a well-known kind of key, or a URL
// with a password, under a key that does not say so.
func secretInText(s string) bool {
	return secretTexts.MatchString(s) || urlPassword.MatchString(s)
}

// isPlaceholder knows values that stand for "no key", such as the EMPTY that
// FastChat's users write.
func isPlaceholder(s string) bool {
	return slices.Contains([]string{"", "EMPTY", "none", "None", "null", missingMark}, s)
}

// SecretVariables are the values of environment variables, NAME=value, whose
// names say that they are secret. The path of a file is none.
func SecretVariables(environ []string) []string {
	var out []string
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if secretEnv.MatchString(name) && !isPlaceholder(value) && !filepath.IsAbs(value) {
			out = append(out, value)
		}
	}
	return out
}

// secretSet collects the values that must not be shown.
type secretSet map[string]bool

func (s secretSet) add(value string) {
	if !isPlaceholder(value) {
		s[value] = true
	}
}

// list returns the values, longest first, so that replacing one never leaves a
// part of another.
func (s secretSet) list() []string {
	return slices.SortedFunc(maps.Keys(s), func(a, b string) int {
		return cmp.Or(len(b)-len(a), strings.Compare(a, b))
	})
}

// scrub replaces every secret in s.
func (s secretSet) scrub(text string) string {
	for _, v := range s.list() {
		if len(v) >= secretBytesMin {
			text = strings.ReplaceAll(text, v, redactedMark)
		}
	}
	return text
}

// collect adds the secrets found at and below n. inSecret says that an
// enclosing key names a secret.
func (s secretSet) collect(n *node, inSecret bool) {
	inSecret = inSecret || n.secret || (n.parent != nil && n.parent.kind == kindMap &&
		secretKey(n.key))
	switch n.kind {
	case kindMap, kindList:
		n.children(func(c *node) { s.collect(c, inSecret) })
	case kindString:
		if inSecret && !n.isInterpolation() {
			s.add(n.text)
		}
		for _, span := range secretSpans(n.text, storedPair) {
			if value := n.text[span[0]:span[1]]; !strings.Contains(value, "${") {
				s.add(value)
			}
		}
		for _, m := range urlPassword.FindAllStringSubmatch(n.text, -1) {
			if !strings.Contains(m[1], "${") {
				s.add(m[1])
			}
		}
		for _, m := range secretTexts.FindAllString(n.text, -1) {
			s.add(m)
		}
	case kindInt, kindFloat:
		if inSecret {
			s.add(n.text)
		}
	}
}

// redact returns a copy of a tree with its secrets replaced.
func (s secretSet) redact(n *node, inSecret bool) *node {
	inSecret = inSecret || (n.parent != nil && n.parent.kind == kindMap && secretKey(n.key))
	if !n.isContainer() && n.kind != kindNull {
		if shown, changed := s.redactScalar(n, inSecret); changed {
			return newString(shown, n.origin)
		}
	}
	return n.mapped(func(child *node) *node { return s.redact(child, inSecret) })
}

var pureEnv = regexp.MustCompile(`^\$\{oc\.env:[A-Za-z_][A-Za-z0-9_]*\}$`)

// redactScalar returns what to show for a scalar instead of its value.
func (s secretSet) redactScalar(n *node, inSecret bool) (string, bool) {
	text := n.text
	if n.kind == kindBool || (isPlaceholder(text) && n.kind == kindString) {
		return "", false
	}
	if inSecret {
		if n.kind == kindString && pureEnv.MatchString(text) {
			return "", false // names where the secret comes from, not the secret
		}
		return redactedMark, true
	}
	scrubbed := s.scrub(text)
	if !strings.Contains(text, "${") { // which names where a secret comes from
		scrubbed = hidePairs(scrubbed, storedPair)
	}
	if scrubbed != text {
		return scrubbed, true
	}
	if n.secret {
		return redactedMark, true
	}
	return "", false
}
