package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// environOverrides makes overrides of AGENT_ variables, in order of their
// names: AGENT_LLM=openai chooses the option of the group llm, and
// AGENT_LLM__TEMPERATURE=0 sets llm.temperature. A variable with two
// underscores that matches no key is a warning, since it may be meant for
// another option of the group.
func environOverrides(repo *repository, environ []string) ([]*override, error) {
	vars := make(map[string]string)
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, envPrefix) {
			vars[name] = value
		}
	}
	names := sortedKeys(vars)
	sort.Strings(names)
	var out []*override
	for _, name := range names {
		key := strings.ToLower(strings.TrimPrefix(name, envPrefix))
		path := strings.ReplaceAll(key, "__", ".")
		at := Origin{File: "environment " + name}
		switch {
		case path != key && keyRegexp.MatchString(path):
			v, err := environValue(vars[name], at)
			if err != nil {
				return nil, err
			}
			out = append(out, &override{kind: changeKey, key: path, value: v, text: path + "=", soft: true, origin: at})
		case repo.isGroup(key) && vars[name] != "":
			out = append(out, &override{kind: changeKey, key: key, value: newString(vars[name], at), text: key + "=", origin: at})
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

// LoadDotEnv reads NAME=value lines of a file into the environment of the
// process, except for names that are set already. A file that does not exist
// is no error. The names that were set are returned.
func LoadDotEnv(file string) ([]string, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.IsDir() {
		return nil, nil // a Python virtual environment is sometimes called .env
	}
	if err != nil || info.Size() > fileBytesMax {
		return nil, problem(Origin{File: file}, "", "can't be read, or is larger than %d bytes", fileBytesMax)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, problem(Origin{File: file}, "", "can't be read: %s", err)
	}
	data = append(data, '\n') // a last line that is none is an error only when it ends
	vars, err := godotenv.UnmarshalBytes(data)
	if err != nil {
		// The parser's error quotes the file, which is full of secrets.
		at := badLine(data, func(text []byte) error { _, err := godotenv.UnmarshalBytes(text); return err })
		return nil, problem(Origin{File: file, Line: at}, "", "is not a list of NAME=value lines").
			advise("quote values with special characters: NAME='value'")
	}
	var set []string
	for _, name := range sortedKeys(vars) {
		if _, taken := os.LookupEnv(name); taken {
			continue
		}
		if err := os.Setenv(name, vars[name]); err != nil {
			return set, fmt.Errorf("config: %s: %s can't be set: %w", file, name, err)
		}
		set = append(set, name)
	}
	return set, nil
}
