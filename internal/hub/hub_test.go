package hub_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agent/internal/hub"
	"agent/internal/hub/hubtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const repo = "owner/Small-GGUF"

// content is n reproducible bytes that do not compress.
func content(seed uint64, n int) []byte {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	_, _ = rng.Read(b)
	copy(b, "GGUF")
	return b
}

// fixture is a hub with one repository, and a store on an empty disk.
type fixture struct {
	*hubtest.Server
	cfg   hub.Config
	notes []string
	data  []byte
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{Server: hubtest.New(), data: content(1, 1<<20)}
	t.Cleanup(f.Close)
	f.Add(repo, hubtest.Repo{Files: []hubtest.File{
		{Path: "README.md", Data: []byte("# small\n")},
		{Path: "tokenizer.json", Data: []byte(`{"version":"1.0"}`)},
		{Path: "small-Q4_K_M.gguf", Data: f.data, LFS: true},
		{Path: "small-Q8_0.gguf", Data: content(2, 1<<19), LFS: true},
		{Path: "mmproj-small-f16.gguf", Data: content(3, 1000), LFS: true},
	}})
	dir := t.TempDir()
	f.cfg = hub.Config{
		Endpoint: f.URL(), CacheDir: filepath.Join(dir, "hub"), ModelDirs: []string{filepath.Join(dir, "models")}, StateDir: filepath.Join(dir, "state"),
		RetryWait: time.Millisecond, IdleTimeout: time.Minute,
		Note: func(s string) { f.notes = append(f.notes, s) },
	}
	return f
}

func (f *fixture) store() *hub.Store { return hub.New(f.cfg) }

// partials lists what unfinished files lie on the disk.
func (f *fixture) partials(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, root := range append([]string{f.cfg.CacheDir}, f.cfg.ModelDirs...) {
		_ = filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(p, ".incomplete") {
				out = append(out, p)
			}
			return nil
		})
	}
	return out
}

// hint is the advice that the command line would print.
func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func TestPullThenResolveWithoutNetwork(t *testing.T) {
	f := setUp(t)
	m, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	got, err := os.ReadFile(m.Path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(f.data, got))
	assert.Equal(t, "Q4_K_M", m.Quant)
	assert.Equal(t, []string{"Q8_0"}, m.Others, "the projector is no model")
	assert.FileExists(t, m.Tokenizer)
	assert.Contains(t, strings.Join(f.notes, "\n"), "there are also Q8_0")
	assert.Empty(t, f.partials(t))

	f.Misbehave(hubtest.Faults{})
	f.cfg.Offline = true
	again, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	assert.Equal(t, m.Path, again.Path)
	assert.Empty(t, f.Requests(), "what is here needs no network")
}

func TestTokenStaysWithTheHub(t *testing.T) {
	f := setUp(t)
	f.cfg.Token = "hf_secret"
	_, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	seenCDN := false
	for _, r := range f.Requests() {
		if r.CDN {
			seenCDN = true
			assert.Empty(t, r.Authorization, "%s %s", r.Method, r.Path)
		} else {
			assert.Equal(t, "Bearer hf_secret", r.Authorization)
		}
	}
	assert.True(t, seenCDN)
}

