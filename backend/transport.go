package backend

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// The rules of retrying, those of the official OpenAI clients.
const (
	retriesDefault   = 2
	retryDelayFirst  = 500 * time.Millisecond // then doubled for each try
	retryDelayMax    = 8 * time.Second
	retryJitter      = 0.25 // of the delay, taken away at random
	retryAfterMax    = 120 * time.Second
	idleDefault      = 2 * time.Minute
	firstByteDefault = 10 * time.Minute // a long prompt, or a model that thinks first
	connectDefault   = 30 * time.Second

	replyBytesMax = 64 << 20
	errorBytesMax = 1 << 20
)

// HTTPConfig says how a server is reached. It is part of the configuration of
// every remote backend. Zero fields mean the defaults.
type HTTPConfig struct {
	// TimeoutConnect bounds making a connection; default 30s.
	TimeoutConnect time.Duration `yaml:"timeout_connect"`
	// TimeoutFirstByte bounds the wait for an answer to begin; default 10m.
	TimeoutFirstByte time.Duration `yaml:"timeout_first_byte"`
	// TimeoutIdle bounds silence in the middle of an answer; default 2m. There is
	// no total limit: a long answer may take its time, and a context can end it.
	TimeoutIdle time.Duration `yaml:"timeout_idle"`
	// RetriesMax is how often a failed request is sent again; nil means 2.
	RetriesMax *int `yaml:"max_retries"`
	// Proxy is the URL of a proxy; empty means the usual environment variables.
	Proxy string `yaml:"proxy"`
	// CAFile is a PEM file of certificates to trust beside those of the system.
	CAFile string `yaml:"ca_file"`
}

// retryHooks replace time and chance in tests.
type retryHooks struct {
	now    func() time.Time
	jitter func() float64                    // 0 to 1
	wait   func(time.Duration) time.Duration // how long really to wait
}

func realHooks() retryHooks {
	return retryHooks{time.Now, mathrand.Float64, func(d time.Duration) time.Duration { return d }}
}

// newHTTPClient makes a client that retries, gives up on silence and bounds
// what it reads.
func newHTTPClient(cfg HTTPConfig, hooks retryHooks) (*http.Client, error) {
	base, err := newTransport(cfg)
	if err != nil {
		return nil, err
	}
	idle := &idleTransport{base, or(cfg.TimeoutFirstByte, firstByteDefault),
		or(cfg.TimeoutIdle, idleDefault)}
	retries := retriesDefault
	if cfg.RetriesMax != nil {
		retries = *cfg.RetriesMax
	}
	policy := retryPolicy{hooks}
	client := &retryablehttp.Client{
		HTTPClient:   &http.Client{Transport: idle, CheckRedirect: checkRedirect},
		RetryMax:     retries,
		CheckRetry:   policy.check,
		Backoff:      policy.backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	keyed := &keyedTransport{&retryablehttp.RoundTripper{Client: client}, base}
	return &http.Client{Transport: keyed, CheckRedirect: checkRedirect}, nil
}

const redirectsMax = 10

// elsewhereError is a redirect to another service than the one that is
// configured, which would be sent what was meant for that one alone: net/http
// carries the key to other ports, and what is said to any host.
type elsewhereError struct{ to string }

func (e *elsewhereError) Error() string {
	return "the server redirects to another address, " + e.to +
		"; if that is right, configure it in place of this one"
}

// checkRedirect follows within one scheme, host and port.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch asked := via[0].URL; {
	case len(via) > redirectsMax:
		return fmt.Errorf("it redirects more than %d times", redirectsMax)
	case req.URL.Scheme != asked.Scheme ||
		!strings.EqualFold(hostAndPort(req.URL), hostAndPort(asked)):
		return &elsewhereError{req.URL.Redacted()}
	}
	return nil
}

func hostAndPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func newTransport(cfg HTTPConfig) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: or(cfg.TimeoutConnect, connectDefault),
		KeepAlive: 30 * time.Second}).DialContext
	t.MaxIdleConnsPerHost = 16
	if cfg.Proxy != "" {
		u, err := url.Parse(cfg.Proxy)
		if err != nil || u.Host == "" {
			return nil, errors.New("proxy: not a URL; it looks like http://host:3128")
		}
		t.Proxy = http.ProxyURL(u)
	}
	if cfg.CAFile != "" {
		pool, err := trust(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return t, nil
}

// trust adds the certificates of a PEM file to those of the system.
func trust(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", file)
	}
	return pool, nil
}

