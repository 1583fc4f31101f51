package session

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/session/redact"
)

// A secret in the task itself reaches no model, file or event, also not by way
// of a summary.
func TestSecretOfTheTaskIsSeenByNobody(t *testing.T) {
	secret := made("ghp_", random36)
	r := newRig(t, newModelOf(t, 2000, true,
		" I write", " writer", " a.txt\n", strings.Repeat("words and words ", 60)+"\n```\n",
		" It is done", " answer", " done",
	), func(o *Options) {
		o.SessionsDir, o.Stream, o.Limits.FieldTokensMax, o.Limits.NoteTokensMax = t.TempDir(), true, 300, 20
		o.Env.Metadata = map[string]string{"pin": "  hunter2secret\n", "block": "first line of it\nsecond line of it\n"}
	})
	res, err := r.Run(context.Background(), "Store "+secret+" and hunter2secret, and 'second line of it', in a.txt")
	require.NoError(t, err)
	assert.NotEmpty(t, res.Stop)
	require.NoError(t, r.talk.compact(t.Context(), 10))
	for _, e := range r.talk.entries {
		for _, text := range []string{secret, "hunter2secret", "second line of it"} {
			assert.NotContains(t, e.Text+e.Digest, text)
		}
	}
	for i := range r.model.requests {
		for _, text := range []string{secret, "hunter2secret", "second line of it"} {
			assert.NotContains(t, prompt(&r.model.requests[i])+r.model.requests[i].Prefill, text)
		}
	}
	assert.NotContains(t, r.talk.task, secret)
}

// Names of files are options, which a service reads, too.
func TestSecretsInNamesOfFilesAreNoOptions(t *testing.T) {
	s := redact.New(map[string]string{"token": "hunter2secret"})
	assert.Equal(t, []string{"a.txt", "[secret].txt", "[secret].txt (2)"}, s.Distinct([]string{"a.txt", "hunter2secret.txt", "hunter2secret.txt"}))
	names := []string{" b.txt", " hunter2secret.txt"}
	r := newRig(t, newModel(t, true, " I read", " reader", " [secret].txt", " It is done", " answer", " done"), func(o *Options) {
		o.Env.Metadata = map[string]string{"token": "hunter2secret"}
	})
	for _, name := range names {
		r.write(t, strings.TrimSpace(name), "content of"+name)
	}
	_, err := r.Run(context.Background(), "Read it")
	require.NoError(t, err)
	assert.Contains(t, r.lastUser(-1), "content of [secret].txt", "the file itself was read")
}
