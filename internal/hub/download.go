package hub

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"encoding/hex"
)

// partialSuffix marks a file that is not whole yet; huggingface_hub uses the
// same name.
const partialSuffix = ".incomplete"

// target is a file to be had, whoever delivers it.
type target struct {
	name   string // for people
	final  string // where it goes
	size   int64  // -1 when unknown
	digest digest
}

func (t target) partialPath() string { return t.final + partialSuffix }

// filler appends the missing bytes to p. It returns when the content should be
// complete.
type filler func(ctx context.Context, p *partial, m *meter) error

// obtain fetches a target: fill a partial file, verify it, put it in place. An
// interrupt leaves the partial for the next time. A partial that was begun
// earlier and turns out wrong is fetched once more from the start.
func (s *Store) obtain(ctx context.Context, t target, fill filler) error {
	p, err := s.openPartial(ctx, t)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return writeFailure(t.name, t.partialPath(), err)
	}
	defer p.release()
	if t.size >= 0 && p.size > t.size {
		if err := p.reset(); err != nil {
			return writeFailure(t.name, p.path, err)
		}
	}
	resumed := p.size > 0
	for {
		if err := s.fillAndVerify(ctx, t, p, fill); err == nil {
			return p.commit(t)
		} else if bad := (*HashError)(nil); !errors.As(err, &bad) {
			return err
		} else if !resumed {
			return errors.Join(err, p.discard())
		}
		s.cfg.Note(t.name + ": what was fetched earlier is damaged; starting again")
		resumed = false
		if err := p.reset(); err != nil {
			return writeFailure(t.name, p.path, err)
		}
	}
}

func (s *Store) fillAndVerify(ctx context.Context, t target, p *partial, fill filler) error {
	if err := checkSpace(t.name, filepath.Dir(t.final), t.size-p.size); err != nil {
		return err
	}
	m := s.meter(t.name, PhaseDownload, p.size, t.size)
	if err := fill(ctx, p, m); err != nil {
		return err
	}
	m.finish()
	return p.verify(t)
}

// partial is a file that grows towards its final content, with the running
// SHA-256 of what is in it.
type partial struct {
	path  string
	file  *os.File
	size  int64
	sum   hash.Hash
	limit int64 // most bytes it may get; negative: no limit
}

// openPartial opens or creates a partial and hashes what it already holds.
func (s *Store) openPartial(ctx context.Context, t target) (*partial, error) {
	path := t.partialPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p := &partial{path: path, file: f, sum: digest{}.hasher(0), limit: -1}
	m := s.meter(t.name+" so far", PhaseVerify, 0, fileBytes(path))
	p.size, err = io.CopyBuffer(io.MultiWriter(p.sum, m), readerWithContext{ctx, f},
		make([]byte, copyBufferBytes))
	if err != nil {
		f.Close()
		return nil, err
	}
	if p.size > 0 {
		m.finish()
	}
	return p, nil
}

// diskError marks a failure of our own disk, as against the network's.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

var errTooLong = errors.New("more content than was announced")

func (p *partial) Write(b []byte) (int, error) {
	if p.limit >= 0 && p.size+int64(len(b)) > p.limit {
		return 0, errTooLong
	}
	n, err := p.file.Write(b)
	p.sum.Write(b[:n])
	p.size += int64(n)
	if err != nil {
		return n, &diskError{err}
	}
	return n, nil
}

// reset empties the partial.
func (p *partial) reset() error {
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	p.size = 0
	p.sum.Reset()
	return err
}

func (p *partial) Close() error { return p.file.Close() }

// release closes the file, and leaves none behind that holds nothing.
func (p *partial) release() {
	p.Close()
	if p.size == 0 {
		_ = os.Remove(p.path)
	}
}

// discard removes content that is wrong.
func (p *partial) discard() error {
	return errors.Join(p.Close(), os.Remove(p.path))
}

// verify compares with the promise.
func (p *partial) verify(t target) error {
	got := hex.EncodeToString(p.sum.Sum(nil))
	if t.digest.algorithm == algoGitSHA1 {
		h := t.digest.hasher(p.size)
		if _, err := io.Copy(h, io.NewSectionReader(p.file, 0, p.size)); err != nil {
			return &diskError{err}
		}
		got = hex.EncodeToString(h.Sum(nil))
	}
	wrongSize := t.size >= 0 && p.size != t.size
	if t.digest.hex != "" && got != t.digest.hex || wrongSize {
		return &HashError{Name: t.name, Algorithm: cmp.Or(t.digest.algorithm, algoSHA256),
			Want: cmp.Or(t.digest.hex, "unknown"), Got: got, Bytes: p.size, WantBytes: t.size}
	}
	return nil
}

