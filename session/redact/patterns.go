package redact

import (
	"encoding/asn1"
	"encoding/base64"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Secrets that nobody named are known by their form, as gitleaks knows them. RE2
// takes linear time, and no expression runs on a text that lacks its word.

// secretPattern is one form of a secret.
type secretPattern struct {
	name string
	// words are such that each match holds one of them, in any case.
	words []string
	// re matches the secret. With a group, that alone is hidden, so that what
	// it was stays readable.
	re *regexp.Regexp
	// check tells secrets from ordinary text of the same form; nil: all are.
	check func(secret string) bool
}

var secretPatterns = []secretPattern{
	{"private key", []string{"private key"}, regexp.MustCompile(
		`-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----`), nil},
	{"end of a private key", []string{"private key"}, regexp.MustCompile(
		`((?:[A-Za-z0-9+/]{16,}={0,2}(?:\s|\\[nr])+)+(?:[A-Za-z0-9+/]+={0,2}(?:\s|\\[nr])*)?)-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----`), nil},
	{"cut private key", []string{"private key"}, regexp.MustCompile(
		`-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:(?:\s|\\[nr]|[A-Za-z-]{1,40}: [^\n]{1,}\n)*[A-Za-z0-9+/=]{16,})+(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]+)?`), nil},
	{"body of a private key", []string{"mi", "mh", "mc", "b3blbnnzac"}, regexp.MustCompile(
		`(?:^|[^A-Za-z0-9+/])((?:M|b3BlbnNzaC1rZXkt)[A-Za-z0-9+/]{20,}={0,2}(?:(?:\r?\n|\\n)[ \t]{0,20}[A-Za-z0-9+/]{20,}={0,2})*(?:(?:\r?\n|\\n)[ \t]{0,20}[A-Za-z0-9+/]{1,19}={1,2})?)`), keyBody},
	{"aws key id", []string{"akia", "asia", "abia", "acca"},
		regexp.MustCompile(`\b((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b`), nil},
	{"aws secret key", []string{"aws"}, regexp.MustCompile(
		`(?i)aws[\w .-]{0,30}(?:key|secret|token)[\w .-]{0,20}["']?\s{0,4}(?:=>?|:=?)\s{0,4}["']?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)`), random},
	{"github token", []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"},
		regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{36,}`), nil},
	{"github token", []string{"github_pat_"}, regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{22,}`),
		nil},
	{"gitlab token", []string{"glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"},
		regexp.MustCompile(`\bgl(?:pat|dt|rt|cbt|ptt)-[A-Za-z0-9_-]{20,}`), nil},
	{"api key", []string{"sk-"}, regexp.MustCompile(`\bsk-(?:proj-|svcacct-|admin-|None-|or-v1-|lf-|ant-[a-z0-9]{2,10}-)?[A-Za-z0-9_-]{20,}`), mixed},
	{"stripe key", []string{"k_live_", "k_test_"},
		regexp.MustCompile(`\b[rsp]k_(?:live|test)_[A-Za-z0-9]{16,}`), nil},
	{"slack token", []string{"xox", "xapp-"},
		regexp.MustCompile(`\b(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}`), nil},
	{"webhook", []string{"hooks.slack.com", "discord"}, regexp.MustCompile(
		`https://(?:hooks\.slack\.com/(?:services|workflows)/|(?:\w{1,10}\.)?discord(?:app)?\.com/api/webhooks/)[A-Za-z0-9/_-]{20,}`), nil},
	{"google key", []string{"aiza"}, regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{35}`), nil},
	{"google token", []string{"ya29.", "gocspx-"},
		regexp.MustCompile(`\b(?:ya29\.|GOCSPX-)[A-Za-z0-9_-]{20,}`), nil},
	{"hugging face token", []string{"hf_"}, regexp.MustCompile(`\bhf_[A-Za-z0-9]{34,}`), nil},
	{"npm token", []string{"npm_"}, regexp.MustCompile(`\bnpm_[A-Za-z0-9]{36}\b`), nil},
	{"pypi token", []string{"pypi-"}, regexp.MustCompile(`\bpypi-[A-Za-z0-9_-]{50,}`), nil},
	{"sendgrid key", []string{"sg."}, regexp.MustCompile(`\bSG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,128}`), nil},
	{"telegram token", []string{":aa"}, regexp.MustCompile(`\b\d{8,10}:AA[A-Za-z0-9_-]{33}`), nil},
	{"digitalocean token", []string{"_v1_"}, regexp.MustCompile(`\bdo[opr]_v1_[a-f0-9]{64}\b`), nil},
	{"age key", []string{"age-secret-key-"}, regexp.MustCompile(`\bAGE-SECRET-KEY-1[0-9A-Z]{50,70}`),
		nil},
	{"jwt", []string{"eyj"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`), nil},
	{"vault token", []string{"hvs.", "hvb.", "hvr."},
		regexp.MustCompile(`\bhv[sbr]\.[A-Za-z0-9_-]{20,}`), mixed},
	{"docker login", []string{`"auth"`},
		regexp.MustCompile(`"auth"\s{0,4}:\s{0,4}"([A-Za-z0-9+/]{4,}={0,2})"`), userAndPassword},
	{"registry login", []string{"_auth", "_password"}, regexp.MustCompile(
		`(?m)(?:^|[:\s])_(?:auth|authToken|password)\s{0,4}=\s{0,4}["']?([A-Za-z0-9+/=_.-]{8,})`), notPlaceholder},
	{"password of a netrc", []string{"password"}, regexp.MustCompile(
		`\b(?:machine\s{1,8}\S{1,200}|default)(?:\s{1,8}(?:login|account)\s{1,8}\S{1,200}){0,2}\s{1,8}password\s{1,8}(\S+)`), notPlaceholder},
	{"password of a pgpass", []string{":"}, regexp.MustCompile(
		`(?m)^(?:[^\s:#]|\\:){1,200}:(?:\d{4,5}|\*):(?:\*|[A-Za-z_][\w.-]{0,62}):(?:\*|[A-Za-z_][\w.@-]{0,62}):((?:[^\s:\\]|\\.){3,})\r?$`), notPlaceholder},
	{"password of a connection", []string{"password", "pwd"}, regexp.MustCompile(
		`(?i)\b(?:server|data source|host|hostname|endpoint|address|database|user id|uid|user|username)\s?=[^;\n"']{1,200};[^\n"']{0,300}?\b(?:password|pwd)\s?=\s?([^;\s"']{3,})`), notPlaceholder},
	{"key of a connection", []string{"key=", "signature=", "secret=", "token="}, regexp.MustCompile(
		`(?i)(?:key|signature|secret|token)=([A-Za-z0-9+/%_=-]{20,}?)(?:[;"'\s]|$)`), mixed},
	{"key in a query", []string{"sig=", "signature=", "token=", "key=", "secret=", "passwd=",
		"password="}, regexp.MustCompile(
		`(?i)[?&][\w-]{0,30}(?:sig|signature|token|key|secret|passw(?:or)?d)=([^&\s"'#<>]{12,})`), mixed},
	{"authorization", []string{"authorization"}, regexp.MustCompile(
		`(?i)\b(?:proxy-)?authorization["']?\s{0,4}[:=]\s{0,4}["']?(?:bearer|basic|token|apikey)\s{1,4}([A-Za-z0-9._~+/=-]{6,})`), nil},
	{"bearer token", []string{"bearer"},
		regexp.MustCompile(`(?i)\bbearer\s{1,4}([A-Za-z0-9._~+/-]{16,}={0,2})`), mixed},
	{"password in a url", []string{"://"},
		regexp.MustCompile(`[a-z][a-z0-9+.-]{1,20}://[^\s/:@"'<>]{0,100}:([^\s/@"'<>]{3,})@[A-Za-z0-9\[]`), notPlaceholder},
	{"environment secret", []string{"key=", "token=", "secret=", "password=", "passwd="},
		regexp.MustCompile(
			`(?m)^[ \t]{0,8}(?:export[ \t]{1,4}|set[ \t]{1,4})?(?:[A-Z][A-Z0-9_]{0,60})?(?:(?:API|SECRET|ACCESS|PRIVATE|AUTH|ENCRYPTION|SIGNING)_KEY|TOKEN|SECRET|PASSWORD|PASSWD)=["']?([^\s"'#;]{6,})`), envSecret},
	{"assigned secret", []string{"key", "secret", "token", "passw"}, regexp.MustCompile(
		`(?i)(?:(?:api|access|secret|auth|private|client|encryption|signing)[_-]?(?:key|secret|token)|passw(?:or)?d)["']?\s{0,4}(?::=|=>|[:=])\s{0,4}["']?([A-Za-z0-9_+/=.-]{16,})`), mixed},
}

