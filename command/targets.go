package command

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Targets are the files and hosts that a call names, for rules about them.
// What code would touch is not among them: that can't be known beforehand.
type Targets struct {
	Paths []string // slash-separated, relative to the work dir; a link also by where it leads
	Hosts []string // lower case, without port
	// Unclear is set when something was named that is neither a path inside the
	// work dir nor a URL with a host.
	Unclear bool
}

// targetsMax bounds what is looked at in one call.
const targetsMax = 256

// TargetsOf finds what a call names in its fields for files and short text.
func TargetsOf(spec Spec, call *Call, workDir string) Targets {
	kinds := map[string]SlotKind{}
	for _, slot := range spec.Slots {
		kinds[slot.Name] = slot.Kind
	}
	var t Targets
	for _, entry := range call.Content {
		for key, value := range entry {
			kind, known := kinds[key]
			file := known && kind == SlotFile || slices.Contains(fileKeys, strings.ToLower(key)) || slices.Contains(saveKeys, strings.ToLower(key))
			line := known && (kind == SlotLine || kind == SlotFile)
			for _, text := range textsOf(value) {
				t.add(text, file, file || line, workDir)
			}
		}
	}
	slices.Sort(t.Paths)
	slices.Sort(t.Hosts)
	t.Paths, t.Hosts = slices.Compact(t.Paths), slices.Compact(t.Hosts)
	return t
}

func textsOf(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []string:
		return v
	case []any:
		var out []string
		for _, item := range v {
			if text, ok := item.(string); ok {
				out = append(out, text)
			}
		}
		return out
	}
	return nil
}

// add notes one value: a URL by its host, a file by its path.
func (t *Targets) add(text string, file, mayBeURL bool, workDir string) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
	case len(t.Paths)+len(t.Hosts) >= targetsMax:
		t.Unclear = true
	case mayBeURL && strings.Contains(text, "://") && !strings.HasPrefix(strings.ToLower(text), "file://"):
		t.addURL(text)
	case file:
		t.addPath(text, workDir)
	}
}

func (t *Targets) addURL(text string) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		t.Unclear = true
		return
	}
	t.Hosts = append(t.Hosts, strings.TrimSuffix(strings.ToLower(u.Hostname()), "."))
}

func (t *Targets) addPath(text, workDir string) {
	path, ok := localPath(workDir, text)
	if !ok {
		t.Unclear = true
		return
	}
	t.Paths = append(t.Paths, filepath.ToSlash(path))
	real, ok := behindLinks(workDir, path)
	if !ok {
		t.Unclear = true
		return
	}
	t.Paths = append(t.Paths, filepath.ToSlash(real))
}

// behindLinks is where a path leads once its links are followed, as far as it
// exists; false when that is outside of the work dir.
func behindLinks(workDir, path string) (string, bool) {
	base, err := filepath.EvalSymlinks(workDir)
	if err != nil {
		return "", false
	}
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(filepath.Join(base, at)); err == nil {
			relative, err := filepath.Rel(base, filepath.Join(real, rest))
			return relative, err == nil && filepath.IsLocal(relative)
		}
		if info, err := os.Lstat(filepath.Join(base, at)); err == nil && info.Mode()&os.ModeSymlink != 0 || at == "." {
			return "", false // a link to nowhere may become one to anywhere
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}
