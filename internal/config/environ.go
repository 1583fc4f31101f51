package config

import (
	"slices"
	"strings"
)

// envPrefix begins the variables that set configuration.
const envPrefix = "AGENT_"

// variables are those of a list of NAME=value pairs; the last wins.
func variables(environ []string) map[string]string {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			vars[name] = value
		}
	}
	return vars
}

// namesNotIn are the pairs whose names others lack, sorted.
func namesNotIn(pairs, others []string) []string {
	taken := variables(others)
	var out []string
	for _, kv := range pairs {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := taken[name]; !ok && name != "" {
			out = append(out, kv)
		}
	}
	slices.Sort(out)
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
	vars := variables(environ)
	var out []*override
	for _, name := range sortedKeys(vars) {
		key, ours := strings.CutPrefix(name, envPrefix)
		if !ours {
			continue
		}
		key = strings.ToLower(key)
		path := strings.ReplaceAll(key, "__", ".")
		at := Origin{File: from + name}
		switch {
		case path != key && keyRegexp.MatchString(path):
			v, err := environValue(vars[name], at)
			if err != nil {
				return nil, err
			}
			out = append(out, &override{kind: changeKey, key: path, value: v, text: path + "=", soft: true,
				origin: at})
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
		return plainScalar(s, at)
	}
	doc, err := parseDocument(at.File, []byte(s))
	if err != nil {
		return nil, err
	}
	n, err := (&yamlBuilder{file: at.File}).build(doc, 0)
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