// HidePatterns puts a remark in place of each secret that is known by its form.
func HidePatterns(text string) string {
	if len(text) < secretLenMin {
		return text
	}
	lower := strings.ToLower(text)
	for _, p := range secretPatterns {
		if p.applies(lower) {
			text = p.hide(text)
		}
	}
	return text
}

func (p *secretPattern) applies(lower string) bool {
	for _, word := range p.words {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}

// hide replaces the matches of one form.
func (p *secretPattern) hide(text string) string {
	var out strings.Builder
	end := 0
	for _, at := range p.re.FindAllStringSubmatchIndex(text, -1) {
		from, to := at[0], at[1]
		if len(at) > 2 {
			from, to = at[2], at[3]
		}
		if p.check != nil && !p.check(text[from:to]) {
			continue
		}
		out.WriteString(text[end:from])
		out.WriteString("[secret: " + p.name + "]")
		end = to
	}
	if end == 0 {
		return text
	}
	return out.String() + text[end:]
}

// mixed reports a stretch of letters and digits as it occurs in random text and
// hardly in words, names and versions.
func mixed(secret string) bool {
	const runMin, eachMin = 12, 2
	run, digits, letters := 0, 0, 0
	for _, r := range secret + " " {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
			letters++
		default:
			run, digits, letters = 0, 0, 0
			continue
		}
		if run++; run >= runMin && digits >= eachMin && letters >= eachMin {
			return true
		}
	}
	return false
}

