package search

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
)

// braveEndpoint is Brave's web search.
const braveEndpoint = "https://api.search.brave.com/res/v1/web/search"

var errNoResults = errors.New("it has no list of results")

// brave speaks Brave's search API, whose key goes in a header.
type brave struct{ endpoint *url.URL }

func (brave) name() string { return Brave }

func (b brave) request(query string, results int, key string) (*url.URL, http.Header, error) {
	if key == "" {
		return nil, nil, &Error{Op: "search with brave", Detail: "there is no API key",
			Advice: "set search.api_key, or " + APIKeyMetadata + " in agent.metadata"}
	}
	u := *b.endpoint
	values := u.Query()
	values.Set("q", query)
	values.Set("count", strconv.Itoa(results))
	u.RawQuery = values.Encode()
	return &u, http.Header{"X-Subscription-Token": {key}}, nil
}

func (brave) read(body []byte) ([]hit, error) {
	var answer struct {
		Type string `json:"type"`
		Web  *struct {
			Results []struct {
				Title       string `json:"title"`
				URL         string `json:"url"`
				Description string `json:"description"`
			} `json:"results"`
		} `json:"web"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	if answer.Web == nil {
		if answer.Type == "search" { // nothing was found
			return nil, nil
		}
		return nil, errNoResults
	}
	var found []hit
	for _, r := range answer.Web.Results {
		found = append(found, hit{Title: r.Title, Place: r.URL, Text: r.Description})
	}
	return found, nil
}

func (brave) refusal(status int) (detail, advice string) {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		return "the API key may be wrong", "check search.api_key"
	}
	return "", ""
}
