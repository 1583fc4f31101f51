package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"agent/internal/group"
)

// Slots of both servers, and the KV cache that they share: any request may fill
// it, and all requests of a check fit into it with room to spare.
const (
	serveSlots   = 8
	serveContext = 2048
)

const llamaServer = "llama-server"

// Servers are `agent serve` and llama-server with the same model and settings,
// side by side in processes of their own. Close them.
type Servers struct {
	ours, theirs *server
}

// StartServers starts both and waits until they are ready. agent is the path
// of this program.
func StartServers(ctx context.Context, agent string, t *Tools) (*Servers, error) {
	s := &Servers{}
	for _, start := range []struct {
		into    **server
		program string
		args    func(port int) []string
	}{
		{&s.ours, agent, t.AgentServeArgs},
		{&s.theirs, filepath.Join(t.Dir, llamaServer), t.LlamaServerArgs},
	} {
		port, err := freePort(ctx)
		if err == nil {
			*start.into, err = startServer(ctx, start.program, start.args(port),
				"http://"+net.JoinHostPort(loopback, strconv.Itoa(port)))
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("bench: %w", err)
		}
	}
	return s, nil
}

// Close ends both servers and waits for their ends.
func (s *Servers) Close() {
	for _, one := range []*server{s.ours, s.theirs} {
		if one != nil {
			one.close()
		}
	}
}

// AgentServeArgs are the arguments of `agent serve`.
func (t *Tools) AgentServeArgs(port int) []string {
	s := t.Settings
	args := []string{"serve", "--quiet", "--host", loopback, "--port", strconv.Itoa(port), "--model",
		s.Model,
		"llm.parallel=" + strconv.Itoa(serveSlots), "llm.context_length=" + strconv.Itoa(serveContext),
		"llm.threads=" + strconv.Itoa(s.Threads), "llm.ubatch_size=" + strconv.Itoa(s.Ubatch),
		"llm.kv_type=" + s.KVType,
		"llm.flash_attn=" + strconv.FormatBool(s.FlashAttn != "off"),
		"llm.mmap=" + strconv.FormatBool(strings.Contains(s.LoadMode, "mmap")),
		"llm.mlock=" + strconv.FormatBool(strings.Contains(s.LoadMode, "mlock"))}
	if s.GPULayers >= 0 {
		args = append(args, "llm.gpu_layers="+strconv.Itoa(s.GPULayers))
	}
	return args
}

// LlamaServerArgs are the arguments of llama-server. Its slots share one KV
// cache (-kvu), as they do by default and as ours do; cut into eight parts, none
// could hold a request of more than an eighth. Its store of old prompts is off:
// no prompt here comes twice, so it would only cost time.
func (t *Tools) LlamaServerArgs(port int) []string {
	s := t.Settings
	threads := strconv.Itoa(s.Threads)
	args := []string{"--host", loopback, "--port", strconv.Itoa(port), "-m", s.Model, "-np",
		strconv.Itoa(serveSlots),
		"-c", strconv.Itoa(serveContext), "-kvu", "-cb", "-t", threads, "-tb", threads, "-ub",
		strconv.Itoa(s.Ubatch),
		"-ctk", s.KVType, "-ctv", s.KVType, "-fa", s.FlashAttn, "-lm", s.LoadMode, "--fit", "off",
		"--cache-ram",
		"0", "--no-webui", "-lv", "1"}
	if s.GPULayers >= 0 {
		args = append(args, "-ngl", strconv.Itoa(s.GPULayers))
	}
	return args
}

const loopback = "127.0.0.1"

// freePort is a port that nothing listens on. Another program could take it
// before the server does, which the server then reports.
func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// server is a running program that answers HTTP.
type server struct {
	*clients
	name  string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone
	err   error         // of its end; read after ended
	said  *tail         // what it wrote to stderr
}

// How long a server may take.
const (
	serverReadyWithin = 2 * time.Minute
	serverReadyPoll   = 50 * time.Millisecond
)

func startServer(ctx context.Context, program string, args []string, url string) (*server, error) {
	s := &server{clients: newClients(url), name: filepath.Base(program), ended: make(chan struct{}),
		said: &tail{}}
	s.cmd = exec.Command(program, args...)
	s.cmd.Env = serverEnv(os.Environ())
	s.cmd.Stderr = s.said
	asOwnGroup(s.cmd)
	started := make(chan error)
	go func() {
		// Linux kills the process when the thread that started it ends, so this
		// thread stays. See asOwnGroup.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.err = s.cmd.Wait()
			close(s.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	if err := s.awaitReady(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// serverEnv leaves out variables that would change how one of the servers
// works and not the other.
func serverEnv(env []string) []string {
	var kept []string
	for _, e := range env {
		if !strings.HasPrefix(e, "LLAMA_ARG_") && !strings.HasPrefix(e, "AGENT_API_KEY=") {
			kept = append(kept, e)
		}
	}
	return kept
}

// awaitReady waits until /health is well, the process ends, or time is up.
func (s *server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, serverReadyWithin,
		fmt.Errorf("not ready within %v", serverReadyWithin))
	defer cancel()
	for !s.healthy(ctx) {
		select {
		case <-s.ended:
			return fmt.Errorf("%s ended before it was ready: %w", s.name, s.ending())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %s", s.name, context.Cause(ctx), s.said)
		case <-time.After(serverReadyPoll):
		}
	}
	return nil
}

func (s *server) healthy(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // a process that is gone never answers
		select {
		case <-s.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/health", nil)
	if err != nil {
		return false
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// measure asks the server and names it in errors; of a server that died, its
// last words say more than the broken connection does.
func (s *server) measure(ctx context.Context, prompts []string, tokensMax int) (Served, error) {
	got, err := s.ask(ctx, prompts, tokensMax)
	if err == nil {
		return got, nil
	}
	select {
	case <-s.ended:
		err = fmt.Errorf("it ended: %w", s.ending())
	case <-time.After(serverReadyPoll):
	}
	return got, fmt.Errorf("%s: %w", s.name, err)
}

// ending is why the process is gone.
func (s *server) ending() error {
	if s.err == nil {
		return fmt.Errorf("exit status 0: %s", s.said)
	}
	return fmt.Errorf("%w: %s", s.err, s.said)
}

// close kills the process with all that it started: nothing of it is to be saved.
func (s *server) close() {
	select {
	case <-s.ended: // its number may belong to another process by now
	default:
		_ = group.Kill(s.cmd.Process) // fails only where nothing is left to kill
		<-s.ended
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - stderrMax; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
