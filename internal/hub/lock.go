package hub

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

const lockPollEvery = 200 * time.Millisecond

// withLock runs fn while holding an exclusive lock between processes. It is
// the same kind of lock on the same file as huggingface_hub takes.
func (s *Store) withLock(ctx context.Context, path, what string, fn func() error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return writeFailure(what, path, err)
	}
	lock, err := s.acquire(ctx, path, what)
	if err != nil {
		return err
	}
	defer lock.Close()
	return fn()
}

// withOwnLock is withLock on a file that nobody else knows of; it is removed
// again, so that a folder of models holds models.
func (s *Store) withOwnLock(ctx context.Context, path, what string, fn func() error) error {
	return s.withLock(ctx, path, what, func() error {
		defer os.Remove(path) // who waits for it sees that, and makes a new one
		return fn()
	})
}

func (s *Store) acquire(ctx context.Context, path, what string) (*flock.Flock, error) {
	for noted := false; ; {
		lock := flock.New(path, flock.SetPermissions(0o664))
		ok, err := lock.TryLock()
		if err == nil && !ok {
			if !noted {
				s.cfg.Note("waiting for another process that is fetching " + what)
				noted = true
			}
			_, err = lock.TryLockContext(ctx, lockPollEvery)
		}
		if err != nil {
			lock.Close()
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, writeFailure(what, path, err)
		}
		if stillThere(lock) {
			return lock, nil
		}
		lock.Close() // the holder removed the file on leaving: take the new one
	}
}

// stillThere reports whether the locked file is the one at its path.
func stillThere(lock *flock.Flock) bool {
	held, err := lock.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(lock.Path())
	return err == nil && os.SameFile(held, named)
}
