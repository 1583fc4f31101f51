package backend_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"agent/backend"
)

func TestShownURL(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"http://127.0.0.1:8000/v1":     "http://127.0.0.1:8000/v1",
		"127.0.0.1:8000":               "127.0.0.1:8000",
		"http://user@host/v1":          "http://user@host/v1",
		"http://user:hunter2@host/v1":  "http://user:xxxxx@host/v1",
		"ftp://user:hunter2@host":      "ftp://user:xxxxx@host",
		"http://user:hunter2%zz@host":  "http://[redacted]@host",
		"http://user:hun/ter2@host":    "http://[redacted]@host",
		"http://user:hunter2@host:bad": "http://[redacted]@host:bad",
		"user:hunter2@host":            "[redacted]@host",
		"http//user:hunter2@host":      "http//[redacted]@host",
	} {
		assert.Equal(t, want, backend.ShownURL(text), text)
	}
}