// TestTransfer is the table of what may go wrong on the way. Each row must end
// with the right bytes.
func TestTransfer(t *testing.T) {
	tests := map[string]struct {
		faults  hubtest.Faults
		partial func(data []byte) []byte // what an earlier pull left
		check   func(t *testing.T, requests []hubtest.Request)
	}{
		"cut twice, resumed by range": {
			faults: hubtest.Faults{Cuts: 2, CutAfterBytes: 300_000},
			check: func(t *testing.T, requests []hubtest.Request) {
				ranges := 0
				for _, r := range requests {
					if r.CDN && r.Range != "" {
						ranges++
						assert.NotEmpty(t, r.IfRange)
					}
				}
				assert.Equal(t, 2, ranges)
			},
		},
		"cut more often than tries, but moving on": {faults: hubtest.Faults{Cuts: 12, CutAfterBytes: 70_000}},
		"cut and ranges ignored":                   {faults: hubtest.Faults{Cuts: 2, CutAfterBytes: 300_000, IgnoreRange: true}},
		"stalls, then resumed":                     {faults: hubtest.Faults{StallFor: 6 * time.Second}},
		"429 with retry-after":                     {faults: hubtest.Faults{Fails: 2, FailStatus: 429, FailHeader: http.Header{"Retry-After": {"0.01"}}}},
		"503 and 500":                              {faults: hubtest.Faults{Fails: 3, FailStatus: 503}},
		"408":                                      {faults: hubtest.Faults{Fails: 1, FailStatus: 408}},
		"no sizes, paged tree":                     {faults: hubtest.Faults{NoSizes: true, PageFiles: 2}},
		"length not announced":                     {faults: hubtest.Faults{HideLength: true}},
		"half was here": {
			partial: func(d []byte) []byte { return d[:len(d)/2] },
			check: func(t *testing.T, requests []hubtest.Request) {
				assert.Equal(t, "bytes=524288-", lastContent(requests).Range)
			},
		},
		"all was here": {
			partial: func(d []byte) []byte { return d },
			check: func(t *testing.T, requests []hubtest.Request) {
				assert.Empty(t, lastContent(requests).Path, "nothing was left to fetch")
			},
		},
		"half was here, damaged": {partial: func(d []byte) []byte { b := bytes.Clone(d[:len(d)/2]); b[7] ^= 1; return b }},
		"more was here":          {partial: func(d []byte) []byte { return append(bytes.Clone(d), "more"...) }},
		"more was here, length not announced": {
			faults:  hubtest.Faults{HideLength: true},
			partial: func(d []byte) []byte { return append(bytes.Clone(d), "more"...) },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			if tt.partial != nil {
				f.leavePartial(t, tt.partial(f.data))
			}
			f.Misbehave(tt.faults)
			if tt.faults.StallFor > 0 {
				f.cfg.IdleTimeout = tt.faults.StallFor / 3
			}
			m, err := f.store().Resolve(t.Context(), repo)
			require.NoError(t, err)
			got, err := os.ReadFile(m.Path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(f.data, got))
			assert.Empty(t, f.partials(t))
			if tt.check != nil {
				tt.check(t, f.Requests())
			}
		})
	}
}

func (f *fixture) leavePartial(t *testing.T, data []byte) {
	t.Helper()
	sum := sha256.Sum256(f.data)
	p := filepath.Join(f.cfg.CacheDir, "models--owner--Small-GGUF", "blobs", hex.EncodeToString(sum[:])+".incomplete")
	require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
	require.NoError(t, os.WriteFile(p, data, 0o644))
}

// lastContent is the last request to the second host; zero when there was none.
func lastContent(requests []hubtest.Request) hubtest.Request {
	var last hubtest.Request
	for _, r := range requests {
		if r.CDN {
			last = r
		}
	}
	return last
}

