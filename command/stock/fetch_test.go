package stock

import (
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/command/document/documenttest"
)

// webServer serves what the tests fetch, and counts requests.
func webServer(t *testing.T, requests *int) *httptest.Server {
	mux := http.NewServeMux()
	serve := func(path, contentType, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			*requests++
			w.Header().Set("Content-Type", contentType)
			fmt.Fprint(w, body)
		})
	}
	serve("/page", "text/html; charset=iso-8859-1", "<title>Caf\xe9</title><p>A <a href='next'>link</a>")
	serve("/fragment", "text/html", "just <b>words</b>")
	serve("/plain", "text/plain", "a < b\n")
	serve("/pdf", "application/octet-stream", string(documenttest.PDF("of the web")))
	serve("/large", "text/plain", strings.Repeat("x", 5000))
	serve("/binary", "image/png", "\x89PNG\x00\x00")
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for range 1000 {
			if _, err := z.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/out", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	mux.HandleFunc("/far", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://example.org/"+strings.Repeat("a", addressBytesMax), http.StatusFound)
	})
	mux.HandleFunc("/circle", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/circle?x="+r.URL.Query().Get("x")+"x", http.StatusFound)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func TestFetch(t *testing.T) {
	needsChild(t)
	requests := 0
	s := webServer(t, &requests)
	env := workDir(t, nil)
	env.Limits.FileBytes = 4000
	env.Web = command.Web{Allow: true, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	for _, tt := range []struct{ path, want string }{
		{"/page", "/page (1 line, 47 bytes), HTML, \"Café\":\nA [link](" + s.URL + "/next)"},
		{"/fragment", "just **words**"},
		{"/plain", "/plain (1 line, 6 bytes):\na < b"},
		{"/pdf", "[page 1 of 1]\nof the web"},
		{"/out?to=/plain", s.URL + "/plain (1 line, 6 bytes):\na < b"},
		{"/large", "/large was not fetched: it has more than 4000 bytes."},
		{"/bomb", "/bomb was not fetched: it has more than 4000 bytes."},
		{"/binary", "is no text file (6 bytes"},
		{"/missing", "/missing was not fetched: its server answers 404 Not Found."},
		{"/circle", "/circle was not fetched: it redirects more than 5 times."},
		{"/out?to=file:///etc/passwd", "was not fetched: only http and https are fetched."},
		{"/out?to=http://a:b@example.org", "was not fetched: an address with a user name is not fetched."},
		{"/out?to=http://10.0.0.1/", "was not fetched: it redirects to http://10.0.0.1/ on another host"},
	} {
		r := runCommand(t, Reader(), env, map[string]any{"url": s.URL + tt.path})
		assert.Contains(t, r.Text, tt.want, tt.path)
		assert.Equal(t, strings.Contains(r.Text, "not fetched") || strings.Contains(r.Text, "no text file"), r.Failed)
	}
}

// A redirect leads to no other host than the one that the call names, and that
// was allowed; the new address is told, for a call of its own.
func TestFetchStaysOnItsHost(t *testing.T) {
	needsChild(t)
	requests := 0
	s := webServer(t, &requests)
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	env := workDir(t, nil)
	env.Web = command.Web{Allow: true, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	long := "http://example.org/" + strings.Repeat("a", 100)
	for _, tt := range []struct{ to, why string }{
		{"http://localhost:" + port + "/plain", "http://localhost:" + port + "/plain on another host; if that is wanted, read that address."},
		{"http://www.127.0.0.1:" + port + "/plain", "http://www.127.0.0.1:" + port + "/plain on another host"},
		{"http://127.0.0.2:" + port + "/plain", "http://127.0.0.2:" + port + "/plain on another host"},
		{"//example.org/x", "http://example.org/x on another host"},
		{"https://example.org/x", "https://example.org/x on another host"},
		{"http://169.254.169.254/latest/meta-data", "http://169.254.169.254/latest/meta-data on another host"},
		{long, long + " on another host"},
		{"http://example.org/" + strings.Repeat("a", addressBytesMax), "another host, by an address of more than 2000 bytes"},
		{"/out?to=" + url.QueryEscape("http://localhost:"+port+"/plain"), "http://localhost:" + port + "/plain on another host"},
	} {
		address := s.URL + "/out?to=" + url.QueryEscape(tt.to)
		if len(address) > addressBytesMax {
			address = s.URL + "/far"
		}
		r := runCommand(t, Reader(), env, map[string]any{"url": address})
		assert.True(t, r.Failed, tt.to)
		assert.Contains(t, r.Text, "was not fetched: it redirects to "+tt.why, tt.to)
	}
	elsewhere := webServer(t, &requests) // the same host, another service
	_, other, _ := strings.Cut(strings.TrimPrefix(elsewhere.URL, "http://"), ":")
	for _, to := range []string{"http://127.0.0.1:" + other + "/plain", "//127.0.0.1:" + other + "/plain", "http://127.0.0.1/plain", "https://127.0.0.1:" + port + "0/plain"} {
		r := runCommand(t, Reader(), env, map[string]any{"url": s.URL + "/out?to=" + url.QueryEscape(to)})
		assert.True(t, r.Failed, to)
		assert.Contains(t, r.Text, "on another port; if that is wanted, read that address.", to)
	}
	assert.Zero(t, requests, "nobody else was asked")

	r := runCommand(t, Reader(), env, map[string]any{"url": strings.Replace(s.URL, "127.0.0.1", "LocalHost", 1) + "/out?to=" + url.QueryEscape("http://localHOST:"+port+"/plain")})
	assert.Contains(t, r.Text, "a < b", "case makes no other host")
	assert.Equal(t, 1, requests)
}

// A redirect keeps the port, but for that of http to that of https.
func TestFetchStaysOnItsPort(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		same     bool
	}{
		{"http://example.org/a", "https://example.org/a", true},
		{"http://example.org:80/a", "https://example.org:443/a", true},
		{"http://example.org/a", "http://example.org:80/b", true},
		{"https://example.org/a", "https://EXAMPLE.org:443/b", true},
		{"http://example.org:8080/a", "http://example.org:8080/b", true},
		{"http://example.org/a", "http://example.org:8080/a", false},
		{"http://example.org:8080/a", "https://example.org/a", false},
		{"https://example.org/a", "https://example.org:8443/a", false},
		{"https://example.org/a", "http://example.org/a", false},
		{"http://example.org/a", "http://example.org:443/a", false},
		{"http://example.org/a", "https://example.com/a", false},
	} {
		from, err := url.Parse(tt.from)
		require.NoError(t, err)
		to, err := url.Parse(tt.to)
		require.NoError(t, err)
		assert.Equal(t, tt.same, checkSameService(from, to) == nil, "%s to %s", tt.from, tt.to)
	}
}

// Nothing reaches what is not public unless it is configured, whatever way its
// address is written.
func TestFetchStaysPublic(t *testing.T) {
	requests := 0
	s := webServer(t, &requests)
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	env := workDir(t, nil)
	env.Web.Allow = true
	for _, address := range []string{
		s.URL + "/plain", "http://127.0.0.1", "http://localhost:" + port + "/plain", "http://127.1:" + port, "http://[::1]:" + port + "/", "http://0.0.0.0:" + port,
		"http://[::ffff:127.0.0.1]:" + port, "http://[::ffff:7f00:1]/", "http://10.1.2.3", "http://192.168.0.1", "http://172.16.0.1", "http://100.64.0.1",
		"http://169.254.169.254", "http://[fd00::1]", "http://[fe80::1]", "http://[64:ff9b::7f00:1]", "http://2130706433/", "http://0x7f.1/", "http://224.0.0.1", "http://255.255.255.255",
	} {
		r := runCommand(t, Reader(), env, map[string]any{"url": address})
		assert.True(t, r.Failed, address)
		assert.Contains(t, r.Text, "was not fetched: ", address)
	}
	assert.Zero(t, requests)
}

func TestFetchIsOffAndLimited(t *testing.T) {
	requests := 0
	s := webServer(t, &requests)
	env := workDir(t, nil)
	r := runCommand(t, Reader(), env, map[string]any{"url": s.URL + "/plain"})
	assert.Contains(t, r.Text, "pages of the web can't be read in this run.")
	env.Web = command.Web{Allow: true, Hosts: []string{"Example.org"}, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	for address, why := range map[string]string{
		s.URL + "/plain":                      "this host is not among those that may be reached",
		"http://notexample.org/":              "this host is not among those that may be reached",
		"http://user@example.org/":            "an address with a user name is not fetched",
		"http:///nohost":                      "it is no address of a page",
		"http://" + strings.Repeat("a", 3000): "it is longer than 2000 bytes",
		"http://exa mple.org":                 "it is no address of a page",
	} {
		r = runCommand(t, Reader(), env, map[string]any{"url": address})
		assert.Contains(t, r.Text, why, address)
	}
	assert.Zero(t, requests)
	assert.True(t, env.Web.Allows("www.EXAMPLE.org."))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	env.Web.Hosts = nil
	_, err := Reader().Run(ctx, env, &command.Call{Content: []map[string]any{{"url": s.URL + "/plain"}}})
	assert.ErrorIs(t, err, context.Canceled)
}
