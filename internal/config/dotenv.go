package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// The grammar of .env files is that of python-dotenv, with NAME: value as godotenv has it.
var (
	dotEnvBlank  = regexp.MustCompile(`^(?:\s|#[^\r\n]*)*`)
	dotEnvName   = regexp.MustCompile(`^(?:export[ \t]+)?([^\s=:#'"]+)[ \t]*[=:]`)
	dotEnvSingle = regexp.MustCompile(`^[ \t]*'((?:\\'|[^'])*)'`)
	dotEnvDouble = regexp.MustCompile(`^[ \t]*"((?:\\"|[^"])*)"`)
	dotEnvPlain  = regexp.MustCompile(`^[^\r\n]*`)
	dotEnvEnd    = regexp.MustCompile(`^[ \t]*(?:#[^\r\n]*)?(?:\r\n|\n|\r|$)`)
	dotEnvNote   = regexp.MustCompile(`[ \t]#.*`)
	dotEnvEscape = regexp.MustCompile(`\\[\\'"abfnrtv]`)
	dotEnvRef    = regexp.MustCompile(`\\\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
)

// ReadDotEnv reads the NAME=value lines of a file, and changes no environment. A
// file that does not exist is no error. A dollar sign stands for itself, since many a
// secret has one, but for ${NAME} where a line above gives NAME.
func ReadDotEnv(file string) (map[string]string, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.IsDir() {
		return nil, nil // a Python virtual environment is sometimes called .env
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > fileBytesMax {
		return nil, problem(Origin{File: file}, "", "can't be read, or is no file of at most %d bytes",
			fileBytesMax)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, problem(Origin{File: file}, "", "can't be read: %s", reason(err))
	}
	// By its mark it may be UTF-16, as a Windows shell writes it.
	data, _, err = transform.Bytes(unicode.BOMOverride(transform.Nop), data)
	if err != nil || !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, problem(Origin{File: file}, "", "is not UTF-8").Advise("save it as UTF-8")
	}
	return parseDotEnv(file, string(data))
}

func parseDotEnv(file, text string) (map[string]string, error) {
	vars, rest := map[string]string{}, text
	for {
		if rest = rest[len(dotEnvBlank.FindString(rest)):]; rest == "" {
			return vars, nil
		}
		name := dotEnvName.FindStringSubmatch(rest)
		value, length := "", 0
		if name != nil {
			value, length = dotEnvValue(rest[len(name[0]):], vars)
			length += len(name[0])
		}
		end := dotEnvEnd.FindString(rest[length:])
		if name == nil || end == "" && length < len(rest) {
			// The line itself is not shown: it may hold a secret.
			line := strings.Count(text[:len(text)-len(rest)], "\n") + 1
			return nil, problem(Origin{File: file, Line: line}, "", "is not a list of NAME=value lines").
				Advise("quote values with special characters: NAME='value'")
		}
		vars[name[1]] = value
		rest = rest[length+len(end):]
	}
}

// dotEnvValue reads a value, and the length of what it is written as.
func dotEnvValue(text string, vars map[string]string) (value string, length int) {
	if m := dotEnvSingle.FindStringSubmatch(text); m != nil {
		return strings.ReplaceAll(m[1], `\'`, "'"), len(m[0])
	}
	if m := dotEnvDouble.FindStringSubmatch(text); m != nil {
		value = dotEnvEscape.ReplaceAllStringFunc(m[1], func(s string) string {
			return string("\\'\"\a\b\f\n\r\t\v"[strings.IndexByte(`\'"abfnrtv`, s[1])])
		})
		return dotEnvDollars(value, vars), len(m[0])
	}
	line := dotEnvPlain.FindString(text)
	if trimmed := strings.TrimLeft(line, " \t"); trimmed != "" &&
		(trimmed[0] == '"' || trimmed[0] == '\'') {
		return "", 0 // a quote that does not end
	}
	return dotEnvDollars(strings.TrimSpace(dotEnvNote.ReplaceAllString(line, "")), vars), len(line)
}

// dotEnvDollars puts in variables of the lines above.
func dotEnvDollars(value string, vars map[string]string) string {
	return dotEnvRef.ReplaceAllStringFunc(value, func(s string) string {
		if s == `\$` {
			return "$"
		}
		if v, ok := vars[s[2:len(s)-1]]; ok {
			return v
		}
		return s
	})
}
