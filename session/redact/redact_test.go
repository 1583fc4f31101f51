package redact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/session/event"
)

// made joins what would be found in this file as a secret if it stood in one
// piece.
func made(parts ...string) string { return strings.Join(parts, "") }

const (
	random36 = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
	base64ed = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
)

// secretForm is a text with a secret in it that is known by its form.
type secretForm struct {
	name, text, secret string
	told               bool // in a stream, which is told line by line
}

func secretForms() []secretForm {
	jwt := made("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", ".", "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4ifQ", ".", "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c")
	block := func(kind string) string {
		return "-----BEGIN " + kind + "PRIVATE KEY-----\n" + base64ed + "\n" + base64ed + "\n-----END " + kind + "PRIVATE KEY-----"
	}
	return []secretForm{
		{"aws key id", "id = " + made("AKIA", "IOSFODNN7EXAMPLE"), made("AKIA", "IOSFODNN7EXAMPLE"), false},
		{"aws secret", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", false},
		{"github", "git clone with " + made("ghp_", random36), made("ghp_", random36), false},
		{"github in a url", "https://" + made("ghs_", random36) + "@host/x", made("ghs_", random36), false},
		{"github fine-grained", made("github_pat_", "11ABCDEFG0", random36), random36, false},
		{"gitlab", made("glpat-", "xY1zA2bC3dE4fG5hI6jK"), "xY1zA2bC3dE4fG5hI6jK", false},
		{"openai", "key: " + made("sk-proj-", random36), random36, false},
		{"openai, old", made("sk-", random36), random36, false},
		{"anthropic", made("sk-ant-api03-", random36, "-", random36), random36, false},
		{"stripe", made("sk_live_", "51H8abcDEFghijKLMno"), "51H8abcDEFghijKLMno", false},
		{"slack", made("xoxb-", "123456789012-1234567890123-", random36), random36, false},
		{"slack hook", "https://hooks.slack.com/services/" + made("T00000000/", "B00000000/", "XXXXaaaa1111bbbb2222cccc"), "bbbb2222", false},
		{"google", made("AIza", "SyA1bC2dE3fG4hI5jK6lM7nO8pQ9rS0tU1v"), "SyA1bC2dE3fG4hI5jK6lM7nO8pQ9rS0tU1v", false},
		{"hugging face", made("hf_", "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh"), "AbCdEfGhIjKlMnOpQrStUvWxYz", false},
		{"npm", made("npm_", random36), random36, false},
		{"pypi", made("pypi-", "AgEIcHlwaS5vcmc", random36, random36), random36, false},
		{"sendgrid", made("SG.", "ngeVfQFYQlKU0ufo8x5d1A", ".", "TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr"), "TwL2iGABf9DHoTf", false},
		{"telegram", "bot " + made("1234567890:", "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"), "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0", false},
		{"jwt", "token " + jwt, jwt[40:80], false},
		{"rsa key", "x\n" + block("RSA ") + "\ny", base64ed, false},
		{"key", block(""), base64ed, false},
		{"key in JSON", strings.ReplaceAll(block("EC "), "\n", `\n`), base64ed, false},
		{"key that is cut", block("OPENSSH ")[:150], base64ed[:40], false},
		{"encrypted key that is cut", strings.Replace(block("RSA "), "\n", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,8B2F\n\n", 1)[:200], base64ed[:40], false},
		{"key with line numbers", strings.ReplaceAll(block("RSA "), "\n", "\n   7\t"), base64ed, false},
		{"key body alone", base64ed + "\n" + base64ed[:40], base64ed[:40], false},
		{"key body in JSON", `"key": "` + base64ed + `\n` + base64ed[:20] + `"`, base64ed, false},
		{"openssh body", made("b3BlbnNzaC1rZXktdjE", "AAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"), "AAAAABG5vbmUAAAAEbm9uZQ", false},
		{"ec body", "x: " + made("MHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY", "PuoAoGCCqGSM49"), "IIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY", false},
		{"ed25519 body", made("MC4CAQAwBQYDK2VwBCIEIA5xZ7ZrJQ8S0V", "aBcDeFgHiJkLmNoPqRsTuVwXyZ"), "A5xZ7ZrJQ8S0V", false},
		{"tail of a key", "  …\n" + base64ed[10:] + "\nabc+/==\n-----END EC PRIVATE KEY-----", base64ed[10:], true},
		{"vault", made("hvs.", "CAESIJ4rX2mYp0wq1ZtN8vLk"), "CAESIJ4rX2mYp0wq1ZtN8vLk", false},
		{"docker auth", `{"auths": {"r.example": {"auth": "` + base64.StdEncoding.EncodeToString([]byte("me:pw")) + `"}}}`, "bWU6cHc=", false},
		{"npmrc", "//registry.example/:_authToken=c2VjcmV0LXRva2Vu", "c2VjcmV0LXRva2Vu", false},
		{"netrc", "machine api.example\n  login me\n  password hunter2\n", "hunter2", true},
		{"netrc on one line", "default login me password hunter2", "hunter2", false},
		{"pgpass", "db.example:5432:app:me:hunter2\n", "hunter2", false},
		{"pgpass for all", `*:*:*:me:hun\:ter2`, `hun\:ter2`, false},
		{"account key", "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=" + random36 + "aB3dE5gH7jK9+/==;EndpointSuffix=x", random36, false},
		{"shared access key", "Endpoint=sb://x.example/;SharedAccessKeyName=Root;SharedAccessKey=" + random36 + "aB3dE5g=", random36, false},
		{"connection string", `conn = "Server=db;Database=app;User Id=me;Password=hunter2;"`, "hunter2", false},
		{"shared access signature", "https://x.example/c?sv=2022&sig=" + random36 + "%3D&se=2030", random36, false},
		{"signed address", "https://x.example/c?X-Amz-Signature=f3a9c1d27b604e58f3a9c1d27b604e58", "f3a9c1d27b604e58", false},
		{"bearer", "curl -H 'Authorization: Bearer " + "abc123def456ghi7'", "abc123def456ghi7", false},
		{"bearer in JSON", `{"Authorization": "Bearer q1w2e3r4t5y6"}`, "q1w2e3r4t5y6", false},
		{"basic", "authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("user:password")), "dXNlcjpwYXNzd29yZA", false},
		{"bearer alone", "use bearer " + random36, random36, false},
		{"url", "postgres://app:hunter2@db.example/app", "hunter2", false},
		{"env file", "PORT=80\nDB_PASSWORD=hunter2hunter\nDEBUG=1", "hunter2hunter", false},
		{"export", `export STRIPE_SECRET="a-b-c-d-e-f"`, "a-b-c-d-e-f", false},
		{"assignment", `"api_key": "f3a9c1d27b604e58"`, "f3a9c1d27b604e58", false},
		{"assignment in code", `client_secret = 'GhT67-kLp90aZx12Qw34'`, "kLp90aZx12Qw34", false},
	}
}

// fill puts text into every string that v holds.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(v.Elem(), text)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, text)
		v.SetMapIndex(reflect.ValueOf(text).Convert(v.Type().Key()), value)
	case reflect.Interface:
		v.Set(reflect.ValueOf(text))
	case reflect.String:
		v.SetString(text)
	}
}

// decodedPieces is what can be read out of the base64 in a text.
func decodedPieces(text string) string {
	var out strings.Builder
	for _, piece := range regexp.MustCompile(`[A-Za-z0-9+/_-]{4,}`).FindAllString(text, -1) {
		for from := range 4 {
			part := strings.NewReplacer("-", "+", "_", "/").Replace(piece[min(from, len(piece)):])
			plain, _ := base64.RawStdEncoding.DecodeString(part[:len(part)&^3])
			out.Write(plain)
			out.WriteByte('\n')
		}
	}
	return out.String()
}

func TestSecretsByForm(t *testing.T) {
	for _, tc := range secretForms() {
		t.Run(tc.name, func(t *testing.T) {
			require.Contains(t, tc.text, tc.secret)
			got := Scrubber{}.Text(tc.text)
			assert.NotContains(t, got, tc.secret)
			assert.Contains(t, got, "[secret: ")
			assert.Equal(t, got, Scrubber{}.Text(got), "hiding twice changes nothing")
		})
	}
}

// What is no secret stays: a model can't work with text that has holes.
func TestOrdinaryTextIsKept(t *testing.T) {
	for _, text := range []string{
		"",
		"commit 8162447f3a9c1d27b604e58aa93f02c4d5e6f708",
		"sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
		`"integrity": "sha512-` + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("hash", 16))) + `"`,
		"md5 5f4dcc3b5aa765d61d8327deb882cf99  file.bin",
		"id 123e4567-e89b-12d3-a456-426614174000",
		"https://example.com/path?page=2&sort=name#part",
		"https://example.com:8080/path@2",
		"ssh://git@github.com:22/owner/repo.git",
		"postgres://app:${DB_PASSWORD}@db/app and redis://:<password>@cache",
		"max_tokens=4096 EOS_TOKEN=<|im_end|> PAD_TOKEN=[PAD] MAX_TOKEN=1234567890",
		"SSH_PRIVATE_KEY=/home/user/.ssh/id_rsa\nAPI_KEY=${API_KEY}\nTOKEN=$TOKEN",
		"token = tokenizer.encode(text)\nkey = keys[index_of_first_key_in_list]",
		"password = getpass.getpass(prompt_for_password)",
		"the password: must be at least sixteen characters long",
		"api_key = os.environ['OPENAI_API_KEY']",
		"access_token_url: https://login.example/oauth2/token",
		"Bearer tokens are credentials; authorization: see section 4",
		"risk-assessment-of-long-kebab-case-names, task-1234567890",
		"sk-learn-compatible-estimators-and-transformers",
		"import sklearn; pip install hf_transfer npm_config_registry",
		"-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n-----END CERTIFICATE-----",
		"MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ", // a certificate's body
		"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu1SU1LfVLPHCozMxH2Mo", // a public key's body
		"main.go:12:5: undefined: x\nmain.py:1200:5:foo:bar\n10:30:45:12:00\nfe80::1:2:3:4",
		"machine learning: the password is at least sixteen characters long",
		`{"auth": "none", "author": "Ada"}, "auth": "dG9rZW4=", "auth": "header"`,
		"https://example.com/?key=value&token=next-page-of-results&sig=none",
		"for (i = 0; key = next; i++) {}; var a=1;token=tokens[i];signature=function(){}",
		"Server=db;Database=app;Integrated Security=true; Password=${DB_PASSWORD}",
		"MultipleWordsWithoutSpacesThatBeginWithAnMAndGoOnForLong",
		"A file that begins with -----BEGIN PRIVATE KEY----- holds a key.",
		"eyJ is how JSON begins in base64",
		"AKIAN is not a key, nor is ASIATIC",
		"SELECT primary_key, foreign_key FROM keys WHERE secret = false",
		"def f(secret_key: str, api_key: Optional[str] = None) -> None:",
		"x = 1.2345678901234567e-10; y = 0x1A2B3C4D5E6F7A8B",
		"data:image/png;base64," + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x89PNG\r\n", 20))),
	} {
		assert.Equal(t, text, Scrubber{}.Text(text))
	}
}

