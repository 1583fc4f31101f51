package backend

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// noReply is a server's success that holds no reply: an empty body, a list without
// choices, a web page.
type noReply struct {
	what string // it is instead
	came string // how it begins
}

const cameBytes = 120 // shown of it

func (e *noReply) Error() string {
	if e.came == "" {
		return "the server answered 200 with " + e.what
	}
	return fmt.Sprintf("the server answered 200 with %s: %q", e.what,
		firstRunes(strings.Join(strings.Fields(e.came), " "), cameBytes))
}

// Hint names the likely cause.
func (e *noReply) Hint() string {
	return "check llm.server_ip: it usually ends in /v1; a proxy or a login page may stand before the server, too"
}

// checkPage refuses a web page in place of an answer, with how it begins.
func checkPage(resp *http.Response) error {
	kind := resp.Header.Get("Content-Type")
	if strings.HasPrefix(kind, "application/json") || strings.HasPrefix(kind, "text/event-stream") {
		return nil
	}
	in := bufio.NewReader(resp.Body)
	start, err := in.Peek(cameBytes)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{in, resp.Body}
	text := strings.TrimSpace(string(start))
	if strings.HasPrefix(kind, "text/html") || err == nil && strings.HasPrefix(text, "<") {
		resp.Body.Close()
		return &noReply{"a web page", text}
	}
	return nil
}
