package setup

import (
	"fmt"
	"time"

	"agent/internal/config"

	"github.com/spf13/pflag"
)

// Flags are flags that set configuration keys. Only those given on the command line become
// values; for the others the configuration holds.
type Flags struct {
	set  *pflag.FlagSet
	keys map[string]string // flag name to key
}

// Bind adds a flag for a key. Its type is that of def, which --help shows and which sets
// nothing.
func (v *Flags) Bind(fs *pflag.FlagSet, name, key string, def any, usage string) {
	v.set = fs
	if v.keys == nil {
		v.keys = map[string]string{}
	}
	v.keys[name] = key
	usage += " (" + key + ")"
	switch def := def.(type) {
	case string:
		fs.String(name, def, usage)
	case []string:
		fs.StringSlice(name, def, usage)
	case int:
		fs.Int(name, def, usage)
	case float64:
		fs.Float64(name, def, usage)
	case bool:
		fs.Bool(name, def, usage)
	case time.Duration:
		fs.Duration(name, def, usage)
	default:
		panic(fmt.Sprintf("flag --%s: no flag type for %T", name, def))
	}
}

// Given reports a flag that was on the command line.
func (v *Flags) Given(name string) bool { return v.set != nil && v.set.Changed(name) }

// Values are the values of the flags that were given.
func (v *Flags) Values() []config.Value {
	var out []config.Value
	if v.set == nil {
		return nil
	}
	v.set.Visit(func(f *pflag.Flag) {
		if key, ok := v.keys[f.Name]; ok {
			out = append(out, config.Value{Key: key, Value: v.value(f), Source: "--" + f.Name})
		}
	})
	return out
}

func (v *Flags) value(f *pflag.Flag) (value any) {
	switch f.Value.Type() {
	case "int":
		value, _ = v.set.GetInt(f.Name)
	case "float64":
		value, _ = v.set.GetFloat64(f.Name)
	case "bool":
		value, _ = v.set.GetBool(f.Name)
	case "stringSlice":
		value, _ = v.set.GetStringSlice(f.Name)
	default:
		value = f.Value.String()
	}
	return value
}