// Every secret of the configuration is hidden, in whatever text encodes it.
func TestConfiguredSecretsAreHidden(t *testing.T) {
	for _, secret := range []string{"wk-7Qm2Xv9/Lz+8Tt4", "hunter2", "correct horse battery", "Grüße-42!\"", "0123456789abcdef0123456789abcdef"} {
		for name, s := range map[string]Scrubber{
			"metadata": New(map[string]string{"token": secret}), "configuration": New(nil, "other", secret),
			"header": New(nil, "Bearer "+strings.ReplaceAll(secret, " ", "")),
		} {
			secret := secret
			if name == "header" {
				secret = strings.ReplaceAll(secret, " ", "")
			}
			spaced := func(sep string) string {
				return strings.TrimSuffix(regexp.MustCompile("..").ReplaceAllString(hex.EncodeToString([]byte(secret)), "$0"+sep), sep)
			}
			texts := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.ToLower(url.QueryEscape("é") + url.QueryEscape(secret)),
				strconv.Quote(secret), spaced(""), spaced(" "), spaced(":"), strings.ToUpper(spaced("")), `"\x` + spaced(`\x`) + `"`, "%" + spaced("%")}
			for i, text := range texts[:3] {
				assert.NotContains(t, s.Text("so "+text+" it is"), text, "%s %d", name, i)
			}
			for _, text := range texts[4:] {
				got := s.Text("so " + text + " it is")
				assert.Contains(t, got, redactedText, "%s: %s", name, text)
				assert.Less(t, len(got), len("so  it is")+len(redactedText)+8, "%s: %s", name, got)
			}
			for offset := range 7 {
				for after := range 4 {
					plain := strings.Repeat("ä", 40)[:offset] + secret + "\n\n\n\n"[:after]
					for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
						got := s.Text("x " + alphabet.EncodeToString([]byte(plain)) + " y")
						assert.Contains(t, got, redactedText, "%s: %q", name, plain)
						assert.NotContains(t, decodedPieces(got), secret[1:len(secret)-1], "%s: %q", name, plain)
					}
				}
			}
		}
	}
}