// random reports a text as varied as random letters and digits are.
func random(secret string) bool {
	const bitsMin = 3.6
	counts := map[rune]float64{}
	for _, r := range secret {
		counts[r]++
	}
	bits := 0.0
	for _, n := range counts {
		bits -= n / float64(len(secret)) * math.Log2(n/float64(len(secret)))
	}
	return bits >= bitsMin && strings.ContainsAny(secret, "0123456789") &&
		strings.ToLower(secret) != secret
}

// notPlaceholder leaves out what stands for a value that is set elsewhere, and
// what was hidden already.
func notPlaceholder(secret string) bool { return !strings.ContainsAny(secret[:1], "$<{[(%*") }

// envSecret leaves out of what is assigned to a name in capitals placeholders,
// paths and numbers.
func envSecret(secret string) bool {
	return notPlaceholder(secret) && !strings.ContainsAny(secret[:1], "/~.") &&
		strings.Trim(secret, "0123456789.") != ""
}

// keyBody reports base64 that begins as a private key does: as OpenSSH's own
// format, or in DER, where all kinds of private keys are a sequence that begins
// with a version. Certificates and public keys begin otherwise.
func keyBody(text string) bool {
	const headMax = 40
	text = strings.NewReplacer("\n", "", "\r", "", `\n`, "", " ", "", "\t", "").Replace(text)
	head, err := base64.RawStdEncoding.DecodeString(text[:min(len(text), headMax)&^3])
	if err != nil {
		return false
	}
	if strings.HasPrefix(string(head), "openssh-key-v1\x00") {
		return true
	}
	var key asn1.RawValue
	const sequence = 0x30
	if len(head) < 2 || head[0] != sequence {
		return false
	}
	body := head[2:]
	if long := head[1]; long > 0x80 { // so many bytes of length follow
		if int(long&0x7f) > 2 || len(body) < 2 {
			return false
		}
		body = body[long&0x7f:]
	}
	rest, err := asn1.Unmarshal(body, &key)
	return err == nil && len(rest) > 0 && key.Tag == asn1.TagInteger && len(key.Bytes) == 1 &&
		key.Bytes[0] <= 1
}

// userAndPassword reports base64 of "user:password".
func userAndPassword(text string) bool {
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	user, password, ok := strings.Cut(string(plain), ":")
	return ok && user != "" && password != "" && utf8.ValidString(password)
}
