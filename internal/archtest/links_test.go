package archtest

import (
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
	mdFence   = regexp.MustCompile("(?ms)^```.*?^```")
	mdCode    = regexp.MustCompile("`[^`\n]+`")
	// notInAnchor is what GitHub leaves out of the anchor of a heading.
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}\-_ ]`)
)

// TestLinksLead: what a page links to within the repository is there, headings
// included.
func TestLinksLead(t *testing.T) {
	files := tracked(t)
	var findings []string
	for name, text := range files {
		if path.Ext(name) == ".md" && !strings.HasPrefix(name, "bench/") {
			findings = append(findings, deadLinks(name, string(text), files)...)
		}
	}
	report(t, findings, "A link names a tracked file, relative to its page, and a heading of it.")
}

func deadLinks(name, text string, files map[string][]byte) (findings []string) {
	for _, m := range mdLink.FindAllStringSubmatch(mdCode.ReplaceAllString(mdFence.ReplaceAllString(text, ""), ""), -1) {
		target, anchor, _ := strings.Cut(m[1], "#")
		if strings.Contains(target, ":") {
			continue // an address
		}
		to := name
		if target != "" {
			to = path.Join(path.Dir(name), target)
		}
		page, ok := files[to]
		switch {
		case !ok && !isFolder(to, files):
			findings = append(findings, name+": there is no "+m[1])
		case ok && anchor != "" && !anchors(string(page))[anchor]:
			findings = append(findings, name+": no heading "+m[1])
		}
	}
	return findings
}

func isFolder(name string, files map[string][]byte) bool {
	for file := range files {
		if strings.HasPrefix(file, name+"/") {
			return true
		}
	}
	return false
}

// anchors are those of the headings of a page.
func anchors(page string) map[string]bool {
	out := map[string]bool{}
	for _, m := range mdHeading.FindAllStringSubmatch(mdFence.ReplaceAllString(page, ""), -1) {
		plain := notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(m[1])), "")
		out[strings.ReplaceAll(plain, " ", "-")] = true
	}
	return out
}

func TestDeadLinksAreSeen(t *testing.T) {
	files := map[string][]byte{"docs/a.md": []byte("## The agent's `turn`\n```\n# no heading\n```\n"), "docs/dev/b.md": nil}
	for text, dead := range map[string]bool{
		"[a](docs/a.md)": false, "[a](docs/a.md#the-agents-turn)": false, "[a](docs/a.md#no-heading)": true,
		"[a](docs/c.md)": true, "[a](#top)": false, "[a](#bottom)": true, "[a](docs)": false,
		"[a](https://x.example/y.md)": false, "`[a](docs/c.md)`": false, "```\n[a](docs/c.md)\n```": false,
	} {
		files["README.md"] = []byte("# Top\n" + text)
		assert.Equal(t, dead, len(deadLinks("README.md", string(files["README.md"]), files)) > 0, text)
	}
}