// base64 of a whole file breaks lines wherever they are full.
func TestEncodedSecretsAreHiddenAcrossLines(t *testing.T) {
	secret := "wk-7Qm2Xv9/Lz+8Tt4"
	s := New(nil, secret)
	for before := range 120 {
		plain := strings.Repeat("b", before) + secret + strings.Repeat("a", 50)
		encoded := base64.StdEncoding.EncodeToString([]byte(plain))
		for _, width := range []int{60, 64, 76} {
			for _, end := range []string{"\n", "\r\n", "\n    "} {
				text := "start\n" + regexp.MustCompile(fmt.Sprintf(".{%d}", width)).ReplaceAllString(encoded, "$0"+end) + "\nend"
				got := s.Text(text)
				assert.Contains(t, got, redactedText, "%d %d", before, width)
				assert.NotContains(t, decodedPieces(strings.NewReplacer("\r", "", "\n", "", " ", "").Replace(got)), secret[1:len(secret)-1])
				assert.True(t, strings.HasPrefix(got, "start\n") && strings.HasSuffix(got, "\nend"), got)
			}
		}
	}
}

// A word that stands in the place of a key hides nothing.
func TestPlaceholderKeysAreNoSecrets(t *testing.T) {
	for _, key := range []string{"ollama", "dummy", "none", "x", "sk-1", ""} {
		s := New(nil, key)
		text := "an ollama dummy has none, x, sk-1"
		assert.Equal(t, text, s.Text(text), key)
	}
}

