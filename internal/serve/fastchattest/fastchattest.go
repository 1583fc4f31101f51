// Package fastchattest runs a real FastChat cluster for tests: controller and
// API server of fschat 0.2.36 on loopback. Workers are the test's own.
package fastchattest

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a part of the cluster may take to start.
const patience = 2 * time.Minute

// Cluster is a running FastChat.
type Cluster struct {
	Controller string // URL
	API        string // URL of the API server, which ends in /v1

	t              *testing.T // of the whole cluster, whose parts outlive the subtest that starts them
	python, dir    string
	port           string
	stopController func()
}

// Start runs a cluster until the test ends, or skips the test where there is
// no Python with FastChat.
func Start(t *testing.T) *Cluster {
	t.Helper()
	python := os.Getenv("AGENT_FASTCHAT_PYTHON")
	if python == "" {
		t.Skip("needs AGENT_FASTCHAT_PYTHON=…/bin/python of an environment with: pip install --no-deps fschat==0.2.36 && " +
			"pip install uvicorn requests numpy aiohttp httpx shortuuid tiktoken rich 'pydantic<2' 'fastapi<0.112'")
	}
	api := freePort(t)
	c := &Cluster{t: t, python: python, dir: t.TempDir(), port: freePort(t),
		API: "http://127.0.0.1:" + api + "/v1"}
	c.Controller = "http://127.0.0.1:" + c.port
	c.startController()
	c.run("-m", "fastchat.serve.openai_api_server", "--host", "127.0.0.1", "--port", api,
		"--controller-address", c.Controller)
	Eventually(t, func() bool { return answers(c.API + "/models") })
	return c
}

func (c *Cluster) startController() {
	c.t.Helper()
	c.stopController = c.run("-m", "fastchat.serve.controller", "--host", "127.0.0.1", "--port",
		c.port)
	Eventually(c.t, func() bool { return answers(c.Controller + "/test_connection") })
}

// RestartController ends the controller, which forgets its workers, and starts
// a new one in its place.
func (c *Cluster) RestartController() {
	c.t.Helper()
	c.stopController()
	c.startController()
}

// Knows reports whether the controller has a worker for a model.
func (c *Cluster) Knows(t *testing.T, model string) bool {
	t.Helper()
	resp, err := http.Post(c.Controller+"/list_models", "application/json", nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	var list struct{ Models []string }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&list))
	return slices.Contains(list.Models, model)
}

// run starts a part of the cluster; stop ends it.
func (c *Cluster) run(args ...string) (stop func()) {
	t := c.t
	t.Helper()
	log, err := os.CreateTemp(c.dir, "log")
	require.NoError(t, err)
	cmd := exec.Command(c.python, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "LOGDIR="+c.dir, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(func() {
		stop()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", filepath.Base(strings.Join(args, " ")), text[max(0, len(text)-3000):])
		}
	})
	return stop
}

func answers(url string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// Eventually waits for something that takes a process to start.
func Eventually(t *testing.T, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 100*time.Millisecond)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}
