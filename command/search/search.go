// Package search is the command that finds things: on the web through SearXNG
// or Brave, or in the files of the work dir through a full-text index.
//
// [New] checks a [Config]; register what [Searcher.Commands] gives and close
// the searcher at the end. Without a web provider the command search looks
// through the files and says so. With one, search asks the web, which needs
// approval, and search_files looks through the files.
//
// Promises: results are bounded, in number and in size, and are data; an answer
// that is not what the provider promises is one clear error; the API key is
// sent to the provider alone and reaches no result and no error; the index
// holds only what lies in the work dir and is brought up to date by each search.
package search

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"agent/command"
	"agent/internal/legible"
	"agent/internal/near"
)

// The providers that [Config] can name.
const (
	Local   = "local"   // the files of the work dir
	SearXNG = "searxng" // an instance of the metasearch engine, often one's own
	Brave   = "brave"   // Brave's search API, with a key
)

// Providers lists the names that Config.Provider takes.
func Providers() []string { return []string{Local, SearXNG, Brave} }

// APIKeyMetadata is the key of [command.Env] metadata that holds Brave's API
// key when Config has none.
const APIKeyMetadata = "brave_api_key"

// Config says where to search. The zero value searches the files.
type Config struct {
	Provider string        // default Local
	URL      string        // of the SearXNG instance; of another Brave-like endpoint
	APIKey   string        // Brave's; empty: from the metadata
	Results  int           // shown of one search; default 5, at most resultsMax
	Timeout  time.Duration // of one web search; default 15 s
}

const (
	resultsDefault = 5
	resultsMax     = 20
	timeoutDefault = 15 * time.Second
	queryBytesMax  = 400 // what Brave takes
)

// Searcher makes the commands. It holds the index, in memory.
type Searcher struct {
	config Config
	web    provider // nil: none is configured
	client *http.Client
	index  *index
}

// New checks the configuration. It connects to nothing.
func New(c Config) (*Searcher, error) {
	if c.Provider == "" {
		c.Provider = Local
	}
	if c.Results <= 0 {
		c.Results = resultsDefault
	}
	c.Results = min(c.Results, resultsMax)
	if c.Timeout <= 0 {
		c.Timeout = timeoutDefault
	}
	s := &Searcher{config: c, client: newClient(), index: newIndex(defaultBounds())}
	switch c.Provider {
	case Local:
		return s, nil
	case SearXNG:
		if c.URL == "" {
			return nil, &Error{Op: "search", Detail: "provider searxng needs the URL of an instance",
				Advice: "set search.url, such as http://localhost:8888"}
		}
		base, err := checkURL(c.URL)
		s.web = searxng{base}
		return s, err
	case Brave:
		if c.URL == "" {
			c.URL = braveEndpoint
		}
		endpoint, err := checkURL(c.URL)
		s.web = brave{endpoint}
		return s, err
	}
	return nil, unknownProvider(c.Provider)
}

// checkURL accepts a URL that an HTTP request can be sent to.
func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &Error{Op: "search", Detail: "search.url is no http or https URL",
			Advice: "write it like http://localhost:8888"}
	}
	return u, nil
}

func unknownProvider(name string) error {
	return &Error{
		Op: "search", Detail: fmt.Sprintf("unknown provider %q", name) + near.Hint(name, Providers()),
		Advice: "known: " + strings.Join(Providers(), ", "),
	}
}

// Close frees the index.
func (s *Searcher) Close() error { return s.index.close() }

// The names of the commands.
const (
	searchName = "search"
	filesName  = "search_files"
)

// Commands returns the commands to register.
func (s *Searcher) Commands() []command.Command {
	slots := []command.Slot{{Name: "query", Help: texts.Text("query.md"), Kind: command.SlotLine}}
	files := command.Spec{Name: filesName, Description: texts.Text("search_files.md"), Slots: slots,
		Effect: command.EffectRead}
	if s.web == nil {
		files.Name, files.Aliases = searchName, []string{filesName}
		return []command.Command{command.Func(files, s.searchFiles)}
	}
	web := command.Spec{Name: searchName, Description: texts.Text("search.md"), Slots: slots,
		Effect: command.EffectNetwork}
	return []command.Command{command.Func(web, s.searchWeb), command.Func(files, s.searchFiles)}
}

// queryOf reads the query. Models use several names for it and give several
// queries as several entries.
func queryOf(call *command.Call) string {
	var parts []string
	for _, entry := range call.Content {
		for _, key := range []string{"query", "q", "text", "search", "keywords", "question",
			"search_query", "find"} {
			if text, ok := entry[key].(string); ok && strings.TrimSpace(text) != "" {
				parts = append(parts, strings.Join(strings.Fields(text), " "))
				break
			}
		}
	}
	return legible.Clip(strings.Join(parts, " "), queryBytesMax)
}

func (s *Searcher) searchFiles(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	query := queryOf(call)
	if query == "" {
		return &command.Result{Text: texts.Say("no_query", nil), Failed: true}, nil
	}
	report, err := s.index.search(ctx, env.WorkDir, query, s.config.Results, s.withheld(env))
	if err != nil {
		return nil, err
	}
	report.NoWeb = s.web == nil
	return cut(texts.Say("files", report), env), nil
}

// withheld are the files that the rules of this run keep out of a search.
func (s *Searcher) withheld(env *command.Env) func(path string) bool {
	name := filesName
	if s.web == nil {
		name = searchName
	}
	return func(path string) bool {
		if env.Withheld != nil && env.Withheld(name, path) {
			return true
		}
		// What is found is text of a file, as a reader shows it.
		return env.KeptBack != nil && (env.KeptBack(command.ReaderName, path) ||
			env.KeptBack(searchName, path) ||
			env.KeptBack(filesName, path))
	}
}

func (s *Searcher) searchWeb(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	query := queryOf(call)
	if query == "" {
		return &command.Result{Text: texts.Say("no_query", nil), Failed: true}, nil
	}
	key := s.config.APIKey
	if key == "" {
		key = env.Metadata[APIKeyMetadata]
	}
	found, err := s.ask(ctx, query, key)
	if err != nil {
		return nil, err
	}
	return cut(texts.Say("web", webReport{Query: shown(query), Found: found}), env), nil
}

// shown is a query as a message repeats it. The session knows a remark in
// parentheses for "nothing found" by its having none inside.
func shown(query string) string {
	return strings.NewReplacer("(", "", ")",
		"").Replace(plain(query))
}

// cut makes a result of a text, cut at the limit for output.
func cut(text string, env *command.Env) *command.Result {
	limit := env.Limits.OrDefaults().OutputBytes
	if len(text) <= limit {
		return &command.Result{Text: text}
	}
	return &command.Result{Text: legible.Clip(text, limit) + "\n" + texts.Say("cut", nil),
		Truncated: true}
}

// Error is a search that could not be done.
type Error struct {
	Op     string
	Detail string
	Advice string
	Err    error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Op + ": " + e.Detail + ": " + e.Err.Error()
	}
	return e.Op + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return e.Advice }

// errRedirect stops a redirect that would carry the key to another host.
var errRedirect = errors.New("it redirects to another host")
