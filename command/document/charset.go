package document

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"

	"agent/internal/legible"
)

// declared is where a page says its character set. Browsers look in the first kilobyte
// only; programs write it later, too.
var declared = regexp.MustCompile(`(?i)<meta\s[^>]{0,300}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.+-]{2,40})|` +
	`<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_:.+-]{2,40})`)

// toUTF8 decodes a page as its byte order mark, its server or the page itself says, but
// for text that is valid UTF-8 whatever is said. The note tells what is a guess.
func toUTF8(data []byte, contentType string) (text []byte, note string, err error) {
	if len(data) == 0 {
		return nil, "", nil
	}
	start, name, certain := charset.DetermineEncoding(data, contentType)
	marked := slices.ContainsFunc([]string{"\ufeff", "\xff\xfe", "\xfe\xff"}, func(mark string) bool {
		return bytes.HasPrefix(data, []byte(mark))
	})
	said := saidBy(data, contentType)
	if !marked && said != "" && !certain {
		start, name = charset.Lookup(said)
	}
	switch {
	case marked:
	case shifting(name):
	case utf8.Valid(data):
		if name != "utf-8" && said != "" && notASCII(data) {
			note = fmt.Sprintf("read as UTF-8, though it says %s", said)
		}
		return data, note, nil
	case start == nil, said == "", name == "utf-8":
		decoded, form, ok := legible.Decode(data)
		if !ok {
			decoded = legible.ToValid(string(data))
		}
		return []byte(decoded), form, nil
	}
	return decodeAs(start, name, data)
}

// saidBy is the character set that a server or a page names.
func saidBy(data []byte, contentType string) string {
	if _, parameters, err := mime.ParseMediaType(contentType); err == nil &&
		parameters["charset"] != "" {
		return parameters["charset"]
	}
	if m := declared.FindSubmatch(data); m != nil {
		return string(m[1]) + string(m[2])
	}
	return ""
}

// shifting are encodings whose bytes may all be ASCII.
func shifting(name string) bool {
	return strings.HasPrefix(name, "iso-2022") || strings.HasPrefix(name, "hz-") ||
		strings.HasPrefix(name, "utf-16")
}

func notASCII(data []byte) bool {
	return bytes.IndexFunc(data, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0
}

func decodeAs(e encoding.Encoding, name string, data []byte) (text []byte, note string, err error) {
	text, err = io.ReadAll(transform.NewReader(bytes.NewReader(data), e.NewDecoder()))
	if err != nil {
		return nil, "", fmt.Errorf("html: decode: %w", err)
	}
	if n := bytes.Count(text, []byte("\uFFFD")); n > 0 {
		note = fmt.Sprintf("read as %s, in which %s no meaning", name, legible.Count(n, "place")+" have")
	}
	return text, note, nil
}
