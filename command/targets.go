package command

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Targets are the files and hosts that a call names, for rules about them. What
// code touches is not included: it can't be known beforehand.
type Targets struct {
	Paths []string // slash-separated, relative to the work dir; a link also by where it leads
	// Folders are the paths in the fields that Spec.Folders names: folders, or
	// patterns of names as they are written.
	Folders []string
	Hosts   []string // lower case, without port
	// Unclear is set when something was named that is neither a path inside the
	// work dir nor a URL with a host.
	Unclear bool
	// Cut is set when a call names more than is looked at.
	Cut bool
}

// targetsMax bounds how many values of a call are checked.
const targetsMax = 256

// All are the paths of files and folders.
func (t Targets) All() []string { return slices.Concat(t.Paths, t.Folders) }

// TargetsOf finds what a call names in its fields for files and short text.
func TargetsOf(spec Spec, call *Call, workDir string) Targets {
	fields := fieldsOf(spec)
	var t Targets
	for _, entry := range call.Content {
		for key, value := range entry {
			kind := fields.kind(key)
			if kind == targetNone {
				continue
			}
			for _, text := range textsOf(value) {
				if kind == targetFolder && spec.Effect.Consequential() {
					t.Unclear, t.Cut = true, true // a pattern stands for files that no rule has seen
				}
				t.add(text, kind, workDir)
			}
		}
	}
	for _, list := range []*[]string{&t.Paths, &t.Folders, &t.Hosts} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return t
}

// targetKind is what a field can name.
type targetKind int

const (
	targetNone   targetKind = iota
	targetURL               // a short text: a URL, or nothing of interest
	targetFile              // a URL or a file
	targetFolder            // a URL, a folder or a pattern
)

// targetFields maps the fields of a command, in any spelling, to what they can
// name.
type targetFields map[string]targetKind

func fieldsOf(spec Spec) targetFields {
	out := targetFields{}
	for _, slot := range spec.Slots {
		switch slot.Kind {
		case SlotFile:
			out[fold(slot.Name)] = targetFile
		case SlotLine:
			out[fold(slot.Name)] = targetURL
		}
	}
	for _, name := range spec.Folders {
		out[fold(name)] = targetFolder
	}
	return out
}

func (f targetFields) kind(key string) targetKind {
	key = fold(key)
	if slices.Contains(fileKeys(), key) || slices.Contains(saveKeys(), key) {
		return targetFile
	}
	return f[key]
}

// textsOf are the texts that a command could make of a value.
func textsOf(value any) []string {
	switch v := value.(type) {
	case []string:
		return v
	case []any:
		out := make([]string, len(v))
		for i, item := range v {
			out[i] = AsText(item)
		}
		return out
	}
	return []string{AsText(value)}
}

// add records one value: a URL by its host, a file or folder by its path.
func (t *Targets) add(text string, kind targetKind, workDir string) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
	case len(t.Paths)+len(t.Folders)+len(t.Hosts) >= targetsMax:
		t.Unclear, t.Cut = true, true
	case strings.Contains(text, "://") && !strings.HasPrefix(strings.ToLower(text), "file://"):
		t.addURL(text)
	case kind == targetFile:
		t.addPath(&t.Paths, text, workDir)
	case kind == targetFolder:
		t.addPath(&t.Folders, text, workDir)
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

func (t *Targets) addPath(to *[]string, text, workDir string) {
	path, ok := LocalPath(workDir, text)
	if !ok {
		t.Unclear = true
		return
	}
	*to = append(*to, filepath.ToSlash(path))
	real, ok := BehindLinks(workDir, path)
	if !ok {
		t.Unclear = true
		return
	}
	*to = append(*to, filepath.ToSlash(real))
}

// BehindLinks follows the links in a path as far as it exists. It is false if the
// path leads outside the work dir.
func BehindLinks(workDir, path string) (string, bool) {
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
		if info, err := os.Lstat(filepath.Join(base, at)); err == nil &&
			info.Mode()&os.ModeSymlink != 0 || at == "." {
			return "", false // a link to nowhere may become one to anywhere
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// LocalPath makes a path from a model relative to the work dir. It is false if
// the path leads outside.
func LocalPath(workDir, name string) (string, bool) {
	name = strings.TrimSpace(name)
	if rest, ok := strings.CutPrefix(name, "file://"); ok {
		name = rest
		if unescaped, err := url.PathUnescape(rest); err == nil {
			name = unescaped
		}
	}
	if strings.ContainsAny(name, "\x00\n\r") || strings.Contains(name, "://") {
		return "", false
	}
	if filepath.IsAbs(name) {
		relative, err := filepath.Rel(workDir, name)
		if err != nil {
			return "", false
		}
		name = relative
	}
	name = filepath.Clean(filepath.FromSlash(name))
	return name, filepath.IsLocal(name)
}
