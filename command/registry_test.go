package command_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/command/stock"
)

func standard(t *testing.T) *command.Registry {
	t.Helper()
	reg, err := stock.Standard()
	require.NoError(t, err)
	return reg
}

func named(name string, effect command.Effect, aliases ...string) command.Command {
	return command.Func(command.Spec{Name: name, Aliases: aliases, Effect: effect}, func(context.Context, *command.Env, *command.Call) (*command.Result, error) {
		return &command.Result{Text: name}, nil
	})
}

func TestLookup(t *testing.T) {
	reg := standard(t)
	tests := []struct {
		written, name string
		match         command.Match
		suggestion    string
	}{
		{"reader", "reader", command.MatchExact, ""},
		{" reader ", "reader", command.MatchExact, ""},
		{"Reader", "reader", command.MatchAlias, ""},
		{"`reader`", "reader", command.MatchAlias, ""},
		{"read", "reader", command.MatchAlias, ""},
		{"summarize", "reader", command.MatchAlias, ""},
		{"final-answer", "answer", command.MatchAlias, ""},
		{"google", "search", command.MatchAlias, ""},
		{"readr", "reader", command.MatchFuzzy, "reader"},
		{"pyton", "python", command.MatchFuzzy, "python"},
		{"fetch_url", "fetch_url", command.MatchNone, ""},
		{"raeder", "raeder", command.MatchNone, "reader"},
		{"", "", command.MatchNone, ""},
	}
	for _, tt := range tests {
		t.Run(tt.written, func(t *testing.T) {
			l := reg.Lookup(tt.written)
			assert.Equal(t, tt.match, l.Match)
			assert.Equal(t, tt.name, l.Name)
			assert.Equal(t, tt.suggestion, l.Suggestion)
		})
	}
	assert.Equal(t, command.MatchNone, (*command.Registry)(nil).Lookup("x").Match)
}

func TestResolveNeverGuessesWhatMatters(t *testing.T) {
	reg := standard(t)
	c, err := reg.Resolve("readr")
	require.NoError(t, err)
	assert.Equal(t, "reader", c.Spec().Name)

	_, err = reg.Resolve("pyton")
	var unknown *command.UnknownError
	require.ErrorAs(t, err, &unknown)
	assert.Equal(t, `did you mean "python"?`, unknown.Hint())

	_, err = reg.Resolve("google") // an alias of what is not registered
	require.ErrorAs(t, err, &unknown)
	assert.Equal(t, "search", unknown.Name)
}

func TestDisable(t *testing.T) {
	reg := standard(t)
	require.NoError(t, reg.Disable("py")) // by an alias
	for _, name := range []string{"python", "py", "python3", "Python"} {
		_, err := reg.Resolve(name)
		var disabled *command.DisabledError
		assert.ErrorAs(t, err, &disabled, name)
	}
	assert.NotContains(t, reg.Names(), "python")
	require.NoError(t, reg.Replace(named("python", command.EffectExecute)))
	assert.NotContains(t, reg.Names(), "python", "a redefinition stays disabled")

	assert.ErrorContains(t, reg.Disable("answer"), "essential")
	err := reg.Disable("readr")
	var unknown *command.UnknownError
	require.ErrorAs(t, err, &unknown)
	assert.Equal(t, "reader", unknown.Suggestion)
	assert.Error(t, reg.Disable("google"))
}

func TestRegister(t *testing.T) {
	reg := standard(t)
	require.NoError(t, reg.Register(named("search", command.EffectNetwork)))
	c, err := reg.Resolve("google")
	require.NoError(t, err)
	assert.Equal(t, "search", c.Spec().Name)

	tests := []struct {
		name    string
		command command.Command
		replace bool
		want    string
	}{
		{"taken", named("reader", command.EffectRead), false, "the name is taken"},
		{"essential", named("answer", command.EffectNone), false, "essential"},
		{"essential, replacing", named("answer", command.EffectNone), true, "essential"},
		{"alias of the essential", named("final", command.EffectNone), true, "essential"},
		{"alias taken", named("mine", command.EffectNone, "answer"), true, `belongs to "answer"`},
		{"alias of another", named("mine", command.EffectNone, "read"), false, `belongs to "reader"`},
		{"no name", named("", command.EffectNone), false, "1 to 64 bytes"},
		{"bad name", named("My Command", command.EffectNone), false, "only a-z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			add := reg.Register
			if tt.replace {
				add = reg.Replace
			}
			assert.ErrorContains(t, add(tt.command), tt.want)
		})
	}
	require.NoError(t, reg.Replace(named("reader", command.EffectRead, "peek")))
	assert.Equal(t, command.MatchAlias, reg.Lookup("peek").Match)
	assert.NotEqual(t, "reader", reg.Lookup("cat").Name, "the old aliases are gone")
	require.NoError(t, reg.Register(named("view", command.EffectRead)))
	assert.Equal(t, "view", reg.Lookup("view").Name, "a name beats an alias")
	assert.Equal(t, []string{"think", "list", "reader", "writer", "edit", "replace", "python", "decide", "answer", "search", "view"}, reg.Names())
	assert.Len(t, reg.Specs(), 11)
}

func TestRemove(t *testing.T) {
	reg := standard(t)
	require.NoError(t, reg.Register(named("weather", command.EffectNone, "forecast")))
	require.NoError(t, reg.Remove("weather"))
	assert.Equal(t, command.MatchNone, reg.Lookup("weather").Match)
	assert.Equal(t, command.MatchNone, reg.Lookup("forecast").Match)
	assert.NotContains(t, reg.Names(), "weather")
	require.NoError(t, reg.Register(named("forecast", command.EffectNone, "weather")), "name and alias are free")

	assert.ErrorContains(t, reg.Remove("answer"), "essential")
	assert.ErrorContains(t, reg.Remove("forecasts"), "unknown command")
	assert.ErrorContains(t, reg.Remove("weather"), "unknown command", "an alias is no name")
}

func TestSpecsAreTerse(t *testing.T) {
	reg := standard(t)
	words := 0
	for _, spec := range reg.Specs() {
		assert.NotEmpty(t, spec.Description, spec.Name)
		if spec.For != nil {
			continue // shown for its kind of task alone
		}
		words += len(spec.Name) + len(spec.Description)
		for _, slot := range spec.Slots {
			assert.NotEmpty(t, slot.Help, "%s.%s", spec.Name, slot.Name)
			words += len(slot.Name) + len(slot.Help)
		}
	}
	assert.Less(t, words, 800, "bytes of prompt, about four to a token")
}

func TestTextSlot(t *testing.T) {
	for name, want := range map[string]string{"think": "text", "reader": "file", "writer": "text", "python": "code", "answer": "text"} {
		assert.Equal(t, want, standard(t).Lookup(name).Command.Spec().TextSlot(), name)
	}
	assert.Equal(t, "text", command.Spec{}.TextSlot())
}
