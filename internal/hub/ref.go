package hub

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"agent/internal/near"
)

// refKind says which of the ways to name a model was used.
type refKind int

const (
	refPath    refKind = iota // an existing file or folder
	refCatalog                // a name of the catalog
	refHub                    // a hub repository, perhaps with revision, file or quantisation
)

// reference is a model as a person named it, understood but not yet looked up.
type reference struct {
	kind  refKind
	path  string // refPath
	entry *Entry // refCatalog
	hub   hubRef // refHub
}

// hubRef names a repository and what of it is wanted.
type hubRef struct {
	repo     string // OWNER/REPO
	revision string // branch, tag or commit; "main" when not given
	file     string // path in the repository; "" lets the quantisation decide
	quant    string // wanted quantisation; "" lets the ranking decide
}

func (h hubRef) String() string {
	s := h.repo
	if h.revision != defaultRevision {
		s += "@" + h.revision
	}
	if h.file != "" {
		s += "/" + h.file
	}
	if h.quant != "" {
		s += ":" + h.quant
	}
	return s
}

const (
	defaultRevision = "main"
	hubForms        = "write hf://OWNER/REPO, hf://OWNER/REPO@REVISION or hf://OWNER/REPO/FILE.gguf"
	refBytesMax     = 4096 // longer references are a mistake, not a name
)

// understand decides what a reference means: a catalog name, OWNER/REPO that is
// here, an existing path, hf://, another OWNER/REPO. So no file of the current
// folder takes the name of a model. What looks like a path is never taken for a
// repository.
func (s *Store) understand(ref string) (reference, error) {
	ref = strings.Trim(ref, " ")
	op := fmt.Sprintf("model %q", ref)
	none := func(advice, why string, args ...any) (reference, error) {
		return reference{}, fail(op, ErrNotFound, advice, why, args...)
	}
	onHub := func(id hubRef, err error) (reference, error) {
		if err != nil {
			return none(hubForms, "%w", err)
		}
		return reference{kind: refHub, hub: id}, nil
	}
	if ref == "" || len(ref) > refBytesMax || strings.ContainsFunc(ref, isControl) {
		return none(s.refAdvice(""), "not a model's name")
	}
	if e, ok := s.cfg.Catalog.Find(ref); ok {
		return reference{kind: refCatalog, entry: e}, nil
	}
	if id, ok, err := s.parseAddress(ref); ok {
		return onHub(id, err)
	}
	if strings.Contains(ref, "://") && !strings.HasPrefix(ref, "hf://") {
		return none("download the file and give its path, or name OWNER/REPO of the hub",
			"the address is of no hub that is known here")
	}
	id, idErr := parseHubID(ref)
	isID := idErr == nil && !looksLikePath(ref)
	if isID && len(s.cache.snapshots(id.repo, id.revision)) > 0 {
		return reference{kind: refHub, hub: id}, nil
	}
	path := expandHome(ref)
	info, statErr := os.Stat(path)
	if statErr == nil && (!info.IsDir() || folderHasGGUF(path)) {
		if isID {
			s.cfg.Note(fmt.Sprintf("taking the folder ./%s; the hub's is hf://%[1]s", ref))
		}
		return reference{kind: refPath, path: path}, nil
	}
	if rest, ok := strings.CutPrefix(ref, "hf://"); ok {
		return onHub(parseHubURL(rest))
	}
	switch {
	case looksLikePath(ref):
		return reference{}, s.missingPath(op, ref, path, statErr)
	case idErr == nil:
		return onHub(id, nil)
	case statErr == nil:
		return none(s.refAdvice(ref), "the folder %s holds no .gguf file", path)
	}
	return none(s.refAdvice(ref), "no such file, and no such name in the catalog")
}

