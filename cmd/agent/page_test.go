package main

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The page, in a real Chromium.

// browser opens a tab; log lines of the page fail the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("needs Chromium or Chrome (Debian: apt install chromium)")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1000, 900))
	ctx, end := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	ctx, end = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(end)
	return ctx
}

// picture keeps a screenshot where AGENT_PICTURES names a folder.
func picture(name string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		dir := os.Getenv("AGENT_PICTURES")
		if dir == "" {
			return nil
		}
		var png []byte
		if err := chromedp.CaptureScreenshot(&png).Do(ctx); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	})
}

// seen waits until an element holds a text.
func seen(selector, text string) chromedp.Action {
	return chromedp.PollFunction(`(s, t) => document.querySelector(s)?.textContent.includes(t)`, nil, chromedp.WithPollingArgs(selector, text))
}

func TestPageChatsAndDecides(t *testing.T) {
	ctx := browser(t)
	p := startServe(t, "--model", defaultModelFile(t), "llm.threads=1", "llm.temperature=0")
	var messages, count, options, kept string
	require.NoError(t, chromedp.Run(ctx,
		chromedp.Navigate(p.url+"/"),
		seen("#model", "tokens of context"),
		chromedp.SendKeys("#said", "What is the capital of France? Answer with one word.\r"),
		seen("#chat-count", "tokens/s"),
		picture("chat"),
		chromedp.Text("#messages", &messages),
		chromedp.Text("#chat-count", &count),
		chromedp.Reload(),
		seen("#messages", "capital of France"),
		chromedp.Text("#messages", &kept),
		chromedp.Click(`nav a[href="#decide"]`),
		chromedp.SendKeys("#about", "The water is boiling."),
		chromedp.SendKeys("#question", "How warm is the water?"),
		chromedp.SendKeys("#options", "hot\ncold"),
		chromedp.Click("#decide-form button"),
		seen("#decision", "margin"),
		picture("decide"),
		chromedp.Text("#decision", &options),
	))
	assert.Contains(t, messages, "Paris")
	assert.Regexp(t, `prompt \d+ tokens, \d+ of them from the cache; reply \d+`, count)
	assert.Equal(t, messages, kept, "the conversation outlives a reload")
	assert.Regexp(t, `(?s)hot.*%.*cold.*%`, options)
	require.NoError(t, chromedp.Run(ctx,
		chromedp.Click(`nav a[href="#chat"]`),
		chromedp.SendKeys("#said", "Count from 1 to 300, separated by commas.\r"),
		chromedp.WaitVisible("#chat-stop"),
		chromedp.Click("#chat-stop"),
		seen("#chat-count", "stopped"),
		chromedp.WaitNotVisible("#tasks-link"),
	))
}

// TestPageWorksOnATask: a call is refused, the page is loaded again while the next
// one waits, and that one is allowed.
func TestPageWorksOnATask(t *testing.T) {
	ctx := browser(t)
	dir := t.TempDir()
	writer := func(file, text string) string {
		return `{"command":"writer","content":[{"file":"` + file + `","text":"` + text + `"}]}`
	}
	quoted := ""
	for _, reply := range []string{writer("one.txt", "<b>1</b>"), writer("two.txt", "<img src=x onerror=alert(1)>"),
		`{"command":"answer","content":[{"text":"<script>done</script>"}]}`} {
		quoted += strconv.Quote(reply) + ","
	}
	p := startServe(t, "--workdir", dir, "llm=scripted", "llm.context_length=8192", "llm.replies=["+strings.TrimSuffix(quoted, ",")+"]")
	var run, runs string
	require.NoError(t, chromedp.Run(ctx,
		chromedp.Navigate(p.url+"/#tasks"),
		chromedp.WaitVisible("#tasks-link"),
		seen("#folder", filepath.Base(dir)),
		chromedp.SendKeys("#task", "Write two files.\r"),
		seen("#run .asks", "one.txt"),
		picture("asks"),
		chromedp.Click("#run .asks button:last-child"),
		seen("#run .asks", "two.txt"),
		chromedp.Reload(),
		seen("#run .asks", "two.txt"),
		chromedp.Click("#run .asks button:first-child"),
		seen("#run article:last-child", "answered"),
		picture("task"),
		chromedp.Text("#run", &run),
		chromedp.WaitVisible("#runs button"),
		chromedp.Text("#runs", &runs),
	))
	assert.Contains(t, run, "Refused")
	assert.Contains(t, run, "Allowed")
	assert.Contains(t, run, "<script>done</script>", "text stays text")
	assert.Contains(t, runs, "Write two files.")
	assert.NoFileExists(t, filepath.Join(dir, "one.txt"))
	text, err := os.ReadFile(filepath.Join(dir, "two.txt"))
	require.NoError(t, err)
	assert.Equal(t, "<img src=x onerror=alert(1)>", string(text))
}

// TestPageNeedsTheKey: its parts are open, what they ask for is not.
func TestPageNeedsTheKey(t *testing.T) {
	t.Setenv("AGENT_API_KEY", "a-long-random-text")
	p := startServe(t, "--workdir", t.TempDir(), "llm=scripted", `llm.replies=["x"]`)
	for path, want := range map[string]int{"/": 200, "/page/page.js": 200, "/page/none.js": 404, "/tasks": 401, "/tasks/1/events": 401, "/v1/models": 401} {
		res, err := http.Get(p.url + path)
		require.NoError(t, err)
		res.Body.Close()
		assert.Equal(t, want, res.StatusCode, path)
	}
	ctx := browser(t)
	require.NoError(t, chromedp.Run(ctx,
		chromedp.Navigate(p.url+"/"),
		chromedp.WaitVisible("#key"),
		chromedp.SendKeys("#key", "a-long-random-text\r"),
		seen("#model", "scripted"),
	))
}
