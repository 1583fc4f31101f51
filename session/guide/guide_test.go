package guide

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, text string, parts ...string) {
	t.Helper()
	path := filepath.Join(parts...)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func skill(name, about, body string) string {
	return "---\nname: " + name + "\ndescription: " + about + "\nlicense: MIT\n---\n" + body + "\n"
}

// TestOfFolder: from the work dir up to the root of the repository and no further, the
// outermost first.
func TestOfFolder(t *testing.T) {
	top := t.TempDir()
	repo, work := filepath.Join(top, "repo"), filepath.Join(top, "repo", "a", "b")
	write(t, "outside", top, "AGENTS.md")
	write(t, "whole", repo, "AGENTS.md")
	write(t, "part", work, "AGENTS.md")
	write(t, "", repo, ".git", "HEAD")
	write(t, skill("tables", "Work on tables.", "far"), repo, ".agents/skills/tables/SKILL.md")
	write(t, skill("tables", "Work on tables.", "near"), work, ".agents/skills/tables/SKILL.md")
	write(t, skill("mail", "Write mails.\r\n", "Be polite."), repo, ".agents/skills/mail/SKILL.md")
	write(t, "no folder", repo, ".agents/skills/README.md")
	g := OfFolder(work)
	assert.Equal(t, []Instructions{{"../../AGENTS.md", "whole"}, {"AGENTS.md", "part"}}, g.Instructions)
	require.Len(t, g.Skills, 2)
	assert.Equal(t, "near", g.Skills[0].Text)
	assert.Equal(t, Skill{"mail", "Write mails.", "../../.agents/skills/mail/SKILL.md", "Be polite."}, g.Skills[1])
	assert.Empty(t, g.Problems)
	assert.Equal(t, repo, Root(work))

	alone := filepath.Join(top, "alone")
	write(t, " \n", alone, "AGENTS.md")
	assert.False(t, OfFolder(alone).Any(), "without a repository nothing above counts, and blank is nothing")
}

// TestWhatCanNotBeUsed: each is told, and the others are there.
func TestWhatCanNotBeUsed(t *testing.T) {
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret.txt")
	write(t, "hidden", secret)
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "AGENTS.md")))
	for name, text := range map[string]string{
		"good":      skill("good", "It works.", "x"),
		"headless":  "just text",
		"unclosed":  "---\nname: x\n",
		"yaml":      "---\nname: [\n---\nx",
		"shout":     skill("SHOUT", "x", "x"),
		"nameless":  "---\ndescription: x\n---\nx",
		"unsaid":    "---\nname: unsaid\n---\nx",
		"long":      skill("long", strings.Repeat("x", descriptionRunes+1), "x"),
		"empty":     skill("empty", "x", ""),
		"large":     skill("large", "x", strings.Repeat("x", fileBytesMax)),
		"binary":    "\x00\x01\x02",
		"traversal": skill("../../x", "x", "x"),
	} {
		write(t, text, dir, skillsFolder, name, "SKILL.md")
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, skillsFolder, "linked"), 0o755))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, skillsFolder, "linked", "SKILL.md")))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, skillsFolder, "bare"), 0o755))
	g := OfFolder(dir)
	require.Len(t, g.Skills, 1)
	assert.Equal(t, "good", g.Skills[0].Name)
	assert.Empty(t, g.Instructions)
	assert.Len(t, g.Problems, 13)
	assert.NotContains(t, strings.Join(g.Problems, "\n"), "hidden")
	for _, p := range g.Problems {
		assert.NotContains(t, p, "\n")
	}
}

// TestOfUser follows links, since they are the user's.
func TestOfUser(t *testing.T) {
	home, elsewhere := t.TempDir(), t.TempDir()
	write(t, skill("dots", "Keep dotfiles.", "x"), elsewhere, "dots", "SKILL.md")
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".agents"), 0o755))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(home, skillsFolder)))
	g := OfUser(home)
	require.Len(t, g.Skills, 1, "%v", g.Problems)
	assert.Equal(t, "~/.agents/skills/dots/SKILL.md", g.Skills[0].Path)
	assert.False(t, OfUser(t.TempDir()).Any())
}
