package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"sort"
	"strings"

	"github.com/joho/godotenv"
)

// envPrefix begins the variables that set configuration.
const envPrefix = "AGENT_"

// envLookup finds variables in a list of NAME=value pairs; the last wins.
func envLookup(environ []string) func(string) (string, bool) {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			vars[name] = value
		}
	}
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// namesNotIn are the pairs whose names others lack, sorted.
func namesNotIn(pairs, others []string) []string {
	taken := envLookup(others)
	var out []string
	for _, kv := range pairs {
		if name, _, _ := strings.Cut(kv, "="); name != "" {
			if _, ok := taken(name); !ok {
				out = append(out, kv)
			}
		}
	}
	sort.Strings(out)
	return out
}

// dotEnv begins the origin of what a folder's .env sets.
const dotEnv = ".env "

// environOverrides makes overrides of AGENT_ variables, the folder's first, each
// in order of their names: AGENT_LLM=openai chooses the option of the group llm,
// and AGENT_LLM__TEMPERATURE=0 sets llm.temperature. A variable with two
// underscores that matches no key is a warning, since it may be meant for
// another option of the group.
func environOverrides(repo *repository, opts Options) ([]*override, error) {
	out, err := overridesIn(repo, opts.Folder.Environ, dotEnv)
	if err != nil {
		return nil, err
	}
	for _, o := range out {
		o.foreign = true
	}
	own, err := overridesIn(repo, opts.Environ, userEnv)
	return append(out, own...), err
}

// userEnv begins the origin of what the environment of the process sets.
const userEnv = "environment "

// overridesIn are the overrides that a list of NAME=value pairs makes.
func overridesIn(repo *repository, environ []string, from string) ([]*override, error) {
	vars := make(map[string]string)
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, envPrefix) {
			vars[name] = value
		}
	}
	var out []*override
	for _, name := range sortedKeys(vars) {
		key := strings.ToLower(strings.TrimPrefix(name, envPrefix))
		path := strings.ReplaceAll(key, "__", ".")
		at := Origin{File: from + name}
		switch {
		case path != key && keyRegexp.MatchString(path):
			v, err := environValue(vars[name], at)
			if err != nil {
				return nil, err
			}
			out = append(out, &override{kind: changeKey, key: path, value: v, text: path + "=", soft: true, origin: at})
		case repo.isGroup(key) && vars[name] != "":
			out = append(out, &override{kind: changeKey, key: key, value: newString(vars[name], at),
				text: key + "=", origin: at})
		}
	}
	return out, nil
}

// environValue reads a variable's value as YAML would: scalars are typed as in
// a file, and what starts with [ or { is a list or mapping.
func environValue(s string, at Origin) (*node, error) {
	if !strings.HasPrefix(s, "[") && !strings.HasPrefix(s, "{") {
		n, err := plainScalar(s, at)
		if err != nil {
			return nil, problem(at, "", "%s", err)
		}
		return n, nil
	}
	doc, err := parseDocument(at.File, []byte(s))
	if err != nil {
		return nil, err
	}
	b := yamlBuilder{file: at.File}
	n, err := b.build(doc, 0)
	if err != nil {
		return nil, err
	}
	setOrigin(n, at)
	return n, nil
}

func setOrigin(n *node, at Origin) {
	n.origin = at
	n.children(func(c *node) { setOrigin(c, at) })
}

var (
	dotEnvLine = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*[=:]\s*(.*)`)
	dotEnvName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
)

// literalDollars keeps a dollar sign in a value from being read as a variable, since many
// a secret has one. ${NAME} stands for a variable of the lines above it, as in
// python-dotenv. Within single quotes nothing stands for anything else.
func literalDollars(data []byte) []byte {
	known := map[string]bool{}
	var out bytes.Buffer
	quoted := false // within single quotes that began on an earlier line
	for line := range bytes.Lines(data) {
		name, value := "", line
		if m := dotEnvLine.FindSubmatch(line); m != nil && !quoted {
			name, value = string(m[1]), m[2]
			quoted = bytes.HasPrefix(value, []byte("'"))
			value = bytes.TrimPrefix(value, []byte("'"))
		}
		closes := bytes.ContainsRune(value, '\'')
		if quoted {
			out.Write(line)
			quoted = !closes
		} else {
			for i, c := range line {
				ref := dotEnvName.FindSubmatch(line[i:])
				if c == '$' && (ref == nil || !known[string(ref[1])]) && (i == 0 || line[i-1] != '\\') {
					out.WriteByte('\\')
				}
				out.WriteByte(c)
			}
		}
		known[name] = true
	}
	return out.Bytes()
}

// ReadDotEnv reads the NAME=value lines of a file, and changes no environment. A
// file that does not exist is no error.
func ReadDotEnv(file string) (map[string]string, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.IsDir() {
		return nil, nil // a Python virtual environment is sometimes called .env
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > fileBytesMax {
		return nil, problem(Origin{File: file}, "", "can't be read, or is no file of at most %d bytes", fileBytesMax)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, problem(Origin{File: file}, "", "can't be read: %s", reason(err))
	}
	data = literalDollars(bytes.TrimPrefix(data, []byte("\uFEFF")))
	data = append(data, '\n') // a last line that is none is an error only when it ends
	vars, err := godotenv.UnmarshalBytes(data)
	if err != nil {
		// The parser's error quotes the file, which is full of secrets.
		at := badLine(data, func(text []byte) error { _, err := godotenv.UnmarshalBytes(text); return err })
		return nil, problem(Origin{File: file, Line: at}, "", "is not a list of NAME=value lines").
			advise("quote values with special characters: NAME='value'")
	}
	return vars, nil
}
