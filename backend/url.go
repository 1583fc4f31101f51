package backend

import (
	"net/url"
	"strings"
)

// ShownURL is a URL for people and logs, without its password. Of a text that
// is no URL all is hidden that could be the password of one.
func ShownURL(text string) string {
	u, err := url.Parse(text)
	if at := strings.LastIndex(text, "@"); at >= 0 && (err != nil || u.User == nil) {
		scheme, _, ok := strings.Cut(text[:at], "//")
		if ok {
			scheme += "//"
		} else {
			scheme = ""
		}
		return scheme + redacted + text[at:]
	}
	if err != nil {
		return text
	}
	return u.Redacted()
}
