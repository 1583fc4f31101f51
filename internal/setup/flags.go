package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"agent/internal/config"
)

// flagValues are flags that stand for configuration keys. Only those that were
// given on the command line become values, so that the configuration holds
// otherwise.
type flagValues struct {
	set     *pflag.FlagSet
	keys    map[string]string // flag name to key
	disable []string
}

// bind adds a flag for a key. The type of zero is the type of the flag.
func (v *flagValues) bind(fs *pflag.FlagSet, name, key string, zero any, usage string) {
	v.set = fs
	if v.keys == nil {
		v.keys = map[string]string{}
	}
	v.keys[name] = key
	usage += " (" + key + ")"
	switch zero.(type) {
	case string:
		fs.String(name, "", usage)
	case int:
		fs.Int(name, 0, usage)
	case float64:
		fs.Float64(name, 0, usage)
	case bool:
		fs.Bool(name, false, usage)
	case time.Duration:
		fs.Duration(name, 0, usage)
	default:
		panic(fmt.Sprintf("flag --%s: no flag type for %T", name, zero))
	}
}

// given reports a flag that was on the command line.
func (v *flagValues) given(name string) bool { return v.set != nil && v.set.Changed(name) }

// list are the values of the flags that were given.
func (v *flagValues) list() []config.Value {
	var out []config.Value
	if v.set == nil {
		return nil
	}
	v.set.Visit(func(f *pflag.Flag) {
		key, ok := v.keys[f.Name]
		if !ok {
			return
		}
		out = append(out, config.Value{Key: key, Value: flagValue(v.set, f), Source: "--" + f.Name})
	})
	return out
}

func flagValue(fs *pflag.FlagSet, f *pflag.Flag) any {
	switch f.Value.Type() {
	case "int":
		n, _ := fs.GetInt(f.Name)
		return n
	case "float64":
		x, _ := fs.GetFloat64(f.Name)
		return x
	case "bool":
		b, _ := fs.GetBool(f.Name)
		return b
	}
	return f.Value.String()
}

// useColor: on a terminal, unless NO_COLOR or a dumb terminal says otherwise.
func useColor(w io.Writer) bool {
	return canWatch(w) && os.Getenv("NO_COLOR") == ""
}
