package serve

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWorkerLogHidesPasswords: the URLs of controller and worker may have one.
func TestWorkerLogHidesPasswords(t *testing.T) {
	const secret = "hunter2"
	c := newController(t)
	var log bytes.Buffer
	w := WorkerConfig{Controller: strings.Replace(c.URL, "//", "//user:"+secret+"@", 1), Address: "http://me:" + secret + "@127.0.0.1:5"}
	s, err := New(wordy(), Config{ModelNames: []string{"m"}, Worker: &w, Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5}
	require.NoError(t, s.worker.report(t.Context(), at))
	c.restart()
	require.NoError(t, s.worker.report(t.Context(), at))
	c.Close()
	down, stop := context.WithCancel(t.Context())
	go stop()
	s.worker.stay(down, at)
	assert.Contains(t, log.String(), "registered with the FastChat controller")
	assert.Contains(t, log.String(), "registering again")
	assert.Contains(t, log.String(), "user:xxxxx@")
	assert.NotContains(t, log.String(), secret)

	for _, bad := range []string{"ftp://u:" + secret + "@h", "http://u:" + secret + "@h:port", "u:" + secret + "@h"} {
		_, err := New(wordy(), Config{Worker: &WorkerConfig{Controller: bad}})
		require.Error(t, err)
		assert.NotContains(t, err.Error(), secret)
	}
}
