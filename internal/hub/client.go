package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	jsonBytesMax = 64 << 20 // of one API answer
	pagesMax     = 1000     // of one listing
	redirectsMax = 10
	dialTimeout  = 10 * time.Second
	// noteWaitFrom is from when on a wait is worth a word.
	noteWaitFrom = 3 * time.Second
)

// client speaks the hub's HTTP protocol: listings, metadata, file content.
type client struct {
	endpoint string
	shown    string // endpoint without its password, for errors
	hasToken bool
	http     *retryablehttp.Client
}

func newClient(cfg Config) (*client, error) {
	base, err := url.Parse(cfg.Endpoint)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		shown := fmt.Sprintf(" %q", cfg.Endpoint)
		if strings.Contains(cfg.Endpoint, "@") {
			shown = "" // it may have a password, and where is unclear
		}
		return nil, fail("reach the hub", nil, "write HF_ENDPOINT like "+DefaultEndpoint,
			"HF_ENDPOINT%s is not a URL", shown)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() // honours HTTPS_PROXY and NO_PROXY
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout,
		KeepAlive: 30 * time.Second}).DialContext
	transport.ResponseHeaderTimeout = cfg.IdleTimeout
	retry := retryablehttp.NewClient()
	retry.Logger = nil
	retry.RetryMax = cfg.RetryMax
	retry.RetryWaitMin = cfg.RetryWait
	retry.RetryWaitMax = 16 * cfg.RetryWait
	retry.CheckRetry = shouldRetry
	retry.Backoff = func(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
		wait := backoff(least, most, attempt, resp)
		if wait >= noteWaitFrom {
			what := "the hub is busy"
			if resp == nil {
				what = "the hub can't be reached"
			}
			cfg.Note(fmt.Sprintf("%s; trying again in %s", what, wait.Round(time.Second)))
		}
		return wait
	}
	retry.ErrorHandler = retryablehttp.PassthroughErrorHandler
	retry.HTTPClient = &http.Client{
		Transport:     &authTransport{next: transport, origin: origin(base), token: cfg.Token},
		CheckRedirect: checkRedirect,
	}
	return &client{endpoint: cfg.Endpoint, shown: base.Redacted(), hasToken: cfg.Token != "",
		http: retry}, nil
}

// authTransport adds the token to requests that go to the hub itself. Adding
// it here, not to the request, keeps it from following a redirect: net/http
// would carry it to sub-domains and to other ports.
type authTransport struct {
	next   http.RoundTripper
	origin string
	token  string
}

func (t *authTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", "agent-hub/1")
	req.Header.Set("Accept-Encoding", "identity") // sizes and ranges are those of the file
	if t.token != "" && origin(req.URL) == t.origin {
		req.Header.Set("Authorization", "Bearer "+t.token)
	}
	return t.next.RoundTrip(req)
}

// origin is scheme, host and port, with the default port left out.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}

// checkRedirect stops a HEAD at the border of the hub, because the headers
// that name the file's hash and size are on the hub's own answer; a GET goes
// on to where the content is. A redirect from https to http is refused.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > redirectsMax {
		return fmt.Errorf("%w: more than %d", errRedirect, redirectsMax)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("%w: from https to %s://%s", errRedirect, req.URL.Scheme, req.URL.Host)
	}
	if req.Method == http.MethodHead && origin(req.URL) != origin(via[0].URL) {
		return http.ErrUseLastResponse
	}
	return nil
}

var errRedirect = errors.New("refused to follow a redirect")

// shouldRetry retries what may pass: broken connections, 408, 429 and 5xx. A
// name that can't be resolved (the resolver has tried several times itself), or
// a host that does not answer the dial at all, will not be there in a second
// either.
func shouldRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		var dns *net.DNSError
		var op *net.OpError
		hopeless := errors.Is(err, errRedirect) ||
			errors.As(err, &dns) ||
			errors.As(err, &op) && op.Op == "dial" && isUnreachable(err) ||
			isTimeout(err)
		if hopeless {
			return false, err
		}
		return retryablehttp.ErrorPropagatedRetryPolicy(ctx, resp, err)
	}
	if !retryableStatus(resp.StatusCode) {
		return false, nil
	}
	return retryAfter(resp) <= retryAfterMax, nil
}

// isTimeout reports a hub that says nothing: it was waited for long enough.
func isTimeout(err error) bool {
	var silent net.Error
	return errors.As(err, &silent) && silent.Timeout()
}

func retryableStatus(code int) bool {
	return code == http.StatusRequestTimeout || code == http.StatusTooManyRequests ||
		code >= 500 && code != http.StatusNotImplemented
}

// backoff waits as long as the server asks, else exponentially.
func backoff(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
	if wait := retryAfter(resp); wait > 0 {
		return wait
	}
	return retryablehttp.DefaultBackoff(least, most, attempt, nil)
}

// retryAfter reads Retry-After, in seconds or as a date.
func retryAfter(resp *http.Response) time.Duration {
	if resp == nil {
		return 0
	}
	v := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(v, 64); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 1e6) * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// do sends a request and returns an answer of class 2xx or 3xx; everything
