package hub

import (
	"context"
	"crypto/sha1" // git's object names; not used for security
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"agent/internal/bounded"
)

// digest is a promise about content. The zero value promises nothing.
type digest struct {
	algorithm string // "sha256" or "git-sha1"
	hex       string
}

const (
	algoSHA256  = "sha256"
	algoGitSHA1 = "git-sha1"
)

var hexSHA1 = regexp.MustCompile(`^[0-9a-f]{40}$`)

// digestOf reads what an ETag of the hub promises: large files are named by
// SHA-256, small ones by the SHA-1 of their git blob.
func digestOf(etag string) digest {
	switch {
	case hexSHA256.MatchString(etag):
		return digest{algoSHA256, etag}
	case hexSHA1.MatchString(etag):
		return digest{algoGitSHA1, etag}
	}
	return digest{}
}

// hasher returns the hash to feed, for content of that many bytes.
func (d digest) hasher(size int64) hash.Hash {
	if d.algorithm == algoGitSHA1 {
		h := sha1.New()
		fmt.Fprintf(h, "blob %d\x00", size)
		return h
	}
	return sha256.New()
}

// hashFile computes the digest of a file by the algorithm of d (SHA-256 when d
// promises nothing), telling progress.
func (s *Store) hashFile(ctx context.Context, path string, d digest) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	h := d.hasher(info.Size())
	m := s.meter(displayName(path), PhaseVerify, 0, info.Size())
	defer m.finish()
	n, err := io.CopyBuffer(io.MultiWriter(h, m), readerWithContext{ctx, f},
		make([]byte, copyBufferBytes))
	if err != nil {
		return "", n, err
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}

const copyBufferBytes = 1 << 20

// readerWithContext ends a read loop when the context does.
type readerWithContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// A stamp remembers that a file had a hash when it had this size and these times,
// so that hashing is not repeated. The time of change is one that nobody sets:
// who can write the file can't make it look untouched.
func stampLine(path, sha256Hex string, info os.FileInfo) string {
	at := info.ModTime()
	return fmt.Sprintf("%s %d %d.%09d %s\n", sha256Hex, info.Size(), at.Unix(), at.Nanosecond(),
		changeTime(path))
}

const stampBytesMax = 256

// stamped reports whether path is known to have this SHA-256.
func (s *Store) stamped(path, sha256Hex string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	raw, err := bounded.File(s.stampPath(path), stampBytesMax)
	return err == nil && string(raw) == stampLine(path, sha256Hex, info)
}

// stamp remembers a verified file. A folder that can't be written to costs
// only the shortcut.
func (s *Store) stamp(path, sha256Hex string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	p := s.stampPath(path)
	if p != "" && os.MkdirAll(filepath.Dir(p), 0o755) == nil {
		_ = writeAtomically(p, []byte(stampLine(path, sha256Hex, info)))
	}
}

func displayName(path string) string {
	if i := strings.LastIndexAny(path, `/\`); i >= 0 {
		return path[i+1:]
	}
	return path
}
