package stock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

	"agent/command"
	"agent/internal/bounded"
	"agent/internal/legible"
)

// Bounds of fetching one page; its size is that of files.
const (
	fetchWall        = 30 * time.Second
	fetchRedirects   = 5
	fetchHeaderBytes = 64 << 10
	addressBytesMax  = 2000
)

// webPorts are those on which public web servers listen. Others are those of
// services that could be made to do something by what looks like a request.
var webPorts = []uint16{80, 443, 8000, 8080, 8443}

// isWebAddress reports a name that is fetched from the web instead of read from
// the work dir.
func isWebAddress(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	return strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://")
}

// errHost is a host that commands may not reach.
var errHost = errors.New("this host is not among those that may be reached")

// fetch reads a page of the web.
func (r *reading) fetch(name string) (*source, *command.Result, error) {
	name = strings.TrimSpace(name)
	if !r.env.Web.Allow {
		return nil, failed("web_off", clip(name)), nil
	}
	u, err := checkAddress(name, r.env.Web)
	if err != nil {
		return nil, failed("not_fetched", map[string]any{"Name": clip(name), "Why": err.Error()}), nil
	}
	ctx, cancel := context.WithTimeout(r.ctx,
		min(fetchWall, time.Duration(r.limits.TimeoutMS)*time.Millisecond))
	defer cancel()
	src, err := get(ctx, newWebClient(r.env.Web), u, r.limits.FileBytes)
	switch {
	case r.ctx.Err() != nil:
		return nil, nil, r.ctx.Err()
	case err != nil:
		return nil, failed("not_fetched", map[string]any{"Name": clip(name), "Why": fetchReason(err)}),
			nil
	}
	return src, nil, nil
}

// checkAddress parses an address and checks that it may be fetched.
func checkAddress(name string, web command.Web) (*url.URL, error) {
	if len(name) > addressBytesMax {
		return nil, fmt.Errorf("it is longer than %d bytes", addressBytesMax)
	}
	u, err := url.Parse(name)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("it is no address of a page")
	}
	return u, checkHop(u, web)
}

// checkHop checks an address, and each one that it redirects to.
func checkHop(u *url.URL, web command.Web) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("only http and https are fetched")
	case u.User != nil:
		return errors.New("an address with a user name is not fetched")
	case !web.Allows(u.Hostname()):
		return errHost
	}
	return nil
}

// elsewhereError is a redirect to another service. The approval covered only the
// address in the call, so the model has to ask for the other one in a call of its
// own.
type elsewhereError struct{ what, address string }

func (e *elsewhereError) Error() string {
	if e.address == "" {
		return fmt.Sprintf("it redirects to another %s, by an address of more than %d bytes", e.what,
			addressBytesMax)
	}
	return "it redirects to " + e.address + " on another " + e.what +
		"; if that is wanted, read that address"
}

// checkSameService refuses a redirect to another host or port than the one in the
// call. A redirect from http to https on the default ports is allowed.
func checkSameService(asked, next *url.URL) error {
	from, to := portOf(asked), portOf(next)
	sameHost := strings.EqualFold(asked.Hostname(), next.Hostname())
	if sameHost && (from == to || from == "80" && to == "443" && next.Scheme == "https") {
		return nil
	}
	e := &elsewhereError{what: "port", address: legible.OneLine(next.String())}
	if !sameHost {
		e.what = "host"
	}
	if len(e.address) > addressBytesMax {
		e.address = ""
	}
	return e
}

func portOf(u *url.URL) string {
	if u.Scheme == "https" {
		return cmp.Or(u.Port(), "443")
	}
	return cmp.Or(u.Port(), "80")
}

// newWebClient makes a client that reaches only what web allows. It checks the
// address that is dialled, so no name and no redirect leads elsewhere. It uses no
// proxy, cookies or kept connections.
func newWebClient(web command.Web) *http.Client {
	guardian := ssrf.New(ssrf.WithPorts(webPorts...))
	dialer := &net.Dialer{Timeout: 10 * time.Second,
		Control: func(network, address string, conn syscall.RawConn) error {
			if isPrivate(address, web.Private) {
				return nil
			}
			return guardian.Safe(network, address, conn)
		}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: fetchHeaderBytes,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > fetchRedirects {
				return fmt.Errorf("it redirects more than %d times", fetchRedirects)
			}
			if err := checkHop(req.URL, web); err != nil {
				return err
			}
			return checkSameService(via[0].URL, req.URL)
		},
	}
}

// isPrivate reports an address that is allowed although it is not public.
func isPrivate(address string, private []netip.Prefix) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && slices.ContainsFunc(private,
		func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap()) })
}

// get fetches one page of at most max bytes.
func get(ctx context.Context, client *http.Client, u *url.URL, max int64) (*source, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "agent")
	req.Header.Set("Accept", "text/html, text/*;q=0.9, application/pdf;q=0.8, */*;q=0.5")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its server answers %d %s", resp.StatusCode,
			http.StatusText(resp.StatusCode))
	}
	data, err := bounded.Read(resp.Body, max)
	if err != nil {
		return nil, err
	}
	address := resp.Request.URL.String()
	return &source{name: address, size: int64(len(data)), data: data,
		contentType: resp.Header.Get("Content-Type"), address: address}, nil
}

// fetchReason is the error without the address, which the message already has.
func fetchReason(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	var elsewhere *elsewhereError
	switch {
	case errors.As(err, &elsewhere):
		return elsewhere.Error() // its address is of use only as a whole
	case errors.Is(err, ssrf.ErrProhibitedIP):
		return "it leads into a private network"
	case errors.Is(err, ssrf.ErrProhibitedPort):
		return "public servers are only reached on the usual ports"
	case errors.Is(err, context.DeadlineExceeded):
		return "it takes too long"
	}
	return clip(err.Error())
}