// looksLikePath tells a mistyped path from a hub id.
func looksLikePath(ref string) bool {
	for _, prefix := range []string{"./", "../", "/", "~/"} {
		if strings.HasPrefix(ref, prefix) {
			return true
		}
	}
	repo, _, tagged := strings.Cut(ref, ":")
	return isGGUF(ref) && !(tagged && checkRepo(repo) == nil) || ref == "." || ref == ".." ||
		filepath.IsAbs(ref) || strings.Contains(ref, `\`)
}

// missingPath explains a path that is not there, with the nearest file that is.
func (s *Store) missingPath(op, ref, path string, statErr error) error {
	if statErr == nil {
		return fail(op, ErrNotFound, "name a .gguf file, or a folder that holds one",
			"the folder %s holds no .gguf file", path)
	}
	if !errors.Is(statErr, os.ErrNotExist) {
		return &Error{Op: op, Err: statErr, Advice: "check the path and its permissions"}
	}
	advice := s.refAdvice(strings.TrimSuffix(filepath.Base(ref), ".gguf"))
	if near := nearestFile(path); near != "" {
		advice = fmt.Sprintf("did you mean %s?", near)
	} else if owner, rest, ok := strings.Cut(ref,
		"/"); ok && checkRepo(owner+"/x") == nil && strings.Contains(rest, "/") {
		advice = "for a file on the hub write hf://" + ref
	}
	return fail(op, ErrNotFound, advice, "no such file: %s", path)
}

// nearestFile finds a model beside a path that does not exist.
func nearestFile(path string) string {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if isGGUF(e.Name()) && e.Name() != filepath.Base(path) { // which may be a link to nowhere
			names = append(names, e.Name())
		}
	}
	if near := near.Name(filepath.Base(path), names); near != "" {
		return filepath.Join(dir, near)
	}
	return ""
}

// refAdvice suggests the nearest catalog name, or lists them.
func (s *Store) refAdvice(name string) string {
	names := s.cfg.Catalog.Names()
	if near := near.Name(name, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if _, err := parseHubURL(name); err == nil && strings.Contains(name, "/") {
		return "for the hub write hf://" + name
	}
	advice := "name a .gguf file, or OWNER/REPO of the hub"
	if len(names) > 0 {
		advice += ", or one of: " + strings.Join(names, ", ")
	}
	return advice
}

// parseAddress reads what a browser shows of a repository or of a file in it. ok: it is an
// address of the hub.
func (s *Store) parseAddress(ref string) (h hubRef, ok bool, err error) {
	lower := strings.ToLower(ref)
	for _, host := range []string{strings.TrimPrefix(strings.TrimPrefix(s.cfg.Endpoint, "https://"),
		"http://"), "huggingface.co", "www.huggingface.co", "hf.co"} {
		for _, scheme := range []string{"https://", "http://", ""} {
			prefix := scheme + strings.ToLower(strings.TrimSuffix(host, "/")) + "/"
			if host == "" || !strings.HasPrefix(lower, prefix) {
				continue
			}
			h, err = parsePage(ref[len(prefix):])
			return h, true, err
		}
	}
	return hubRef{}, false, nil
}

// parsePage reads OWNER/REPO, and a file or folder of it behind a word for its page and a
// revision; of the file alone, that of main.
func parsePage(page string) (hubRef, error) {
	page, _, _ = strings.Cut(page, "?")
	page, _, _ = strings.Cut(page, "#")
	page = strings.TrimPrefix(strings.Trim(page, "/"), "api/models/")
	parts := strings.SplitN(page, "/", 4)
	if len(parts) < 2 {
		return hubRef{}, errors.New("the address names no repository")
	}
	others := []string{"datasets", "spaces", "collections", "papers", "docs", "blog", "api"}
	if slices.Contains(others, parts[0]) {
		return hubRef{}, fmt.Errorf("the address is of %s, not of a model", parts[0])
	}
	repo, quant, _ := strings.Cut(parts[1], ":")
	h := hubRef{repo: parts[0] + "/" + repo, revision: defaultRevision, quant: quant}
	var err error
	switch {
	case len(parts) == 2:
	case slices.Contains(pageWords(), parts[2]):
		if len(parts) == 4 {
			var tail string
			if h.revision, tail, err = cutRevision(parts[3]); err != nil {
				return hubRef{}, err
			}
			if h.file, err = url.PathUnescape(strings.TrimPrefix(tail, "/")); err != nil {
				return hubRef{}, err
			}
			if parts[2] == "tree" && !isGGUF(h.file) {
				h.file = "" // a folder: the quantisation decides
			}
		}
	case isGGUF(page):
		if h.file, err = url.PathUnescape(strings.Join(parts[2:], "/")); err != nil {
			return hubRef{}, err
		}
	default:
		return hubRef{}, fmt.Errorf("the address is of the repository's page %q, not of a file", parts[2])
	}
	return h, h.check()
}

// pageWords stand in an address before a revision.
func pageWords() []string { return []string{"blob", "resolve", "raw", "tree"} }

// parseHubURL reads OWNER/REPO[@REV][:QUANT][/FILE]. Slashes inside a revision
// are written %2F, except in refs/pr/N and refs/convert/NAME.
func parseHubURL(s string) (hubRef, error) {
	if parts := strings.SplitN(s, "/", 4); len(parts) == 4 && slices.Contains(pageWords(), parts[2]) {
		return parsePage(s)
	}
	owner, rest, ok := strings.Cut(s, "/")
	if !ok {
		return hubRef{}, errors.New("needs OWNER/REPO")
	}
	name, tail := rest, ""
	if i := strings.IndexAny(rest, "@/"); i >= 0 {
		name, tail = rest[:i], rest[i:]
	}
	name, quant, _ := strings.Cut(name, ":")
	h := hubRef{repo: owner + "/" + name, revision: defaultRevision, quant: quant}
	if after, ok := strings.CutPrefix(tail, "@"); ok {
		var err error
		if h.revision, tail, err = cutRevision(after); err != nil {
			return hubRef{}, err
		}
		if rev, q, ok := strings.Cut(h.revision, ":"); ok {
			h.revision, h.quant = rev, q
		}
	}
	h.file = strings.TrimPrefix(tail, "/")
	return h, h.check()
}

var specialRevision = regexp.MustCompile(`^refs/(?:pr/[0-9]+|convert/[A-Za-z0-9._-]+)`)

func cutRevision(s string) (revision, tail string, err error) {
	if special := specialRevision.FindString(s); special != "" {
		return special, s[len(special):], nil
	}
	revision = s
	if i := strings.IndexByte(s, '/'); i >= 0 {
		revision, tail = s[:i], s[i:]
	}
	revision, err = url.PathUnescape(revision)
	return revision, tail, err
}

// parseHubID reads OWNER/REPO[:QUANT].
func parseHubID(s string) (hubRef, error) {
	repo, quant, _ := strings.Cut(s, ":")
	h := hubRef{repo: repo, revision: defaultRevision, quant: quant}
	return h, h.check()
}

var (
	repoPart  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$`)
	quantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	revSafe   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/+-]{0,127}$`)
)

func (h hubRef) check() error {
	if err := checkRepo(h.repo); err != nil {
		return err
	}
	if err := checkRevision(h.revision); err != nil {
		return err
	}
	if h.quant != "" && !quantName.MatchString(h.quant) {
		return fmt.Errorf("%q is not a quantisation such as Q4_K_M", h.quant)
	}
	if h.file == "" {
		return nil
	}
	if !isGGUF(h.file) {
		return fmt.Errorf("%q is not a .gguf file", h.file)
	}
	return checkRepoPath(h.file)
}

// checkRepo refuses what could not be a repository, or would escape the cache.
func checkRepo(repo string) error {
	owner, name, ok := strings.Cut(repo, "/")
	if !ok || !repoPart.MatchString(owner) || !repoPart.MatchString(name) ||
		strings.Contains(repo, "--") || strings.Contains(repo, "..") {
		return fmt.Errorf("%q is not a hub id of the form OWNER/REPO", repo)
	}
	return nil
}

func checkRevision(rev string) error {
	if !revSafe.MatchString(rev) || strings.Contains(rev, "..") || strings.Contains(rev, "//") ||
		strings.HasSuffix(rev, "/") {
		return fmt.Errorf("%q is not a branch, tag or commit", rev)
	}
	return nil
}

// repoPathBytesMax bounds a file's path inside a repository.
const repoPathBytesMax = 1024

// checkRepoPath refuses a path that would leave the folder it is put in. Such
// paths come from servers as well as from people.
func checkRepoPath(p string) error {
	bad := p == "" || len(p) > repoPathBytesMax || !filepath.IsLocal(filepath.FromSlash(p)) ||
		strings.ContainsAny(p, `\:`) || strings.ContainsFunc(p, isControl)
	for part := range strings.SplitSeq(p, "/") {
		bad = bad || part == "" || part == "." || part == ".."
	}
	if bad {
		return fmt.Errorf("unsafe file name %q", p)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func isGGUF(name string) bool {
	return len(name) > len(".gguf") && strings.EqualFold(name[len(name)-len(".gguf"):], ".gguf")
}

func expandHome(p string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return p
}

func folderHasGGUF(dir string) bool {
	files, err := ggufFiles(dir)
	return err == nil && len(files) > 0
}

// ggufFiles lists the .gguf files right in a folder.
func ggufFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if isGGUF(e.Name()) && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
