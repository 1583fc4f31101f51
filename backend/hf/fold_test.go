//go:build cgo

package hf

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

// System messages within a chat, for templates that take them at the start alone.
func TestTemplatesThatTakeSystemFirst(t *testing.T) {
	chat := []backend.Message{{Role: backend.RoleSystem, Content: "Be brief."}, {Role: backend.RoleUser, Content: "One."}, {Role: backend.RoleAssistant, Content: "Yes."},
		{Role: backend.RoleSystem, Content: "Be kind."}, {Role: backend.RoleUser, Content: "Two."}, {Role: backend.RoleUser, Content: "Three."}}
	const turn, end = "<{{ m.role }}>{{ m.content }}", "{% if add_generation_prompt %}<assistant>{% endif %}"
	for template, late := range map[string]bool{
		"{% for m in messages %}" + turn + "{% endfor %}" + end: false,
		"{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('System message must be at the beginning.') }}{% endif %}" + turn + "{% endfor %}" + end:                                                                              true,
		"{% if messages[0].role == 'system' %}<system>{{ messages[0].content }}{% endif %}{% for m in messages %}{% if m.role != 'system' %}" + turn + "{% endif %}{% endfor %}" + end:                                                                                 true,
		"{% if messages[0].role == 'system' %}<system>{{ messages[0].content }}{% set ms = messages[1:] %}{% else %}{% set ms = messages %}{% endif %}{% for m in ms %}{% if m.role == 'system' %}{{ raise_exception('x') }}{% endif %}" + turn + "{% endfor %}" + end: true,
	} {
		var warned []string
		b, err := Open(t.Context(), Config{ModelID: "m", Path: modelPath(t), ChatTemplate: template, ContextLength: 512, Threads: 1, Warn: func(s string) { warned = append(warned, s) }})
		require.NoError(t, err)
		got, err := b.RenderChat(t.Context(), chat[:3])
		require.NoError(t, err)
		assert.Equal(t, "<system>Be brief.<user>One.<assistant>Yes.<assistant>", got)
		assert.Empty(t, warned)
		for range 2 {
			got, err = b.RenderChat(t.Context(), chat)
			require.NoError(t, err)
		}
		if late {
			assert.Equal(t, "<system>Be brief.<user>One.<assistant>Yes.<user>Be kind.\n\nTwo.\n\nThree.<assistant>", got, template)
			assert.Len(t, warned, 1)
		} else {
			assert.Equal(t, "<system>Be brief.<user>One.<assistant>Yes.<system>Be kind.<user>Two.<user>Three.<assistant>", got)
			assert.Empty(t, warned)
		}
		require.NoError(t, b.Close())
	}
}