// TestRefusals is the table of what must fail, how it is told, and that
// nothing is left behind.
func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		ref    string
		faults hubtest.Faults
		change func(f *fixture)
		is     error
		text   string
		hint   string
	}{
		"wrong hash":            {ref: repo, faults: hubtest.Faults{Corrupt: true}, text: "has sha256", hint: "nothing was kept"},
		"no such repository":    {ref: "owner/None", is: hub.ErrNotFound, text: "no such repository", hint: "spelling"},
		"no such revision":      {ref: "hf://" + repo + "@v9", is: hub.ErrNotFound, text: "no such revision", hint: "after @"},
		"no such file":          {ref: "hf://" + repo + "/small-Q4_K_S.gguf", is: hub.ErrNotFound, text: "no small-Q4_K_S.gguf", hint: "did you mean small-Q4_K_M.gguf?"},
		"no such quantisation":  {ref: repo + ":Q4_K", is: hub.ErrNotFound, text: "there is no Q4_K", hint: "did you mean Q4_K_M?"},
		"gated, no token":       {ref: "owner/gated", is: hub.ErrAccess, text: "gated", hint: "accept its terms"},
		"gated, wrong token":    {ref: "owner/gated", change: func(f *fixture) { f.cfg.Token = "hf_wrong" }, is: hub.ErrAccess, text: "gated", hint: "your token has no access"},
		"safetensors only":      {ref: "owner/weights", is: hub.ErrNotFound, text: "no GGUF in this repository (its weights are .safetensors files)", hint: "owner/weights-GGUF"},
		"offline":               {ref: repo, change: func(f *fixture) { f.cfg.Offline = true }, is: hub.ErrOffline, text: "offline mode", hint: "agent models pull " + repo},
		"hub is down":           {ref: repo, change: func(f *fixture) { f.cfg.Endpoint = "http://127.0.0.1:1" }, is: hub.ErrUnavailable, text: "connection refused", hint: "check the network"},
		"host does not exist":   {ref: repo, change: func(f *fixture) { f.cfg.Endpoint = "http://no-such-host.invalid" }, is: hub.ErrUnavailable, hint: "check the network"},
		"always 500":            {ref: repo, faults: hubtest.Faults{Fails: 99, FailStatus: 500}, is: hub.ErrUnavailable, text: "HTTP 500", hint: "try again later"},
		"429 for an hour":       {ref: repo, faults: hubtest.Faults{Fails: 99, FailStatus: 429, FailHeader: http.Header{"Retry-After": {"3600"}}}, is: hub.ErrUnavailable, text: "HTTP 429", hint: "wait 1h0m0s"},
		"not a hub":             {ref: repo, faults: hubtest.Faults{Fails: 99, FailStatus: 200}, is: hub.ErrUnavailable, text: "not JSON", hint: "HF_ENDPOINT"},
		"endpoint is no URL":    {ref: repo, change: func(f *fixture) { f.cfg.Endpoint = "hub.example" }, text: "not a URL", hint: "https://"},
		"always cut, no motion": {ref: repo, faults: hubtest.Faults{Cuts: 99, CutAfterBytes: 0}, is: hub.ErrUnavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			f.Add("owner/gated", hubtest.Repo{Gated: true, Files: []hubtest.File{{Path: "m-Q4_0.gguf", Data: content(9, 5000), LFS: true}}})
			f.Add("owner/weights", hubtest.Repo{Files: []hubtest.File{{Path: "model.safetensors", Data: content(8, 5000), LFS: true}}})
			if tt.change != nil {
				tt.change(f)
			}
			f.Misbehave(tt.faults)
			_, err := f.store().Resolve(t.Context(), tt.ref)
			require.Error(t, err)
			if tt.is != nil {
				assert.ErrorIs(t, err, tt.is)
			}
			assert.Contains(t, err.Error(), tt.text)
			assert.Contains(t, hint(err), tt.hint)
			assert.Empty(t, f.partials(t))
		})
	}
}

func TestPasswordOfTheEndpointIsNeverShown(t *testing.T) {
	const secret = "hunter2"
	for _, endpoint := range []string{
		"http://user:" + secret + "@127.0.0.1:1", "http://user:" + secret + "@127.0.0.1:port", "ftp://user:" + secret + "@h", "user:" + secret + "@h",
	} {
		f := setUp(t)
		f.cfg.Endpoint = endpoint
		_, err := f.store().Resolve(t.Context(), repo)
		require.Error(t, err)
		assert.NotContains(t, err.Error()+hint(err), secret)
	}
	f := setUp(t)
	f.Add("owner/gated", hubtest.Repo{Gated: true, Files: []hubtest.File{{Path: "m-Q4_0.gguf", Data: content(9, 5000), LFS: true}}})
	f.cfg.Endpoint = strings.Replace(f.URL(), "//", "//user:"+secret+"@", 1)
	_, err := f.store().Resolve(t.Context(), "owner/gated")
	require.ErrorIs(t, err, hub.ErrAccess)
	assert.Contains(t, hint(err), "user:xxxxx@")
	f.Misbehave(hubtest.Faults{Fails: 99, FailStatus: 200})
	_, err = f.store().Resolve(t.Context(), repo)
	assert.ErrorContains(t, err, "ask http://user:xxxxx@")
}

