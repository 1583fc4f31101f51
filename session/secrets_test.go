package session

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// made joins what would be found in this file as a secret if it stood in one
// piece.
func made(parts ...string) string { return strings.Join(parts, "") }

const random36 = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"

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

// The keys of the configuration reach neither a prompt nor an event.
func TestConfiguredSecretIsSeenByNobody(t *testing.T) {
	secret := "wk-7Qm2Xv9/Lz+8Tt4"
	r := newRig(t, newModel(t, true, readThenAnswer...), func(o *Options) { o.Secrets = []string{secret} })
	r.write(t, "b.txt", base64.StdEncoding.EncodeToString([]byte("x"+secret+"yz"))+"\n"+hex.EncodeToString([]byte(secret))+"\n")
	_, err := r.Run(context.Background(), "use "+secret)
	require.NoError(t, err)
	for i := range r.model.requests {
		assert.NotContains(t, prompt(&r.model.requests[i]), secret)
		assert.NotContains(t, prompt(&r.model.requests[i]), hex.EncodeToString([]byte(secret)))
		assert.NotContains(t, decodedPieces(prompt(&r.model.requests[i])), secret[1:len(secret)-1])
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