// keyedTransport gives each request that writes one idempotency key, which all
// its retries share, so that a server can tell a retry from a second request.
type keyedTransport struct {
	http.RoundTripper
	pool *http.Transport
}

func (t *keyedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost && req.Header.Get("Idempotency-Key") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("Idempotency-Key", "agent-"+rand.Text())
	}
	return t.RoundTripper.RoundTrip(req)
}

// CloseIdleConnections lets http.Client close what it holds open.
func (t *keyedTransport) CloseIdleConnections() { t.pool.CloseIdleConnections() }

type retryPolicy struct{ retryHooks }

// check decides whether a request is sent again.
func (p retryPolicy) check(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if _, ok := errors.AsType[*elsewhereError](err); ok {
		return false, nil
	}
	if err != nil {
		// What can't succeed (a bad certificate, a URL of an unknown scheme) is
		// not tried again; the library knows these cases.
		again, _ := retryablehttp.DefaultRetryPolicy(ctx, nil, err)
		return again, nil
	}
	if _, tooLong := p.retryAfter(resp); tooLong {
		return false, nil
	}
	switch resp.Header.Get("X-Should-Retry") {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	switch code := resp.StatusCode; code {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true, nil
	default:
		return code >= http.StatusInternalServerError, nil
	}
}

// backoff is how long to wait before try number attempt+2.
func (p retryPolicy) backoff(_, _ time.Duration, attempt int, resp *http.Response) time.Duration {
	if resp != nil {
		if d, _ := p.retryAfter(resp); d >= 0 {
			return p.wait(d)
		}
	}
	d := min(float64(retryDelayFirst)*math.Pow(2, float64(attempt)), float64(retryDelayMax))
	return p.wait(time.Duration(d * (1 - retryJitter*p.jitter())))
}

// retryAfter is the wait that the server asks for, negative when it asks for
// none; tooLong when it is more than one should wait.
func (p retryPolicy) retryAfter(resp *http.Response) (d time.Duration, tooLong bool) {
	d = -1
	if ms, err := strconv.ParseFloat(resp.Header.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 {
		d = seconds(ms / 1000)
	} else if v := resp.Header.Get("Retry-After"); v != "" {
		if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 {
			d = seconds(s)
		} else if at, err := http.ParseTime(v); err == nil {
			d = max(0, at.Sub(p.now()))
		}
	}
	return d, d > retryAfterMax
}

// seconds is a duration, however many seconds there are.
func seconds(s float64) time.Duration {
	return time.Duration(min(s, float64(retryAfterMax/time.Second)+1) * float64(time.Second))
}

// errSilence ends a request whose server says nothing any more.
type errSilence struct {
	after time.Duration
	what  string
}

func (e *errSilence) Error() string {
	return fmt.Sprintf("the server sent nothing for %s while %s", e.after, e.what)
}

// Timeout makes it a timeout in the sense of package net.
func (e *errSilence) Timeout() bool { return true }

// Temporary is part of net.Error.
func (e *errSilence) Temporary() bool { return true }

// idleTransport ends a request that has been silent for too long, and bounds
// the size of its answer. It has no total time limit.
type idleTransport struct {
	base      http.RoundTripper
	firstByte time.Duration
	idle      time.Duration
}

func (t *idleTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(t.firstByte,
		func() { cancel(&errSilence{t.firstByte, "waiting for its answer"}) })
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		defer cancel(nil)
		return nil, silenceOr(ctx, err)
	}
	left := int64(replyBytesMax)
	if resp.StatusCode >= http.StatusBadRequest {
		left = errorBytesMax
	}
	b := &idleBody{body: resp.Body, ctx: ctx, cancel: cancel, idle: t.idle, left: left}
	b.timer = time.AfterFunc(t.idle, func() { cancel(&errSilence{t.idle, "answering"}) })
	b.timer.Stop() // it runs while something is being read
	resp.Body = b
	return resp, nil
}

// silenceOr is the silence that ended the context, else err.
func silenceOr(ctx context.Context, err error) error {
	if silence, ok := errors.AsType[*errSilence](context.Cause(ctx)); ok {
		return silence
	}
	return err
}

type idleBody struct {
	body   io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
	left   int64
}

func (b *idleBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the server's answer is too long")
	}
	b.timer.Reset(b.idle)
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.timer.Stop()
	if err != nil && err != io.EOF {
		err = silenceOr(b.ctx, err)
	}
	return n, err
}

func (b *idleBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.body.Close()
}
