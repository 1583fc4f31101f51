package hub_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"agent/internal/hub"
	"agent/internal/hub/hubtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// asNobody runs fn with the file permissions of an ordinary user, when the
// tests run as root, whom permissions do not bind.
func asNobody(fn func()) {
	if os.Geteuid() != 0 {
		fn()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread is thrown away with its identity
		if err := unix.Setfsuid(65534); err == nil {
			fn()
		}
	}()
	<-done
}

func TestNoPermission(t *testing.T) {
	for _, ref := range []string{repo, "tiny"} {
		t.Run(ref, func(t *testing.T) {
			f := setUp(t)
			f.cfg.Catalog = &hub.Catalog{Models: []hub.Entry{f.entry("tiny")}}
			for _, dir := range append(f.cfg.ModelDirs, f.cfg.CacheDir) {
				require.NoError(t, os.MkdirAll(dir, 0o555))
			}
			var err error
			asNobody(func() { _, err = f.store().Resolve(t.Context(), ref) })
			require.ErrorIs(t, err, os.ErrPermission)
			assert.Contains(t, hint(err), "HF_HOME")
			assert.Empty(t, f.partials(t))
		})
	}
}

// smallDisk mounts a file system of 512 KiB, half of what the model needs.
func smallDisk(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.Mkdir(dir, 0o755))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=524288"); err != nil {
		t.Skipf("needs the right to mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	return dir
}

func TestDiskTooSmallIsSeenBeforehand(t *testing.T) {
	f := setUp(t)
	f.cfg.CacheDir = filepath.Join(smallDisk(t), "hub")
	_, err := f.store().Resolve(t.Context(), repo)
	require.ErrorIs(t, err, hub.ErrNoSpace)
	assert.Contains(t, err.Error(), "1.0 MB more are needed")
	assert.Contains(t, hint(err), "HF_HOME")
	assert.Empty(t, f.partials(t))
}

func TestDiskFullMidway(t *testing.T) {
	f := setUp(t)
	f.cfg.CacheDir = filepath.Join(smallDisk(t), "hub")
	f.Misbehave(hubtest.Faults{HideLength: true, NoSizes: true})
	_, err := f.store().Resolve(t.Context(), "hf://"+repo+"/small-Q4_K_M.gguf")
	require.ErrorIs(t, err, hub.ErrNoSpace)
	assert.Contains(t, hint(err), "free some space")
	for _, p := range f.partials(t) { // what is left can go on elsewhere
		got, err := os.ReadFile(p)
		require.NoError(t, err)
		assert.Equal(t, f.data[:len(got)], got)
	}
}
