package inference

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"agent/inference/gguf/gguftest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// templateFamilies make hostile templates, each of a size.
var templateFamilies = map[string]func(n int) string{
	"nested lists":       func(n int) string { return "{{ " + strings.Repeat("[", n) + strings.Repeat("]", n) + " }}" },
	"nested parentheses": func(n int) string { return "{{ " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) + " }}" },
	"nested not":         func(n int) string { return "{{ " + strings.Repeat("not ", n) + "x }}" },
	"nested if":          func(n int) string { return strings.Repeat("{% if 1 %}", n) + "x" + strings.Repeat("{% endif %}", n) },
	"nested calls":       func(n int) string { return "{{ " + strings.Repeat("range(", n) + "1" + strings.Repeat(")", n) + " }}" },
	"chained sums":       func(n int) string { return "{{ 1" + strings.Repeat("+1", n) + " }}" },
	"chained filters":    func(n int) string { return "{{ 'x'" + strings.Repeat("|upper", n) + " }}" },
	"recursion": func(n int) string {
		return fmt.Sprintf("{%% macro f(x) %%}{{ f(x + %d) }}{%% endmacro %%}{{ f(1) }}", n)
	},
	"mutual recursion": func(n int) string {
		return fmt.Sprintf("{%% macro g(x) %%}{{ f(x) }}{%% endmacro %%}{%% macro f(x) %%}{{ g(x + %d) }}{%% endmacro %%}{{ f(1) }}", n)
	},
	"a list in itself": func(n int) string {
		return "{% set l = [] %}" + strings.Repeat("{% set _ = l.append(l) %}", 1+n%7) + "{{ l }}"
	},
	"nested ranges": func(n int) string {
		return strings.Repeat(fmt.Sprintf("{%% for i in range(%d) %%}", n), 4) + "x" + strings.Repeat("{% endfor %}", 4)
	},
	"silent ranges": func(n int) string {
		return strings.Repeat(fmt.Sprintf("{%% for i in range(%d) %%}", n), 5) + strings.Repeat("{% endfor %}", 5)
	},
	"doubled strings": func(n int) string {
		return "{% set ns = namespace(s='ab') %}" + fmt.Sprintf("{%% for i in range(%d) %%}", min(n, 200)) + "{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}"
	},
	"joined strings": func(n int) string {
		return "{% set ns = namespace(s='ab') %}" + fmt.Sprintf("{%% for i in range(%d) %%}", min(n, 200)) + "{% set ns.s = [ns.s, ns.s, ns.s] | join('-') %}{% endfor %}{{ ns.s }}"
	},
	"doubled lists": func(n int) string {
		return "{% set ns = namespace(s=[1]) %}" + fmt.Sprintf("{%% for i in range(%d) %%}", min(n, 200)) + "{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}"
	},
	"long ranges": func(n int) string { return fmt.Sprintf("{{ range(%d000000) | list | length }}", n) },
}

// hostileTemplates are all families in several sizes; every second one
// misbehaves only where the last message says so.
func hostileTemplates() map[string]string {
	const plain = "{% for m in messages %}{{ m.content }}{% endfor %}"
	all := map[string]string{}
	for name, family := range templateFamilies {
		for _, n := range []int{20_000, 150_000} {
			all[fmt.Sprintf("%s of %d", name, n)] = family(n) + plain
			all[fmt.Sprintf("%s of %d on a trigger", name, n)] = "{% if messages[-1].content == 'boom' %}" + family(n) + "{% endif %}" + plain
		}
	}
	return all
}

