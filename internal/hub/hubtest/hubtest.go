// Package hubtest is a model hub on loopback, for tests: it speaks the parts
// of the Hugging Face protocol that downloads use (listings, paged trees,
// resolve with redirects to a second host, ranges, gated repositories) and can
// be told to misbehave.
//
// huggingface_hub, the Python package, downloads from it too; that is how the
// two are known to agree.
package hubtest

import (
	"bytes"
	"crypto/sha1" // git's object names
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// File is a file of a repository. LFS files are named by SHA-256 and served by
// the second host, others by the SHA-1 of their git blob.
type File struct {
	Path string
	Data []byte
	LFS  bool
}

// ETag is the hash that names the file's content.
func (f File) ETag() string {
	if f.LFS {
		sum := sha256.Sum256(f.Data)
		return hex.EncodeToString(sum[:])
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", len(f.Data))
	h.Write(f.Data)
	return hex.EncodeToString(h.Sum(nil))
}

// Repo is a repository at its only commit, which the branch "main" names.
type Repo struct {
	Files  []File
	Commit string // made from the files when empty
	Gated  bool   // readable with [Server.Token] only
}

// Faults says how the server misbehaves. The zero value behaves.
type Faults struct {
	CutAfterBytes int           // content connections break after so many bytes…
	Cuts          int           // …so many times
	FailStatus    int           // requests are answered with this status…
	FailHeader    http.Header   // …and these headers…
	Fails         int           // …so many times
	StallFor      time.Duration // content stops halfway for so long, once
	IgnoreRange   bool          // content is always sent from the start
	Corrupt       bool          // one byte of the content is wrong
	NoSizes       bool          // the revision API gives no sizes; the tree does
	HideLength    bool          // the size of content is not announced
	PageFiles     int           // files per page of the tree; 0 means all
	SlowPerBlock  time.Duration // pause after each 64 KiB of content
	Instead       string        // content is this, as of a page that asks to log in
}

// Request is what was asked of the server.
type Request struct {
	Method, Path, Range, IfRange, Authorization string
	CDN                                         bool // asked of the second host
}

// Server is a hub, and a second host that has the content of large files.
type Server struct {
	Token string // opens gated repositories

	hub, cdn *httptest.Server
	mu       sync.Mutex
	repos    map[string]*Repo
	faults   Faults
	requests []Request
}

// New starts a server; Close ends it.
func New() *Server {
	s := &Server{Token: "hf_test", repos: map[string]*Repo{}}
	s.hub = httptest.NewServer(s.log(false, http.HandlerFunc(s.serveHub)))
	s.cdn = httptest.NewServer(s.log(true, http.HandlerFunc(s.serveContent)))
	return s
}

// URL is the endpoint, for HF_ENDPOINT.
func (s *Server) URL() string { return s.hub.URL }

// Close ends all connections.
func (s *Server) Close() {
	s.hub.CloseClientConnections()
	s.cdn.CloseClientConnections()
	s.hub.Close()
	s.cdn.Close()
}

// Add serves a repository, replacing one of that name, and returns its commit.
func (s *Server) Add(name string, r Repo) string {
	if r.Commit == "" {
		h := sha1.New()
		for _, f := range r.Files {
			fmt.Fprintln(h, f.Path, f.ETag())
		}
		r.Commit = hex.EncodeToString(h.Sum(nil))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repos[name] = &r
	return r.Commit
}

// Misbehave replaces the faults and forgets the requests so far.
func (s *Server) Misbehave(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.requests = f, nil
}

// Requests returns what was asked since the last Misbehave.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *Server) log(cdn bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, Request{r.Method, r.URL.Path, r.Header.Get("Range"),
			r.Header.Get("If-Range"), r.Header.Get("Authorization"), cdn})
		fail := s.faults.Fails > 0
		if fail {
			s.faults.Fails--
		}
		f := s.faults
		s.mu.Unlock()
		if fail {
			maps.Copy(w.Header(), f.FailHeader)
			w.WriteHeader(f.FailStatus)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Error-Code", code)
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
}

// serveHub routes /api/models/O/R/{revision,tree}/REV and /O/R/resolve/REV/FILE.
func (s *Server) serveHub(w http.ResponseWriter, r *http.Request) {
	p := strings.TrimPrefix(r.URL.Path, "/")
	api := strings.HasPrefix(p, "api/models/")
	parts := strings.SplitN(strings.TrimPrefix(p, "api/models/"), "/", 5)
	if len(parts) < 4 {
		refuse(w, http.StatusNotFound, "", "no such page")
		return
	}
	s.mu.Lock()
	repo := s.repos[parts[0]+"/"+parts[1]]
	s.mu.Unlock()
	if repo == nil {
		refuse(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.")
		return
	}
	if parts[3] != "main" && parts[3] != repo.Commit {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+parts[3])
		return
	}
	switch {
	case api && parts[2] == "revision":
		s.serveInfo(w, repo)
	case api && parts[2] == "tree":
		s.serveTree(w, r, repo)
	case !api && parts[2] == "resolve" && len(parts) == 5:
		s.serveResolve(w, r, repo, parts[4])
	default:
		refuse(w, http.StatusNotFound, "", "no such page")
	}
}

func (s *Server) serveInfo(w http.ResponseWriter, repo *Repo) {
	noSizes := s.current().NoSizes
	var siblings []map[string]any
	for _, f := range repo.Files {
		entry := map[string]any{"rfilename": f.Path}
		if !noSizes {
			entry["size"] = len(f.Data)
			if f.LFS {
				entry["lfs"] = map[string]any{"sha256": f.ETag(), "size": len(f.Data), "pointerSize": 134}
			}
		}
		siblings = append(siblings, entry)
	}
	writeJSON(w, map[string]any{"id": "x", "sha": repo.Commit, "gated": repo.Gated,
		"siblings": siblings})
}

func (s *Server) serveTree(w http.ResponseWriter, r *http.Request, repo *Repo) {
	page := s.current().PageFiles
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	to := len(repo.Files)
	if page > 0 && from+page < to {
		to = from + page
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&cursor=%d>; rel="next"`, s.hub.URL,
			r.URL.Path, to))
	}
	entries := []map[string]any{{"type": "directory", "path": "folder", "size": 0}}
	for _, f := range repo.Files[from:to] {
		entry := map[string]any{"type": "file", "path": f.Path, "size": len(f.Data), "oid": f.ETag()}
		if f.LFS {
			entry["lfs"] = map[string]any{"oid": f.ETag(), "size": len(f.Data), "pointerSize": 134}
		}
		entries = append(entries, entry)
	}
	writeJSON(w, entries)
}

func (s *Server) serveResolve(w http.ResponseWriter, r *http.Request, repo *Repo, name string) {
	w.Header().Set("X-Repo-Commit", repo.Commit)
	if repo.Gated && r.Header.Get("Authorization") != "Bearer "+s.Token {
		status := http.StatusUnauthorized
		if r.Header.Get("Authorization") != "" {
			status = http.StatusForbidden
		}
		refuse(w, status, "GatedRepo", "Access to this model is restricted.")
		return
	}
	i := slices.IndexFunc(repo.Files, func(f File) bool { return f.Path == name })
	if i < 0 {
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	f := repo.Files[i]
	if !f.LFS {
		w.Header().Set("ETag", `"`+f.ETag()+`"`)
		s.serveBytes(w, r, f)
		return
	}
	w.Header().Set("X-Linked-Etag", `"`+f.ETag()+`"`)
	if !s.current().HideLength {
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(f.Data)))
	}
	// Another host, as in reality: clients treat redirects to the hub's own host
	// as renamed repositories.
	storage := strings.Replace(s.cdn.URL, "127.0.0.1", "localhost", 1)
	http.Redirect(w, r, storage+"/"+path.Join("content", f.ETag())+"?signature=abc", http.StatusFound)
}

// serveContent is the second host.
func (s *Server) serveContent(w http.ResponseWriter, r *http.Request) {
	etag := path.Base(r.URL.Path)
	s.mu.Lock()
	var found *File
	for _, repo := range s.repos {
		for i := range repo.Files {
			if repo.Files[i].ETag() == etag {
				found = &repo.Files[i]
			}
		}
	}
	s.mu.Unlock()
	if found == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", `"cdn-`+etag[:8]+`"`) // a storage service names content its own way
	s.serveBytes(w, r, *found)
}

func (s *Server) serveBytes(w http.ResponseWriter, r *http.Request, f File) {
	faults := s.current()
	data := f.Data
	if faults.Corrupt && len(data) > 0 {
		data = bytes.Clone(data)
		data[len(data)/2] ^= 1
	}
	if faults.Instead != "" {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(faults.Instead))
		return
	}
	if faults.IgnoreRange {
		r.Header.Del("Range")
	}
	out := &faultyWriter{ResponseWriter: w, server: s, half: len(data) / 2}
	if faults.HideLength {
		out.Header().Set("Content-Type", "application/octet-stream")
		_, _ = out.Write(data)
		return
	}
	http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(data))
}

// faultyWriter breaks, stalls or slows a response as the faults say.
type faultyWriter struct {
	http.ResponseWriter
	server *Server
	sent   int
	half   int
}

const blockBytes = 64 << 10

func (w *faultyWriter) Write(p []byte) (int, error) {
	for from := 0; from < len(p); {
		n := min(blockBytes, len(p)-from)
		cut, stall, slow := w.server.nextFault(w.sent, n, w.half)
		if cut >= 0 {
			n = cut
		}
		_, err := w.ResponseWriter.Write(p[from : from+n])
		w.sent += n
		from += n
		if err != nil {
			return from, err
		}
		if cut >= 0 {
			w.ResponseWriter.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		if stall > 0 {
			w.ResponseWriter.(http.Flusher).Flush()
			time.Sleep(stall)
		}
		time.Sleep(slow)
	}
	return len(p), nil
}

// nextFault decides about the next n bytes of a response that has sent some:
// cut says after how many of them the connection breaks, -1 for not at all.
func (s *Server) nextFault(sent, n, half int) (cut int, stall, slow time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.faults
	cut = -1
	if f.Cuts > 0 && sent+n >= f.CutAfterBytes {
		f.Cuts--
		cut = f.CutAfterBytes - sent
	}
	if f.StallFor > 0 && sent+n >= half {
		stall, f.StallFor = f.StallFor, 0
	}
	return cut, stall, f.SlowPerBlock
}

func (s *Server) current() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