// Templates that take no system message or want roles to alternate, as families have them.
func TestTemplatesThatRefuse(t *testing.T) {
	const end = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
	chat := []backend.Message{{Role: backend.RoleSystem, Content: "Be brief."}, {Role: backend.RoleUser, Content: "One."}, {Role: backend.RoleUser, Content: "Two."},
		{Role: backend.RoleAssistant, Content: "Yes."}, {Role: backend.RoleUser, Content: "Three."}}
	turn := "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
	for name, c := range map[string]struct {
		template, want string
		warnings       int
		refused        string
	}{
		"takes all": {template: "{% for m in messages %}" + turn + "{% endfor %}" + end,
			want: "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne.<|im_end|>\n<|im_start|>user\nTwo.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nThree.<|im_end|>\n<|im_start|>assistant\n"},
		"refuses system": {template: "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + turn + "{% endfor %}" + end, warnings: 1,
			want: "<|im_start|>user\nBe brief.\n\nOne.\n\nTwo.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nThree.<|im_end|>\n<|im_start|>assistant\n"},
		"drops system": {template: "{% for m in messages %}{% if m.role != 'system' %}" + turn + "{% endif %}{% endfor %}" + end, warnings: 1,
			want: "<|im_start|>user\nBe brief.\n\nOne.\n\nTwo.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nThree.<|im_end|>\n<|im_start|>assistant\n"},
		"alternates": {template: "{% for m in messages %}{% if not loop.first and m.role == messages[loop.index0 - 1].role %}{{ raise_exception('roles must alternate') }}{% endif %}" + turn + "{% endfor %}" + end, warnings: 1,
			want: "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne.\n\nTwo.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nThree.<|im_end|>\n<|im_start|>assistant\n"},
		"Gemma": {template: "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}" + turn + "{% endfor %}" + end, warnings: 2,
			want: "<|im_start|>user\nBe brief.\n\nOne.\n\nTwo.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nThree.<|im_end|>\n<|im_start|>assistant\n"},
		"Mistral": {template: "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set ms = messages[1:] %}{% else %}{% set s = '' %}{% set ms = messages %}{% endif %}{% for m in ms %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}{% if m.role == 'user' %}[INST]{% if loop.last and s %}{{ s + ' ' }}{% endif %}{{ m.content }}[/INST]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}", warnings: 1,
			want: "[INST]One.\n\nTwo.[/INST]Yes.</s>[INST]Be brief. Three.[/INST]"},
		"drops all but user": {template: "{% for m in messages %}{% if m.role == 'user' or m.role == 'assistant' %}" + turn + "{% endif %}{% endfor %}" + end, warnings: 1,
			want: "<|im_start|>user\nBe brief.\n\nOne.\n\nTwo.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nThree.<|im_end|>\n<|im_start|>assistant\n"},
		"takes a role it does not know for the user's": {template: "{% for m in messages %}{% if m.role == 'assistant' %}A: {{ m.content }}\n{% else %}U: {{ m.content }}\n{% endif %}{% endfor %}A:",
			want: "U: Be brief.\nU: One.\nU: Two.\nA: Yes.\nU: Three.\nA:"},
		"shows the last alone": {template: "{% set m = messages[-1] %}" + turn + end, warnings: 1,
			want: "<|im_start|>user\nThree.<|im_end|>\n<|im_start|>assistant\n"},
		"drops the assistant's": {template: "{% for m in messages %}{% if m.role != 'assistant' %}" + turn + "{% endif %}{% endfor %}" + end, warnings: 1,
			want: "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne.<|im_end|>\n<|im_start|>user\nTwo.<|im_end|>\n<|im_start|>user\nThree.<|im_end|>\n<|im_start|>assistant\n"},
		"shows the first alone": {template: "{% set m = messages[0] %}" + turn + end, warnings: 1,
			want: "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>assistant\n"},
		"shows none": {template: "Hello", warnings: 1, want: "Hello"},
		"quotes": {template: "{% for m in messages %}{{ m.role }}: {{ m.content | tojson }}\n{% endfor %}",
			want: "system: \"Be brief.\"\nuser: \"One.\"\nuser: \"Two.\"\nassistant: \"Yes.\"\nuser: \"Three.\"\n"},
		"refuses everything": {template: "{{ raise_exception('tools must be given') }}", refused: "tools must be given", warnings: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var warned []string
			b, err := Open(t.Context(), Config{ModelID: "m", Path: modelPath(t), ChatTemplate: c.template, ContextLength: 512, Threads: 1, Warn: func(s string) { warned = append(warned, s) }})
			require.NoError(t, err)
			defer b.Close()
			for range 2 {
				got, err := b.RenderChat(t.Context(), chat)
				var refused *backend.ChatRefusedError
				if c.refused != "" {
					require.ErrorAs(t, err, &refused)
					assert.ErrorContains(t, err, c.refused)
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, c.want, got)
			}
			assert.Len(t, warned, c.warnings)
			_, err = b.CountTokens(context.Background(), chat[:1])
			if c.refused == "" {
				assert.NoError(t, err)
			}
		})
	}
}

// A template that takes the date is known by it.
func TestTemplatesWithTheDate(t *testing.T) {
	for template, want := range map[string]bool{
		`Today is {{ strftime_now("%d %b %Y") }}`: true, `{%- set today = strftime_now("%Y-%m-%d") %}`: true,
		`{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}`: true, `{{ datetime.now().strftime("%Y") }}`: true, `{{ now () }}`: true,
		`{{ messages[0].content }}`: false, `{{ known(messages) }}`: false, `You know a lot up to now.`: false, `{{ updated }}`: false, ``: false,
	} {
		assert.Equal(t, want, dated.MatchString(template), template)
	}
}

// A fingerprint is another one for whatever may change a reply, and else the same.
func TestFingerprint(t *testing.T) {
	seen := map[string]int{}
	for i, change := range []func(*Config){
		func(*Config) {}, func(c *Config) { c.ModelID = "a name" }, func(c *Config) { c.Warn = func(string) {} },
		func(c *Config) { c.ContextLength = 256 }, func(c *Config) { c.KVType = "bf16" }, func(c *Config) { c.Ubatch = 64 },
		func(c *Config) { c.ThreadsBatch = 2 }, func(c *Config) { c.NoFlashAttn = true },
	} {
		c := Config{ModelID: "m", Path: modelPath(t), ContextLength: 512, Threads: 1, ThreadsBatch: 1}
		change(&c)
		b, err := Open(t.Context(), c)
		require.NoError(t, err)
		f := b.Fingerprint()
		require.NoError(t, b.Close())
		assert.Regexp(t, "^fp_[0-9a-f]{12}_varies$", f)
		if first, ok := seen[f]; ok {
			assert.True(t, first == 0 && i < 3, "change %d is told", i)
		} else {
			seen[f] = i
		}
	}
	assert.Len(t, seen, 6)
}