// No field of any event passes a secret on, nor does one of a type that nobody
// listed.
func TestEventsHideSecretsInAllTheirFields(t *testing.T) {
	secret := made("ghp_", random36)
	for _, p := range append(event.All(), &newsOfTomorrow{}) {
		fill(reflect.ValueOf(p), secret)
		before, err := json.Marshal(p)
		require.NoError(t, err)
		require.Contains(t, string(before), secret)
		data, err := json.Marshal(Copy(Scrubber{}, p))
		require.NoError(t, err)
		assert.NotContains(t, string(data), secret, p.EventType())
		assert.Equal(t, strings.Count(string(before), secret), strings.Count(string(data), "[secret"), p.EventType())
		after, err := json.Marshal(p)
		require.NoError(t, err)
		assert.Equal(t, string(before), string(after), "the caller's data stays as it is")
	}
}

// newsOfTomorrow is an event that this package knows nothing of.
type newsOfTomorrow struct {
	Text   string
	Named  event.Stop
	Fixed  [2]string
	Raw    json.RawMessage `json:"-"`
	Any    any
	Nested []map[string]*struct {
		Deep []any
		Keys map[event.Stop]string
	}
	Embedded
}

// Embedded is part of an event.
type Embedded struct{ Inner string }

// EventType implements [Payload].
func (*newsOfTomorrow) EventType() string { return "news_of_tomorrow" }

// What holds no secret comes out as it went in, numbers and nothing too.
func TestScrubbingKeepsTheRest(t *testing.T) {
	p := &event.CallMade{Content: []map[string]any{{"n": json.Number("1.50"), "x": nil, "y": []any{true, 2.5, "text"}, "m": map[string]any{"k": "v"}}}}
	assert.Equal(t, p, Copy(Scrubber{}, p))
	assert.Equal(t, &event.Warning{}, Copy(Scrubber{}, &event.Warning{}))
	assert.Nil(t, Copy(Scrubber{}, &event.Commands{}).Changes)

	s := New(map[string]string{"pin": "4711"})
	hidden := Copy(s, &event.CallMade{Content: []map[string]any{{"n": json.Number("4711"), "m": json.Number("12")}}})
	data, err := json.Marshal(hidden)
	require.NoError(t, err)
	assert.Contains(t, string(data), `"content":[{"m":12,"n":"[secret]"}]`)
	assert.JSONEq(t, `"[secret]"`, string(Copy(s, &newsOfTomorrow{Raw: []byte(`"4711"`)}).Raw))
}

func FuzzScrub(f *testing.F) {
	f.Add("Authorization: Bearer abc123def456ghi7 -----BEGIN RSA PRIVATE KEY-----\nabc")
	f.Add("api_key='f3a9c1d27b604e58' postgres://a:b@c")
	s := New(map[string]string{"token": "s3cr3t-value"})
	f.Fuzz(func(t *testing.T, text string) {
		once := s.Text(text)
		if strings.Contains(once, "s3cr3t-value") {
			t.Fatalf("%q keeps a known secret", once)
		}
		_ = s.Text(once)
	})
}

func TestScrubber(t *testing.T) {
	s := New(map[string]string{"api_key": "abc", "lang": "en", "name": "Ada Lovelace", "token": "abcdef"})
	for in, want := range map[string]string{
		"key abc!":         "key [secret]!",
		"abcdef":           "[secret]", // the longer one goes whole
		"en passant":       "en passant",
		"Ada Lovelace":     "[secret]",
		"q=Ada+Lovelace":   "q=[secret]",
		"QWRhIExvdmVsYWNl": "[secret]",
	} {
		assert.Equal(t, want, s.Text(in))
	}
	deep := map[string]any{"a": []any{"abcdef", map[string]any{"abc": 1.0}}}
	assert.Equal(t, map[string]any{"a": []any{"[secret]", map[string]any{"[secret]": 1.0}}}, Copy(s, deep))
}
