package session

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What was allowed is what was shown: a save made meanwhile is shown too, and a
// name that leads elsewhere is refused, whoever decides.
func TestApprovalIsForWhatWasShown(t *testing.T) {
	const moved, changing = "a name in it leads to another place", "changed each time"
	write := func(t *testing.T, path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	swap := func(t *testing.T, name, to string) {
		require.NoError(t, os.Rename(name, name+".old"))
		require.NoError(t, os.Symlink(to, name))
	}
	for _, tc := range []struct {
		name    string
		file    string
		during  func(t *testing.T, dir string, n int) // while it is decided for the n-th time
		asked   int
		refused string
	}{
		{"nothing happens", "docs/n.txt", func(*testing.T, string, int) {}, 1, ""},
		{"a save", "docs/n.txt", func(t *testing.T, dir string, n int) { write(t, filepath.Join(dir, "docs/n.txt"), "saved") }, 2, ""},
		{"the same is saved", "docs/n.txt", func(t *testing.T, dir string, n int) { write(t, filepath.Join(dir, "docs/n.txt"), "old\n") }, 1, ""},
		{"another file is saved", "docs/n.txt", func(t *testing.T, dir string, n int) { write(t, filepath.Join(dir, "docs/m.txt"), "saved") }, 1, ""},
		{"the file appears", "docs/new.txt", func(t *testing.T, dir string, n int) { write(t, filepath.Join(dir, "docs/new.txt"), "mine") }, 2, ""},
		{"the file goes", "docs/n.txt", func(t *testing.T, dir string, n int) { _ = os.Remove(filepath.Join(dir, "docs/n.txt")) }, 2, ""},
		{"a save each time", "docs/n.txt", func(t *testing.T, dir string, n int) {
			write(t, filepath.Join(dir, "docs/n.txt"), fmt.Sprint(n))
		}, redecidedMax, changing},
		{"the folder becomes a link", "docs/n.txt", func(t *testing.T, dir string, n int) { swap(t, filepath.Join(dir, "docs"), "other") }, 1, moved},
		{"the file becomes a link", "docs/n.txt", func(t *testing.T, dir string, n int) { swap(t, filepath.Join(dir, "docs/n.txt"), "../other/n.txt") }, 1, moved},
		{"the folder becomes a link that leads out", "docs/n.txt", func(t *testing.T, dir string, n int) { swap(t, filepath.Join(dir, "docs"), os.TempDir()) }, 1, moved},
		{"a link leads elsewhere", "link/n.txt", func(t *testing.T, dir string, n int) { swap(t, filepath.Join(dir, "link"), "other") }, 1, moved},
		{"the file becomes a folder", "docs/n.txt", func(t *testing.T, dir string, n int) {
			_ = os.Remove(filepath.Join(dir, "docs/n.txt"))
			_ = os.Mkdir(filepath.Join(dir, "docs/n.txt"), 0o700)
		}, 2, ""},
	} {
		for _, who := range []string{"person", "overseer"} {
			t.Run(tc.name+", "+who, func(t *testing.T) {
				done := `{"command":"answer","content":[{"text":"done"}]}`
				call := fmt.Sprintf(`{"command":"writer","content":[{"file":%q,"text":"new"}]}`, tc.file)
				var r *rig
				var shown []string
				meanwhile := func(p *Proposal) {
					shown = append(shown, p.Preview)
					tc.during(t, r.dir, len(shown))
				}
				r = newRig(t, newModel(t, false, call, done, done), func(o *Options) {
					withStock(t)(o)
					if who == "overseer" {
						o.Overseer = func(_ context.Context, p *Proposal) (Verdict, error) {
							meanwhile(p)
							return Verdict{Approve: true}, nil
						}
						return
					}
					o.Approve = ApproveAsk
					o.Approver = func(_ context.Context, p *Proposal) (Decision, error) {
						meanwhile(p)
						return Decision{Allow: true}, nil
					}
				})
				r.write(t, "docs/n.txt", "old\n")
				r.write(t, "other/n.txt", "other\n")
				require.NoError(t, os.Symlink("docs", filepath.Join(r.dir, "link")))
				_, err := r.Run(context.Background(), "task")
				require.NoError(t, err)
				require.Len(t, shown, tc.asked)
				if tc.asked == 2 {
					assert.NotEqual(t, shown[0], shown[1])
				}
				kept, err := os.ReadFile(filepath.Join(r.dir, "other/n.txt"))
				require.NoError(t, err)
				assert.Equal(t, "other\n", string(kept))
				if tc.refused != "" {
					assert.Contains(t, r.lastUser(-1), tc.refused)
					return
				}
				if now, err := os.ReadFile(filepath.Join(r.dir, tc.file)); err == nil {
					assert.Equal(t, "new", string(now))
				}
			})
		}
	}
}
