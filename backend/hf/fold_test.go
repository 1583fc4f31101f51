//go:build cgo

package hf

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

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
