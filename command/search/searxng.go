package search

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"agent/internal/legible"
)

// searxng speaks the JSON format of a SearXNG instance:
// GET /search?q=…&format=json.
type searxng struct{ base *url.URL }

func (searxng) name() string { return SearXNG }

func (s searxng) request(query string, _ int, _ string) (*url.URL, http.Header, error) {
	u := *s.base
	u.Path = strings.TrimSuffix(u.Path, "/")
	if !strings.HasSuffix(u.Path, "/search") {
		u.Path += "/search"
	}
	values := u.Query()
	values.Set("q", query)
	values.Set("format", "json")
	u.RawQuery = values.Encode()
	return &u, http.Header{}, nil
}

func (searxng) read(body []byte) ([]hit, error) {
	var answer struct {
		Results []struct {
			URL     string `json:"url"`
			Title   string `json:"title"`
			Content string `json:"content"`
		} `json:"results"`
		Unresponsive [][]any `json:"unresponsive_engines"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	if answer.Results == nil {
		return nil, errNoResults
	}
	if len(answer.Results) == 0 && len(answer.Unresponsive) > 0 {
		return nil, fmt.Errorf("none of its engines answered: %s",
			legible.Clip(plain(fmt.Sprint(answer.Unresponsive)), textBytesMax))
	}
	var found []hit
	for _, r := range answer.Results {
		found = append(found, hit{Title: r.Title, Place: r.URL, Text: r.Content})
	}
	return found, nil
}

func (searxng) refusal(status int) (detail, advice string) {
	if status == http.StatusForbidden {
		return "it may not allow the JSON format",
			"add json to search.formats in the settings.yml of the instance"
	}
	return "", ""
}
