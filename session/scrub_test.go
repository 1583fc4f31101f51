package session

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// made joins what would be found in this file as a secret if it stood in one
// piece.
func made(parts ...string) string { return strings.Join(parts, "") }

const (
	random36 = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
	base64ed = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
)

// secretForm is a text with a secret in it that is known by its form.
type secretForm struct{ name, text, secret string }

func secretForms() []secretForm {
	jwt := made("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", ".", "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4ifQ", ".", "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c")
	block := func(kind string) string {
		return "-----BEGIN " + kind + "PRIVATE KEY-----\n" + base64ed + "\n" + base64ed + "\n-----END " + kind + "PRIVATE KEY-----"
	}
	return []secretForm{
		{"aws key id", "id = " + made("AKIA", "IOSFODNN7EXAMPLE"), made("AKIA", "IOSFODNN7EXAMPLE")},
		{"aws secret", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
		{"github", "git clone with " + made("ghp_", random36), made("ghp_", random36)},
		{"github in a url", "https://" + made("ghs_", random36) + "@host/x", made("ghs_", random36)},
		{"github fine-grained", made("github_pat_", "11ABCDEFG0", random36), random36},
		{"gitlab", made("glpat-", "xY1zA2bC3dE4fG5hI6jK"), "xY1zA2bC3dE4fG5hI6jK"},
		{"openai", "key: " + made("sk-proj-", random36), random36},
		{"openai, old", made("sk-", random36), random36},
		{"anthropic", made("sk-ant-api03-", random36, "-", random36), random36},
		{"stripe", made("sk_live_", "51H8abcDEFghijKLMno"), "51H8abcDEFghijKLMno"},
		{"slack", made("xoxb-", "123456789012-1234567890123-", random36), random36},
		{"slack hook", "https://hooks.slack.com/services/" + made("T00000000/", "B00000000/", "XXXXaaaa1111bbbb2222cccc"), "bbbb2222"},
		{"google", made("AIza", "SyA1bC2dE3fG4hI5jK6lM7nO8pQ9rS0tU1v"), "SyA1bC2dE3fG4hI5jK6lM7nO8pQ9rS0tU1v"},
		{"hugging face", made("hf_", "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh"), "AbCdEfGhIjKlMnOpQrStUvWxYz"},
		{"npm", made("npm_", random36), random36},
		{"pypi", made("pypi-", "AgEIcHlwaS5vcmc", random36, random36), random36},
		{"sendgrid", made("SG.", "ngeVfQFYQlKU0ufo8x5d1A", ".", "TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr"), "TwL2iGABf9DHoTf"},
		{"telegram", "bot " + made("1234567890:", "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"), "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"},
		{"jwt", "token " + jwt, jwt[40:80]},
		{"rsa key", "x\n" + block("RSA ") + "\ny", base64ed},
		{"key", block(""), base64ed},
		{"key in JSON", strings.ReplaceAll(block("EC "), "\n", `\n`), base64ed},
		{"key that is cut", block("OPENSSH ")[:150], base64ed[:40]},
		{"encrypted key that is cut", strings.Replace(block("RSA "), "\n", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,8B2F\n\n", 1)[:200], base64ed[:40]},
		{"key with line numbers", strings.ReplaceAll(block("RSA "), "\n", "\n   7\t"), base64ed},
		{"bearer", "curl -H 'Authorization: Bearer " + "abc123def456ghi7'", "abc123def456ghi7"},
		{"bearer in JSON", `{"Authorization": "Bearer q1w2e3r4t5y6"}`, "q1w2e3r4t5y6"},
		{"basic", "authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("user:password")), "dXNlcjpwYXNzd29yZA"},
		{"bearer alone", "use bearer " + random36, random36},
		{"url", "postgres://app:hunter2@db.example/app", "hunter2"},
		{"env file", "PORT=80\nDB_PASSWORD=hunter2hunter\nDEBUG=1", "hunter2hunter"},
		{"export", `export STRIPE_SECRET="a-b-c-d-e-f"`, "a-b-c-d-e-f"},
		{"assignment", `"api_key": "f3a9c1d27b604e58"`, "f3a9c1d27b604e58"},
		{"assignment in code", `client_secret = 'GhT67-kLp90aZx12Qw34'`, "kLp90aZx12Qw34"},
	}
}

func TestSecretsByForm(t *testing.T) {
	for _, tc := range secretForms() {
		t.Run(tc.name, func(t *testing.T) {
			require.Contains(t, tc.text, tc.secret)
			got := scrubber{}.text(tc.text)
			assert.NotContains(t, got, tc.secret)
			assert.Contains(t, got, "[secret: ")
			assert.Equal(t, got, scrubber{}.text(got), "hiding twice changes nothing")
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
		"-----BEGIN CERTIFICATE-----\n" + base64ed + "\n-----END CERTIFICATE-----",
		"A file that begins with -----BEGIN PRIVATE KEY----- holds a key.",
		"eyJ is how JSON begins in base64",
		"AKIAN is not a key, nor is ASIATIC",
		"SELECT primary_key, foreign_key FROM keys WHERE secret = false",
		"def f(secret_key: str, api_key: Optional[str] = None) -> None:",
		"x = 1.2345678901234567e-10; y = 0x1A2B3C4D5E6F7A8B",
		"data:image/png;base64," + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x89PNG\r\n", 20))),
	} {
		assert.Equal(t, text, scrubber{}.text(text))
	}
}

// A key in a file reaches neither the model nor the session file nor an event,
// though a command shows it.
func TestSecretOfAFileIsSeenByNobody(t *testing.T) {
	secret := made("ghp_", random36)
	r := newRig(t, newModel(t, true, readThenAnswer...), func(o *Options) { o.SessionsDir = t.TempDir() })
	r.write(t, "b.txt", "user: me\ntoken: "+secret+"\n")
	_, err := r.Run(context.Background(), "use "+secret)
	require.NoError(t, err)
	for i := range r.model.requests {
		assert.NotContains(t, prompt(&r.model.requests[i]), secret)
	}
	assert.Contains(t, r.lastUser(-1), "user: me\ntoken: [secret: github token]")
	kept, err := os.ReadFile(r.Path())
	require.NoError(t, err)
	assert.NotContains(t, string(kept), secret)
	run, err := Load(r.Path())
	require.NoError(t, err)
	var page strings.Builder
	require.NoError(t, ExportHTML(&page, run))
	assert.NotContains(t, page.String(), secret)
	for _, ev := range r.events {
		line, err := ev.MarshalJSON()
		require.NoError(t, err)
		assert.NotContains(t, string(line), secret)
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

// No field of any event passes a secret on, but for names that the program
// itself gives.
func TestEventsHideSecretsInAllTheirFields(t *testing.T) {
	secret := made("ghp_", random36)
	ours := []string{"id", "model", "workdir", "mode", "command", "by", "rule", "stop", "field", "method", "change", "file", "hint", "kept"}
	for _, p := range payloads() {
		fill(reflect.ValueOf(p), secret)
		data, err := json.Marshal(scrubber{}.payload(p))
		require.NoError(t, err)
		for _, name := range ours {
			data = regexp.MustCompile(`"`+name+`":"[^"]*"`).ReplaceAll(data, []byte(`"`+name+`":""`))
		}
		assert.NotContains(t, string(data), secret, p.EventType())
	}
}

// A placeholder is not written where a secret stood: that would destroy it.
func TestPlaceholderIsNotWritten(t *testing.T) {
	secret := made("ghp_", random36)
	r := newRig(t, newModel(t, true,
		" read", " reader", " b.txt",
		" change", " writer", " b.txt", "token: [secret: github token]\nmore: 1\n",
		" so", " answer", " it holds a token"), nil)
	r.write(t, "b.txt", "token: "+secret+"\n")
	_, err := r.Run(context.Background(), "add more: 1")
	require.NoError(t, err)
	data, err := os.ReadFile(r.dir + "/b.txt")
	require.NoError(t, err)
	assert.Equal(t, "token: "+secret+"\n", string(data))
	assert.Contains(t, r.lastUser(-1), "in place of a value that is hidden")
}

// Where nothing was hidden, the same words are ordinary text.
func TestPlaceholderIsTextWhereNothingIsHidden(t *testing.T) {
	r := newRig(t, newModel(t, true, " write", " writer", " doc.md", "shown as [secret: name]\n", " so", " answer", " ok"), nil)
	_, err := r.Run(context.Background(), "document it")
	require.NoError(t, err)
	assert.FileExists(t, r.dir+"/doc.md")
}

func FuzzScrub(f *testing.F) {
	f.Add("Authorization: Bearer abc123def456ghi7 -----BEGIN RSA PRIVATE KEY-----\nabc")
	f.Add("api_key='f3a9c1d27b604e58' postgres://a:b@c")
	s := newScrubber(map[string]string{"token": "s3cr3t-value"})
	f.Fuzz(func(t *testing.T, text string) {
		once := s.text(text)
		if strings.Contains(once, "s3cr3t-value") {
			t.Fatalf("%q keeps a known secret", once)
		}
		_ = s.text(once)
	})
}