func TestWrongHashNamesBothAndKeepsNothing(t *testing.T) {
	f := setUp(t)
	f.Misbehave(hubtest.Faults{Corrupt: true})
	_, err := f.store().Resolve(t.Context(), repo)
	var bad *hub.HashError
	require.ErrorAs(t, err, &bad)
	sum := sha256.Sum256(f.data)
	assert.Equal(t, hex.EncodeToString(sum[:]), bad.Want)
	assert.Len(t, bad.Got, 64)
	assert.Contains(t, err.Error(), bad.Want)
	assert.Contains(t, err.Error(), bad.Got)
	assert.Empty(t, f.partials(t))
}

func TestInterruptLeavesAPartialThatIsResumed(t *testing.T) {
	f := setUp(t)
	f.Misbehave(hubtest.Faults{SlowPerBlock: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	f.cfg.Progress = func(p hub.Progress) {
		if p.DoneBytes > 200_000 && !p.Finished {
			cancel()
		}
	}
	_, err := f.store().Resolve(ctx, repo)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, f.partials(t), 1)
	info, err := os.Stat(f.partials(t)[0])
	require.NoError(t, err)
	require.Greater(t, info.Size(), int64(200_000))

	f.Misbehave(hubtest.Faults{})
	f.cfg.Progress = nil
	m, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	assert.NotEmpty(t, lastContent(f.Requests()).Range)
	got, err := os.ReadFile(m.Path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(f.data, got))
}

func TestConcurrentPullsFetchOnce(t *testing.T) {
	f := setUp(t)
	f.cfg.Note = nil
	f.Misbehave(hubtest.Faults{SlowPerBlock: 5 * time.Millisecond})
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 8 {
		wg.Go(func() {
			if _, err := f.store().Resolve(t.Context(), repo); err != nil {
				failed.Add(1)
				t.Log(err)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, failed.Load())
	fetches := 0
	for _, r := range f.Requests() {
		if r.CDN && r.Method == http.MethodGet {
			fetches++
		}
	}
	assert.Equal(t, 1, fetches)
}

func TestConcurrentCatalogPullsFetchOnce(t *testing.T) {
	f := setUp(t)
	f.cfg.Note = nil
	f.cfg.Catalog = &hub.Catalog{Models: []hub.Entry{f.entry("tiny")}}
	f.Misbehave(hubtest.Faults{SlowPerBlock: 5 * time.Millisecond})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := f.store().Resolve(t.Context(), "tiny")
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	fetches := 0
	for _, r := range f.Requests() {
		if r.CDN && r.Method == http.MethodGet {
			fetches++
		}
	}
	assert.Equal(t, 1, fetches)
	entries, err := os.ReadDir(f.cfg.ModelDirs[0])
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	assert.Equal(t, []string{"tiny.gguf"}, names, "nothing else is left")
}

func TestSplitModel(t *testing.T) {
	f := setUp(t)
	f.Add("owner/big", hubtest.Repo{Files: []hubtest.File{
		{Path: "Q4_K_M/big-00001-of-00002.gguf", Data: content(5, 3000), LFS: true},
		{Path: "Q4_K_M/big-00002-of-00002.gguf", Data: content(6, 2000), LFS: true},
		{Path: "Q5_K_M/big-00001-of-00002.gguf", Data: content(7, 3000), LFS: true}, // its second part is missing
	}})
	m, err := f.store().Resolve(t.Context(), "owner/big")
	require.NoError(t, err)
	require.Len(t, m.Parts, 2)
	assert.Equal(t, int64(5000), m.Bytes)
	assert.Equal(t, "Q4_K_M", m.Quant)
	assert.Empty(t, m.Others)

	byPart, err := f.store().Resolve(t.Context(), "hf://owner/big/Q4_K_M/big-00002-of-00002.gguf")
	require.NoError(t, err)
	assert.Equal(t, m.Parts, byPart.Parts, "any part stands for all")

	require.NoError(t, os.Remove(m.Parts[1]))
	_, err = f.store().Resolve(t.Context(), m.Parts[0])
	assert.ErrorContains(t, err, "part 2 of 2 is missing")
}

func TestPullFollowsABranchThatMoved(t *testing.T) {
	f := setUp(t)
	first, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	moved := content(77, 4000)
	f.Add(repo, hubtest.Repo{Files: []hubtest.File{{Path: "small-Q4_K_M.gguf", Data: moved, LFS: true}}})
	same, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	assert.Equal(t, first.Revision, same.Revision, "resolve takes what is here")
	next, err := f.store().Pull(t.Context(), repo)
	require.NoError(t, err)
	assert.NotEqual(t, first.Revision, next.Revision)
	assert.Equal(t, int64(4000), next.Bytes)
	pinned, err := f.store().Locate(t.Context(), "hf://"+repo+"@"+first.Revision)
	require.NoError(t, err)
	assert.Equal(t, first.Path, pinned.Path)
}

func TestUnsafeNamesFromTheServer(t *testing.T) {
	f := setUp(t)
	f.Add("owner/evil", hubtest.Repo{Files: []hubtest.File{
		{Path: "../../../escape-Q4_K_M.gguf", Data: content(4, 1000), LFS: true},
		{Path: "/etc/abs-Q4_K_M.gguf", Data: content(4, 1000), LFS: true},
		{Path: "ok-Q2_K.gguf", Data: content(4, 1000), LFS: true},
	}})
	m, err := f.store().Resolve(t.Context(), "owner/evil")
	require.NoError(t, err)
	assert.Equal(t, "ok-Q2_K.gguf", filepath.Base(m.Path))
}

func TestNoSymlinks(t *testing.T) {
	f := setUp(t)
	f.cfg.NoSymlinks = true
	m, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	info, err := os.Lstat(m.Path)
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular())
	checks, err := f.store().Verify(t.Context(), repo)
	require.NoError(t, err)
	require.NotEmpty(t, checks)
	assert.NotEmpty(t, checks[0].Want, "the blob is known by identity")
}

// What comes with status 200 and is no model is named, is not kept, and nothing is fetched
// twice afterwards.
func TestPagesInsteadOfModels(t *testing.T) {
	for content, want := range map[string]string{
		"<!DOCTYPE html><html>log in</html>": "a web page",
		"\n<html lang=en>":                   "a web page",
		"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n": "Git LFS",
		`{"error":"gated"}`:            "JSON",
		strings.Repeat("\x00\x01", 99): "no GGUF file",
	} {
		f := setUp(t)
		f.Misbehave(hubtest.Faults{Instead: content})
		_, err := f.store().Resolve(t.Context(), repo+":Q4_K_M")
		require.ErrorContains(t, err, want)
		assert.Empty(t, f.partials(t))
		f.Misbehave(hubtest.Faults{})
		before := len(f.Requests())
		_, err = f.store().Resolve(t.Context(), repo+":Q4_K_M")
		require.NoError(t, err)
		fetched := 0
		for _, r := range f.Requests()[before:] {
			if r.CDN && strings.Contains(r.Path, "content") && r.Method == "GET" {
				fetched++
			}
		}
		assert.Equal(t, 1, fetched)

		bad := filepath.Join(t.TempDir(), "a.gguf")
		require.NoError(t, os.WriteFile(bad, []byte(content), 0o600))
		_, err = f.store().Verify(t.Context(), bad)
		assert.ErrorContains(t, err, want)
	}
}