// childRenderers render in children of this test binary.
func childRenderers(t testing.TB) *renderers {
	t.Helper()
	if !Built() {
		t.Skip("needs the native engine")
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	p := newRenderers(exe)
	t.Cleanup(p.close)
	return p
}

func chatFor(t testing.TB, template, message string) []byte {
	t.Helper()
	in, err := json.Marshal(map[string]any{"template": template, "messages": []map[string]string{{"role": "user", "content": message}}})
	require.NoError(t, err)
	return in
}

// A template that does not end, recurses or swells is an error of the chat that
// it was given, soon; the next chat is rendered as if nothing had been.
func TestHostileTemplates(t *testing.T) {
	p := childRenderers(t)
	p.timeMax = 2 * time.Second
	templates := hostileTemplates()
	assert.GreaterOrEqual(t, len(templates), 60)
	turns := make(chan struct{}, renderersMax-2)
	for name, template := range templates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			start := time.Now()
			_, err := p.render(t.Context(), chatFor(t, template, "boom"))
			require.Error(t, err)
			assert.Less(t, time.Since(start), 30*time.Second)
			t.Logf("%6s: %.150v", time.Since(start).Round(time.Millisecond), err)
			if strings.HasSuffix(name, "on a trigger") && !errors.Is(err, ErrTemplate) {
				return // refused for its form
			}
			out, err := p.render(t.Context(), chatFor(t, "<{{ messages[0].content }}>", "fine"))
			require.NoError(t, err)
			assert.Contains(t, string(out), "fine")
		})
	}
}

// While a template runs in circles for one chat, others are rendered.
func TestRenderingBesideAnEndlessTemplate(t *testing.T) {
	p := childRenderers(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range renderersMax - 1 {
		wg.Go(func() {
			_, err := p.render(ctx, chatFor(t, templateFamilies["silent ranges"](20_000), "boom"))
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	for range 20 {
		_, err := p.render(t.Context(), chatFor(t, "{{ messages[0].content }}", "fine"))
		require.NoError(t, err)
	}
	start := time.Now()
	cancel()
	wg.Wait()
	assert.Less(t, time.Since(start), renderTimeMax, "a cancelled chat ends at once")
}

// A child that was ended from outside is replaced, and none is left at the end.
func TestRendererIsReplaced(t *testing.T) {
	p := childRenderers(t)
	chat := chatFor(t, "{{ messages[0].content }}", "fine")
	for range 3 {
		_, err := p.render(t.Context(), chat)
		require.NoError(t, err)
		require.Len(t, p.idle, 1)
		p.idle[0].kill()
		<-p.idle[0].done
	}
	_, err := p.render(t.Context(), chatFor(t, "{{ raise_exception('no such role') }}", ""))
	require.ErrorContains(t, err, "no such role")
	assert.NotErrorIs(t, err, ErrTemplate, "a refusal is no misbehaviour")
	kept := p.idle[0]
	p.close()
	assert.True(t, kept.ended())
}

// A model whose template misbehaves loads; each chat is an error that says so.
func TestModelWithAHostileTemplate(t *testing.T) {
	if !Built() {
		t.Skip("needs the native engine")
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	path := gguftest.Model().Set("tokenizer.chat_template", templateFamilies["recursion"](1)+"{{ messages[0].content }}").Write(t, "m.gguf")
	m, err := Load(t.Context(), path, &ModelOptions{RenderExecutable: exe})
	require.NoError(t, err)
	defer m.Close()
	_, err = m.Render(t.Context(), Chat{Messages: []Message{{Role: "user", Content: "hi"}}}, "")
	require.ErrorIs(t, err, ErrTemplate)
	assert.Contains(t, hintOf(err), "llm.chat_template=FILE")
}

// Both ways of rendering give the same; the child costs well below a millisecond.
func BenchmarkRender(b *testing.B) {
	child := childRenderers(b)
	template := "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
	var msgs []map[string]string
	for range 20 {
		msgs = append(msgs, map[string]string{"role": "user", "content": strings.Repeat("some words ", 100)}, map[string]string{"role": "assistant", "content": "yes"})
	}
	in, err := json.Marshal(map[string]any{"template": template, "messages": msgs})
	require.NoError(b, err)
	for name, p := range map[string]*renderers{"here": newRenderers(""), "child": child} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, err := p.render(b.Context(), in)
				require.NoError(b, err)
			}
		})
	}
}