// commit puts the whole file in place, in one step, after it is on the disk.
func (p *partial) commit(t target) error {
	err := errors.Join(p.file.Sync(), p.Close())
	if err == nil {
		err = os.Rename(p.path, t.final)
	}
	if err != nil {
		return writeFailure(t.name, t.final, err)
	}
	return nil
}

// checkSpace refuses to begin what can't be finished.
func checkSpace(name, dir string, needBytes int64) error {
	free := freeBytes(dir)
	if needBytes <= 0 || free < 0 || free >= needBytes {
		return nil
	}
	return fail("pull "+name, ErrNoSpace, spaceAdvice,
		"%s more are needed, %s are free in %s", FormatBytes(needBytes), FormatBytes(free), dir)
}

const spaceAdvice = "free some space, or set HF_HOME or AGENT_MODELS_DIR to a folder on a larger disk"

// writeFailure explains a failure of the local disk.
func writeFailure(name, path string, err error) error {
	e := &Error{Op: "pull " + name, Err: fmt.Errorf("write %s: %w", path, rootCause(err))}
	switch {
	case isDiskFull(err):
		e.Reason = ErrNoSpace
		e.Advice = spaceAdvice + "; pull again to go on from where it stopped"
	case errors.Is(err, os.ErrPermission), isReadOnly(err):
		e.Advice = "you may not write there; fix its permissions, or set HF_HOME or AGENT_MODELS_DIR to a folder of yours"
	}
	return e
}

// rootCause drops the path that os errors carry, for it is said already.
func rootCause(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

// receive is a filler that reads a URL, going on after broken connections.
func (s *Store) receive(c *client, t target, url string) filler {
	return func(ctx context.Context, p *partial, m *meter) error {
		p.limit = t.size
		r := &receiver{client: c, url: url, name: t.name, gguf: isGGUF(t.name), total: t.size,
			idle: s.cfg.IdleTimeout}
		for failures := 0; ; {
			if r.total >= 0 && p.size == r.total {
				return nil
			}
			before := p.size
			err := r.attempt(ctx, p, m)
			if err == nil {
				return nil
			}
			if !worthRetrying(ctx, err) {
				return s.receiveFailed(ctx, t, p, err)
			}
			if p.size > before {
				failures = 0
			}
			if failures++; failures > s.cfg.RetryMax {
				return s.receiveFailed(ctx, t, p, err)
			}
			wait := min(s.cfg.RetryWait<<(failures-1), 16*s.cfg.RetryWait)
			if err := sleep(ctx, wait); err != nil {
				return err
			}
		}
	}
}

// worthRetrying is true for connections that broke while content came; what
// the client reports was tried often enough already.
func worthRetrying(ctx context.Context, err error) bool {
	var disk *diskError
	var told *Error
	return ctx.Err() == nil && !errors.As(err, &disk) && !errors.As(err, &told) &&
		!errors.Is(err, errTooLong)
}

func (s *Store) receiveFailed(ctx context.Context, t target, p *partial, err error) error {
	var disk *diskError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &disk):
		return writeFailure(t.name, p.path, err)
	case errors.Is(err, errTooLong):
		return &HashError{Name: t.name, Algorithm: cmp.Or(t.digest.algorithm, algoSHA256),
			Want: cmp.Or(t.digest.hex, "unknown"), Got: "of a longer file", Bytes: p.size, WantBytes: t.size}
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &Error{Op: "pull " + t.name,
		Err: fmt.Errorf("the connection broke %d times in a row at %s: %w", s.cfg.RetryMax+1,
			FormatBytes(p.size), err),
		Reason: ErrUnavailable, Advice: "check the network and pull again; it goes on from where it stopped"}
}

// receiver is the state of one download over several connections.
type receiver struct {
	client *client
	url    string
	name   string
	gguf   bool   // the file is a model
	etag   string // strong ETag of the server that sent what we have
	total  int64  // -1 until known
	idle   time.Duration
}

var (
	errIdle     = errors.New("no data came for too long")
	errShort    = errors.New("the connection ended early")
	errBadRange = errors.New("the server sent another part than asked for")
)

