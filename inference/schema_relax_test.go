package inference

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRelaxSchema(t *testing.T) {
	for name, c := range map[string]struct {
		schema, want string
		left         int
	}{
		"nothing to do":       {`{"type":"object","properties":{"n":{"type":"integer","minimum":1}}}`, `{"type":"object","properties":{"n":{"type":"integer","minimum":1}}}`, 0},
		"two bounds below":    {`{"type":"object","properties":{"n":{"type":"number","minimum":1}}}`, `{"type":"object","properties":{"n":{"type":"number"}}}`, 1},
		"names of keys":       {`{"type":"object","propertyNames":{"pattern":"^a"},"additionalProperties":{"type":"string"}}`, `{"type":"object","additionalProperties":{"type":"string"}}`, 1},
		"an unknown format":   {`{"type":"object","properties":{"u":{"type":"string","format":"uri"}}}`, `{"type":"object","properties":{"u":{"type":"string"}}}`, 1},
		"a long text":         {`{"type":"object","properties":{"u":{"type":"string","maxLength":524288}}}`, `{"type":"object","properties":{"u":{"type":"string"}}}`, 1},
		"several in a list":   {`{"type":"object","properties":{"u":{"anyOf":[{"type":"string"},{"type":"array","uniqueItems":true,"items":{"type":"number","multipleOf":3}}]}}}`, `{"type":"object","properties":{"u":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"number"}}]}}}`, 2},
		"a name with a slash": {`{"type":"object","properties":{"a/b":{"type":"array","contains":{}}}}`, `{"type":"object","properties":{"a/b":{"type":"array"}}}`, 1},
		"behind a reference":  {`{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"array","contains":{}}}}`, `{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"array"}}}`, 1},
		"a wrong reference":   {`{"type":"object","properties":{"a":{"$ref":"#/$defs/y"}}}`, `{"type":"object","properties":{"a":{}}}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, left, err := RelaxSchema([]byte(c.schema))
			require.NoError(t, err)
			assert.JSONEq(t, c.want, string(got), left)
			assert.Len(t, left, c.left)
		})
	}
	got, _, err := RelaxSchema([]byte(`{"type":"object","properties":{"zoo":{"type":"string","format":"uri"},"bee":{"anyOf":[{"properties":{"y":{},"x":{}}},{}]},"ant":{"minimum":-9007199254740991,"type":"integer"}}}`))
	require.NoError(t, err)
	assert.Equal(t, `{"type":"object","properties":{"zoo":{"type":"string"},"bee":{"anyOf":[{"properties":{"y":{},"x":{}}},{}]},"ant":{"type":"integer"}}}`, string(got), "the order stays")
	for _, bad := range []string{``, `[]`, `{"a":`, `"x"`} {
		_, _, err := RelaxSchema([]byte(bad))
		assert.Error(t, err, bad)
	}
}

// A schema that is wrong everywhere costs no more than some passes over it.
func TestRelaxHostileSchema(t *testing.T) {
	var parts []string
	for i := range 5000 {
		parts = append(parts, fmt.Sprintf(`"p%d":{"type":"number","multipleOf":%d}`, i, i+2))
	}
	got, left, err := RelaxSchema([]byte(`{"type":"object","properties":{` + strings.Join(parts, ",") + `}}`))
	require.NoError(t, err)
	assert.JSONEq(t, `{"type":"object"}`, string(got))
	assert.LessOrEqual(t, len(left), relaxationsMax+1)
}

// The tools of real coding agents.
func TestRelaxSchemasOfClients(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(os.Getenv("AGENT_SHARED"), "clients", "tool_schemas.json"))
	if err != nil {
		t.Skip("needs clients/tool_schemas.json: set AGENT_SHARED")
	}
	var tools []struct {
		Client, Name string
		Schema       json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &tools))
	require.NotEmpty(t, tools)
	for _, tool := range tools {
		if tool.Schema == nil || string(tool.Schema) == "null" {
			continue // not a function
		}
		relaxed, left, err := RelaxSchema(tool.Schema)
		if assert.NoError(t, err, "%s %s", tool.Client, tool.Name) {
			_, _, err = RelaxSchema(relaxed)
			assert.NoError(t, err)
			t.Log(tool.Client, tool.Name, left)
		}
	}
}
