package backend_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

// A redirect to another port, host or scheme gets neither the key nor what is
// said; one within the service is followed.
func TestRedirectsStayAtTheService(t *testing.T) {
	asked := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	t.Cleanup(elsewhere.Close)
	other := elsewhere.URL
	api := newAPIServer(t, nil)
	for name, to := range map[string]string{
		"port": other, "host": strings.Replace(other, "127.0.0.1", "localhost", 1), "scheme": strings.Replace(api.URL, "http:", "https:", 1),
	} {
		for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
			tries := 0
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				tries++
				http.Redirect(w, r, to+r.URL.Path, status)
			}))
			b, err := backend.NewOpenAI(backend.OpenAIConfig{APIKey: testKey, ServerIP: front.URL + "/v1", ModelID: "gpt-4o", ContextLength: 1000})
			require.NoError(t, err)
			_, _, err = backend.Collect(b.ChatCompletion(t.Context(), user("x")))
			assert.ErrorContains(t, err, "redirects to another address, "+to, name)
			assert.NotContains(t, err.Error(), testKey)
			assert.Equal(t, 1, tries, "it is asked once")
			require.NoError(t, b.Close())
			front.Close()
		}
	}
	assert.Zero(t, asked, "nobody else was asked")
}
