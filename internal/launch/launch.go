// Package launch knows the settings with which coding clients use a server of this
// program: what goes into which file, variable and argument.
//
// [Find] gives a client, [Client.Settings] what it needs for one server, and
// [Settings.Write] puts its files into a private folder.
//
// Promise: all settings lie in that folder, in variables and in arguments; nothing of
// the user's own is read or changed.
package launch

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"agent/internal/near"
)

// Server is the server that a client is to use.
type Server struct {
	URL     string // without a path
	Key     string
	Model   string
	Context int    // tokens of prompt and reply
	Reply   int    // most tokens of a reply
	Dir     string // the private folder
}

// Client is a program that can be launched.
type Client struct {
	Name    string // on the command line
	Program string // its executable
	Install string // a command that installs it

	files map[string]string // names in the private folder, and the template of each
	env   []string          // templates
	args  []string          // templates, before those of the user
}

// Settings are what one client needs for one server.
type Settings struct {
	Files map[string]string // by their absolute path
	Env   []string
	Args  []string
}

//go:embed settings
var templates embed.FS

// clients are the known ones.
func clients() []Client {
	return []Client{
		{Name: "aider", Program: "aider", Install: "pip install aider-chat",
			files: map[string]string{"aider.yml": "aider.yml", "model.json": "aider_model.json"},
			env:   []string{"OPENAI_API_BASE={{.URL}}/v1", "OPENAI_API_KEY={{.Key}}"},
			args:  []string{"--config", "{{.Dir}}/aider.yml"}},
		{
			Name:    "claude",
			Program: "claude",
			Install: "npm install -g @anthropic-ai/claude-code",
			files:   map[string]string{".claude.json": "claude.json"},
			env: []string{
				"CLAUDE_CONFIG_DIR={{.Dir}}",
				"ANTHROPIC_BASE_URL={{.URL}}",
				"ANTHROPIC_AUTH_TOKEN={{.Key}}",
				"ANTHROPIC_API_KEY=",
				"ANTHROPIC_MODEL={{.Model}}",
				"ANTHROPIC_SMALL_FAST_MODEL={{.Model}}",
				"ANTHROPIC_DEFAULT_HAIKU_MODEL={{.Model}}",
				"ANTHROPIC_DEFAULT_SONNET_MODEL={{.Model}}",
				"ANTHROPIC_DEFAULT_OPUS_MODEL={{.Model}}",
				"CLAUDE_CODE_MAX_OUTPUT_TOKENS={{.Reply}}",
				"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
				"DISABLE_AUTOUPDATER=1",
				"API_TIMEOUT_MS=3600000", "CLAUDE_STREAM_IDLE_TIMEOUT_MS=3600000",
			},
		},
		{Name: "codex", Program: "codex", Install: "npm install -g @openai/codex",
			files: map[string]string{"config.toml": "codex.toml"},
			env:   []string{"CODEX_HOME={{.Dir}}", "AGENT_API_KEY={{.Key}}"}},
		{
			Name:    "opencode",
			Program: "opencode",
			Install: "npm install -g opencode-ai",
			files:   map[string]string{"opencode.json": "opencode.json"},
			env: []string{
				"OPENCODE_CONFIG={{.Dir}}/opencode.json",
				"OPENCODE_CONFIG_DIR={{.Dir}}",
				"AGENT_API_KEY={{.Key}}",
				"OPENCODE_DISABLE_AUTOUPDATE=1",
				"OPENCODE_DISABLE_MODELS_FETCH=1",
			},
		},
	}
}

// Names are the known clients.
func Names() []string {
	var out []string
	for _, c := range clients() {
		out = append(out, c.Name)
	}
	return out
}

// Find gives the client of a name.
func Find(name string) (Client, error) {
	all := clients()
	if i := slices.IndexFunc(all, func(c Client) bool { return c.Name == name }); i >= 0 {
		return all[i], nil
	}
	return Client{}, fmt.Errorf("unknown client %q%s: known are %s", name, near.Hint(name, Names()),
		strings.Join(Names(), ", "))
}

// Settings are those for one server.
func (c Client) Settings(s Server) (Settings, error) {
	out := Settings{Files: map[string]string{}}
	all, err := template.New("").
		Funcs(template.FuncMap{"json": quoted}).
		ParseFS(templates, "settings/*")
	if err != nil {
		return out, err
	}
	for name, from := range c.files {
		var text strings.Builder
		if err := all.ExecuteTemplate(&text, from, s); err != nil {
			return out, err
		}
		out.Files[filepath.Join(s.Dir, name)] = text.String()
	}
	for _, list := range []struct {
		from []string
		to   *[]string
	}{{c.env, &out.Env}, {c.args, &out.Args}} {
		for _, from := range list.from {
			t, err := template.New("").Parse(from)
			if err != nil {
				return out, err
			}
			var text strings.Builder
			if err := t.Execute(&text, s); err != nil {
				return out, err
			}
			*list.to = append(*list.to, text.String())
		}
	}
	return out, nil
}

// quoted is a value as JSON, TOML and YAML all have it.
func quoted(v any) (string, error) {
	data, err := json.Marshal(v)
	return string(data), err
}

// Write puts the files where they belong, for nobody else to read. Files of the client's
// own that are there stay; settings that it changed are written anew.
func (s Settings) Write() error {
	for path, text := range s.Files {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("settings of the client: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("settings of the client: %w", err)
		}
	}
	return nil
}

// Print shows the settings as a person would make them by hand.
func (s Settings) Print(w io.Writer, program string, args []string) error {
	for _, path := range slices.Sorted(maps.Keys(s.Files)) {
		if _, err := fmt.Fprintf(w, "# %s\n%s\n", path, s.Files[path]); err != nil {
			return err
		}
	}
	var line []string
	for _, env := range s.Env {
		name, value, _ := strings.Cut(env, "=")
		line = append(line, name+"="+shellQuoted(value))
	}
	for _, arg := range slices.Concat([]string{program}, s.Args, args) {
		line = append(line, shellQuoted(arg))
	}
	_, err := fmt.Fprintln(w, strings.Join(line, " "))
	return err
}

var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// shellQuoted is a word as a shell reads it.
func shellQuoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