// else is an error in words.
func (c *client) do(ctx context.Context, method, rawURL string, header http.Header,
) (*http.Response, error) {
	req, err := retryablehttp.NewRequestWithContext(ctx, method, rawURL, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectionError(ctx, err)
	}
	if resp.StatusCode >= 400 {
		resp.Body.Close()
		return resp, c.statusError(resp)
	}
	return resp, nil
}

func (c *client) connectionError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the URL would repeat, and a signed one is long
	}
	return &Error{Op: "reach " + c.shown, Err: err, Reason: ErrUnavailable,
		Advice: "check the network, HTTPS_PROXY and HF_ENDPOINT; models already here work without it"}
}

// statusError turns the hub's refusals into what to do about them.
func (c *client) statusError(resp *http.Response) error {
	what, repo := pathOf(resp.Request.URL), repoOf(pathOf(resp.Request.URL))
	code, message := resp.Header.Get("X-Error-Code"), clip(resp.Header.Get("X-Error-Message"))
	status := fmt.Sprintf("HTTP %d", resp.StatusCode)
	if message != "" {
		status += ": " + message
	}
	e := &Error{Op: "ask the hub for " + what, Err: errors.New(status), Reason: ErrUnavailable}
	if base, err := url.Parse(c.endpoint); err == nil && origin(base) != origin(resp.Request.URL) {
		e.Op = "fetch from " + resp.Request.URL.Host
		e.Advice = "the hub's download server refused; try again later, or check proxies"
		return e
	}
	switch {
	case code == "GatedRepo":
		e.Op, e.Reason, e.Advice = "pull "+repo, ErrAccess, c.gatedAdvice(repo)
		e.Err = fmt.Errorf("this repository is gated (%s)", status)
	case c.hasToken && resp.StatusCode == http.StatusUnauthorized:
		e.Op, e.Reason = "pull "+repo, ErrAccess
		e.Advice = "log in again (hf auth login), or set HF_TOKEN to a valid token; public repositories need none"
		e.Err = fmt.Errorf("the hub does not accept the token: it may have expired (%s)", status)
	case code == "RepoNotFound", resp.StatusCode == http.StatusUnauthorized:
		e.Op, e.Reason, e.Advice = "pull "+repo, ErrNotFound, noRepoAdvice()
		e.Err = fmt.Errorf("no such repository, or a private one (%s)", status)
	case code == "RevisionNotFound":
		e.Reason, e.Advice = ErrNotFound, "check the branch, tag or commit after @"
		e.Err = fmt.Errorf("no such revision (%s)", status)
	case code == "EntryNotFound", resp.StatusCode == http.StatusNotFound:
		e.Reason, e.Advice = ErrNotFound, "check the file's name and its letter case"
		e.Err = fmt.Errorf("no such file (%s)", status)
	case resp.StatusCode == http.StatusForbidden:
		e.Reason, e.Advice = ErrAccess, c.gatedAdvice(repo)
	case resp.StatusCode == http.StatusTooManyRequests:
		e.Advice = "too many requests; wait, or set HF_TOKEN for a higher limit"
		if wait := retryAfter(resp); wait > 0 {
			e.Advice = fmt.Sprintf("too many requests; the hub asks to wait %s", wait.Round(time.Second))
		}
	case resp.StatusCode < http.StatusInternalServerError:
		e.Reason, e.Advice = ErrAccess, "the hub refuses it to everybody; see "+c.shown+"/"+repo
	default:
		e.Advice = "the hub has trouble answering; try again later, or check HF_ENDPOINT and proxies"
	}
	return e
}

func (c *client) gatedAdvice(repo string) string {
	if c.hasToken {
		return "your token has no access to it; ask for it on the repository's page, with the account of HF_TOKEN"
	}
	return "accept its terms on the repository's page (" + c.shown + "/" + repo +
		"), then set HF_TOKEN or run `hf auth login`"
}

func noRepoAdvice() string {
	return "check the spelling of OWNER/REPO; for a private repository set HF_TOKEN or run `hf auth login`"
}

// pathOf names what a request was about, without query or signature.
func pathOf(u *url.URL) string {
	return strings.TrimPrefix(strings.TrimPrefix(u.Path, "/"), "api/models/")
}

// repoOf is the OWNER/REPO at the beginning of such a path.
func repoOf(path string) string {
	parts := strings.SplitN(path, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// clip makes a server's words safe to print.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return strings.TrimSpace(s)
}

// repoFile is a file of a repository.
type repoFile struct {
	path   string
	size   int64  // -1 when unknown
	sha256 string // of LFS files
}

// listing is a repository at one commit.
type listing struct {
	commit string
	files  []repoFile
}

func (l listing) paths() []string {
	out := make([]string, len(l.files))
	for i, f := range l.files {
		out[i] = f.path
	}
	return out
}

// list resolves a revision and lists its files.
func (c *client) list(ctx context.Context, repo, revision string) (listing, error) {
	var info struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
			Size *int64 `json:"size"`
			LFS  *lfs   `json:"lfs"`
		} `json:"siblings"`
	}
	u := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", c.endpoint, repo,
		url.PathEscape(revision))
	if _, err := c.getJSON(ctx, u, &info); err != nil {
		return listing{}, err
	}
	if !commitHash.MatchString(info.SHA) {
		return listing{}, c.notAHub("the answer names no commit")
	}
	out := listing{commit: info.SHA}
	for _, s := range info.Siblings {
		if s.Size == nil { // an older server: sizes come with the tree only
			return c.tree(ctx, repo, info.SHA)
		}
		out.add(s.Name, *s.Size, s.LFS)
	}
	if len(out.files) == 0 {
		return c.tree(ctx, repo, info.SHA)
	}
	return out, nil
}

