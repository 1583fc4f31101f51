package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Served is the throughput that clients got from a server together.
type Served struct {
	Tokens     int           // of all replies, as the server counts them
	Wall       time.Duration // from the first request to the end of the last reply
	FirstToken time.Duration // median over the clients, from request to first text
}

// PerSecond is the speed of all replies together, in tokens per second.
func (s Served) PerSecond() float64 { return Work{Tokens: s.Tokens, Wall: s.Wall}.PerSecond() }

// clients ask a server over OpenAI's protocol, each on a connection of its own.
type clients struct {
	url  string // of the server, without a path
	http *http.Client
}

func newClients(url string) *clients {
	// No proxy, since the servers are on this machine; and a new connection for
	// each request, since llama-server closes idle ones after five seconds, which
	// a request on its way would meet.
	return &clients{url: url, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// ask sends all prompts at once and reads the streams to their ends. The first
// failure ends the others.
func (c *clients) ask(ctx context.Context, prompts []string, tokensMax int) (Served, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	replies := make([]served, len(prompts))
	var all sync.WaitGroup
	start := time.Now()
	for i, prompt := range prompts {
		all.Go(func() {
			var err error
			if replies[i], err = c.stream(ctx, prompt, tokensMax); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	sum := Served{Wall: time.Since(start)}
	if ctx.Err() != nil {
		return Served{}, context.Cause(ctx)
	}
	var firsts []float64
	for _, r := range replies {
		sum.Tokens += r.tokens
		firsts = append(firsts, r.first.Seconds())
	}
	sum.FirstToken = time.Duration(Quantile(firsts, 0.5) * float64(time.Second))
	return sum, nil
}

// served is one client's reply.
type served struct {
	tokens int
	first  time.Duration
}

// chunk is the part of an event of the stream that is timed.
type chunk struct {
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
	} `json:"choices"`
	Usage *struct {
		CompletionTokens int `json:"completion_tokens"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// Bounds of what is read from a server.
const (
	eventBytesMax = 1 << 16
	errorBytesMax = 1 << 10
)

// stream asks once and times the reply. Tokens are counted by the server: one
// event may carry several of them.
func (c *clients) stream(ctx context.Context, prompt string, tokensMax int) (served, error) {
	start := time.Now()
	resp, err := c.post(ctx, prompt, tokensMax)
	if err != nil {
		return served{}, err
	}
	defer resp.Body.Close()
	var r served
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, eventBytesMax)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue // between events, and comments that keep the connection alive
		}
		if string(data) == "[DONE]" {
			return r, r.complete()
		}
		var ev chunk
		switch err := json.Unmarshal(data, &ev); {
		case err != nil:
			return r, fmt.Errorf("an event of the stream is not understood: %w", err)
		case ev.Error != nil:
			return r, fmt.Errorf("the server ended the stream: %s", ev.Error)
		}
		if r.first == 0 && len(ev.Choices) > 0 && ev.Choices[0].Delta.Content != "" {
			r.first = time.Since(start)
		}
		if ev.Usage != nil {
			r.tokens = ev.Usage.CompletionTokens
		}
	}
	if err := lines.Err(); err != nil {
		return r, fmt.Errorf("read the stream: %w", err)
	}
	return r, errors.New("the stream ended without [DONE]")
}

// complete tells what a reply lacks to be timed.
func (r served) complete() error {
	switch {
	case r.first == 0:
		return errors.New("the reply has no text")
	case r.tokens <= 0:
		return errors.New("the server did not count the reply's tokens")
	}
	return nil
}

func (c *clients) post(ctx context.Context, prompt string, tokensMax int) (*http.Response, error) {
	body, err := json.Marshal(map[string]any{"stream": true,
		"stream_options": map[string]any{"include_usage": true},
		"temperature":    0, "max_tokens": tokensMax,
		"messages": []map[string]string{{"role": "user", "content": prompt}}})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/v1/chat/completions",
		bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, errorBytesMax))
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return resp, nil
}