// attempt makes one request for what is missing and reads it.
func (r *receiver) attempt(ctx context.Context, p *partial, m *meter) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := r.client.do(ctx, http.MethodGet, r.url, r.rangeHeader(p.size))
	if resp != nil && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		r.etag = ""
		if err := p.reset(); err != nil {
			return &diskError{err}
		}
		return errBadRange
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := r.align(resp, p); err != nil {
		return err
	}
	if r.total >= 0 {
		m.setTotal(r.total)
	}
	m.set(p.size)
	body := newIdleReader(resp.Body, r.idle, func() { cancel(errIdle) })
	defer body.stop()
	content := bufio.NewReader(body)
	if r.gguf && p.size == 0 {
		head, _ := content.Peek(headBytes)
		if what := notGGUF(head); what != "" {
			return &Error{Op: "pull " + r.name, Err: errors.New("what came is " + what),
				Reason: ErrUnavailable,
				Advice: "look at its page in a browser: it may ask you to log in or to accept terms; then set HF_TOKEN"}
		}
	}
	_, err = io.CopyBuffer(io.MultiWriter(p, m), content, make([]byte, copyBufferBytes))
	if err != nil && errors.Is(context.Cause(ctx), errIdle) {
		return errIdle
	}
	if err == nil && r.total >= 0 && p.size < r.total {
		return errShort
	}
	return err
}

// headBytes is how much of a file tells what it is.
const headBytes = 128

// notGGUF says what the beginning of a file is, when it is none of a model.
func notGGUF(head []byte) string {
	text := strings.ToLower(strings.TrimSpace(string(head)))
	switch {
	case strings.HasPrefix(string(head), "GGUF"), len(head) < 4:
		return ""
	case strings.HasPrefix(text, "<!doctype"), strings.HasPrefix(text, "<html"),
		strings.HasPrefix(text, "<?xml"):
		return "a web page, and no model"
	case strings.HasPrefix(text, "version https://git-lfs"):
		return "a pointer of Git LFS, which stands for the model and does not hold it"
	case strings.HasPrefix(text, "{"):
		return "JSON, and no model"
	}
	return "no GGUF file"
}

func (r *receiver) rangeHeader(from int64) http.Header {
	h := http.Header{}
	if from > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", from))
		if r.etag != "" {
			h.Set("If-Range", r.etag)
		}
	}
	return h
}

// align makes the partial's end the place where the answer begins, and learns
// the whole size.
func (r *receiver) align(resp *http.Response, p *partial) error {
	if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) {
		r.etag = tag
	}
	if resp.StatusCode == http.StatusPartialContent {
		from, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if !ok || from != p.size {
			if err := p.reset(); err != nil {
				return &diskError{err}
			}
			return errBadRange
		}
		if r.total < 0 {
			r.total = total
		}
		return nil
	}
	if resp.StatusCode != http.StatusOK {
		return &Error{Op: "fetch", Err: fmt.Errorf("unexpected HTTP %d", resp.StatusCode),
			Reason: ErrUnavailable}
	}
	if r.total < 0 {
		r.total = resp.ContentLength
	}
	if p.size == 0 {
		return nil
	}
	if err := p.reset(); err != nil { // the server does not do ranges
		return &diskError{err}
	}
	return nil
}

// parseContentRange reads "bytes FROM-TO/TOTAL"; total is -1 for "*".
func parseContentRange(s string) (from, total int64, ok bool) {
	spec, ok := strings.CutPrefix(s, "bytes ")
	span, whole, ok2 := strings.Cut(spec, "/")
	first, _, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, false
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 {
		return 0, 0, false
	}
	if whole == "*" {
		return from, -1, true
	}
	total, err = strconv.ParseInt(whole, 10, 64)
	return from, total, err == nil && total > from
}

// idleReader calls expire when no byte comes for a while. Time spent writing
// what came does not count.
type idleReader struct {
	r     io.Reader
	idle  time.Duration
	timer *time.Timer
}

func newIdleReader(r io.Reader, idle time.Duration, expire func()) *idleReader {
	return &idleReader{r: r, idle: idle, timer: time.AfterFunc(idle, expire)}
}

func (i *idleReader) Read(p []byte) (int, error) {
	i.timer.Reset(i.idle)
	n, err := i.r.Read(p)
	i.timer.Stop()
	return n, err
}

func (i *idleReader) stop() { i.timer.Stop() }

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