type lfs struct {
	SHA256 string `json:"sha256"`
	OID    string `json:"oid"` // the tree's name for it
	Size   int64  `json:"size"`
}

// add takes a file whose name is safe; others can't be asked for anyway.
func (l *listing) add(name string, size int64, large *lfs) {
	if checkRepoPath(name) != nil {
		return
	}
	f := repoFile{path: name, size: size}
	if large != nil {
		f.size, f.sha256 = large.Size, cmp.Or(large.SHA256, large.OID)
	}
	l.files = append(l.files, f)
}

// tree lists a commit's files page by page.
func (c *client) tree(ctx context.Context, repo, commit string) (listing, error) {
	out := listing{commit: commit}
	next := fmt.Sprintf("%s/api/models/%s/tree/%s?recursive=true", c.endpoint, repo, commit)
	for page := 0; next != ""; page++ {
		if page == pagesMax {
			return listing{}, c.notAHub("the listing does not end")
		}
		var entries []struct {
			Type string `json:"type"`
			Path string `json:"path"`
			Size int64  `json:"size"`
			LFS  *lfs   `json:"lfs"`
		}
		header, err := c.getJSON(ctx, next, &entries)
		if err != nil {
			return listing{}, err
		}
		for _, e := range entries {
			if e.Type == "file" {
				out.add(e.Path, e.Size, e.LFS)
			}
		}
		if next, err = c.nextPage(header); err != nil {
			return listing{}, err
		}
	}
	return out, nil
}

var nextLink = regexp.MustCompile(`<([^>]+)>\s*;\s*rel="?next"?`)

// nextPage reads the Link header. Only the hub itself may be named there.
func (c *client) nextPage(h http.Header) (string, error) {
	m := nextLink.FindStringSubmatch(h.Get("Link"))
	if m == nil {
		return "", nil
	}
	base, _ := url.Parse(c.endpoint + "/")
	next, err := base.Parse(m[1])
	if err != nil {
		return "", c.notAHub("its Link header makes no sense")
	}
	// A mirror may hand out links of the hub it mirrors: stay with the mirror.
	next.Scheme, next.Host = base.Scheme, base.Host
	return next.String(), nil
}

func (c *client) getJSON(ctx context.Context, u string, into any) (http.Header, error) {
	resp, err := c.do(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, jsonBytesMax+1))
	if err != nil {
		return nil, c.connectionError(ctx, err)
	}
	if len(body) > jsonBytesMax {
		return nil, c.notAHub("the answer is too long")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, c.notAHub("the answer is not JSON")
	}
	return resp.Header, nil
}

func (c *client) notAHub(what string) error {
	return fail("ask "+c.shown, ErrUnavailable,
		"HF_ENDPOINT must point to a hub; a proxy or login page may stand in between", "%s", what)
}

// metadata is what the hub says of a file before it is fetched.
type metadata struct {
	commit string
	etag   string // of the content: names the blob in the cache
	size   int64  // -1 when unknown
}

var (
	commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)
	safeETag   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

// stat asks for a file's commit, hash and size.
func (c *client) stat(ctx context.Context, repo, revision, file string) (metadata, error) {
	resp, err := c.do(ctx, http.MethodHead, c.fileURL(repo, revision, file), nil)
	if err != nil {
		return metadata{}, err
	}
	resp.Body.Close()
	m := metadata{commit: resp.Header.Get("X-Repo-Commit"),
		etag: normalETag(resp.Header.Get("X-Linked-Etag")), size: -1}
	if m.etag == "" {
		m.etag = normalETag(resp.Header.Get("ETag"))
	}
	if n, err := strconv.ParseInt(resp.Header.Get("X-Linked-Size"), 10, 64); err == nil && n >= 0 {
		m.size = n
	} else if resp.StatusCode < 300 {
		m.size = resp.ContentLength
	}
	if !commitHash.MatchString(m.commit) || !safeETag.MatchString(m.etag) {
		return metadata{}, c.notAHub("the answer names no commit or no hash for " + file)
	}
	return m, nil
}

func (c *client) fileURL(repo, revision, file string) string {
	parts := strings.Split(file, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return fmt.Sprintf("%s/%s/resolve/%s/%s", c.endpoint, repo, url.PathEscape(revision),
		strings.Join(parts, "/"))
}

func normalETag(s string) string {
	return strings.Trim(strings.TrimPrefix(s, "W/"), `"`)
}
