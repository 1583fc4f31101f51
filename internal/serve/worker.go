package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"agent/backend"
)

// WorkerConfig makes a server a worker of a FastChat cluster (fschat 0.2.36).
type WorkerConfig struct {
	// Controller is the URL of FastChat's controller.
	Controller string
	// Address is the URL under which controller and API server reach this
	// worker. Default: http, with the listener's port and the address that this
	// machine has towards the controller.
	Address string
	// Allow are the addresses that may call the worker's endpoints, besides
	// loopback and the controller's own. The protocol knows no keys.
	Allow []netip.Prefix
	// HeartBeat is the time between two reports to the controller. Default
	// HeartBeatDefault.
	HeartBeat time.Duration
}

const (
	// HeartBeatDefault is FastChat's own; its controller forgets workers that
	// are silent for 90 seconds.
	HeartBeatDefault = 45 * time.Second

	controllerWithin   = 5 * time.Second // for an answer of the controller
	controllerRetry    = 5 * time.Second // between tries to reach it
	controllerBytesMax = 1 << 20
)

// worker is the side of a server that belongs to a cluster.
type worker struct {
	server     *Server
	cfg        WorkerConfig
	controller string // without a slash at the end
	marks      marks
	client     *http.Client

	registered atomic.Bool
	address    atomic.Pointer[string]
	warnedRaw  sync.Once

	mu    sync.Mutex
	peers map[netip.Addr]bool // the controller's addresses
}

func newWorker(s *Server, cfg WorkerConfig) (*worker, error) {
	if cfg.HeartBeat <= 0 {
		cfg.HeartBeat = HeartBeatDefault
	}
	for name, u := range map[string]string{"controller": cfg.Controller, "worker address": cfg.Address} {
		if u == "" && name == "worker address" {
			continue
		}
		if p, err := url.Parse(u); err != nil || p.Host == "" || p.Scheme != "http" && p.Scheme != "https" {
			return nil, fmt.Errorf("serve: the %s %q is not an http or https URL like http://127.0.0.1:21001", name, backend.ShownURL(u))
		}
	}
	w := &worker{server: s, cfg: cfg, controller: strings.TrimRight(cfg.Controller, "/"), marks: newMarks(),
		client: &http.Client{Timeout: controllerWithin}, peers: map[netip.Addr]bool{}}
	own := strings.TrimRight(cfg.Address, "/")
	w.address.Store(&own)
	return w, nil
}

// admit lets the cluster's members call the worker's endpoints.
func (w *worker) admit(r *http.Request) error {
	if !w.calledByName(withoutPort(r.Host)) {
		return &apiError{status: http.StatusForbidden, code: "host_not_allowed",
			message: "The worker's endpoints answer under an address or the name in --worker-address only."}
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil && w.allowed(from.Addr().Unmap()) {
		return nil
	}
	return &apiError{status: http.StatusForbidden, code: "address_not_allowed",
		message: "Only members of the cluster may call this endpoint; see --worker-allow."}
}

// calledByName reports that a request names this worker as the cluster does.
// No key is asked for here, and a web page in a browser on a member's machine
// comes from an address that is allowed; but a page that has its own name lead
// here (DNS rebinding) sends that name, which it can't make an address.
func (w *worker) calledByName(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	own, err := url.Parse(w.name())
	return err == nil && strings.EqualFold(host, own.Hostname())
}

func (w *worker) allowed(from netip.Addr) bool {
	if from.IsLoopback() {
		return true
	}
	for _, p := range w.cfg.Allow {
		if p.Contains(from) {
			return true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peers[from]
}

// stay registers with the controller and reports to it until ctx ends, through
// restarts of the controller. At the end the controller is asked to look at its
// workers again, so that it sends no more clients here.
func (w *worker) stay(ctx context.Context, listening net.Addr) {
	defer w.leave(ctx)
	for {
		wait := w.cfg.HeartBeat
		if err := w.report(ctx, listening); err != nil && ctx.Err() == nil {
			w.server.log.Warn("the FastChat controller can't be reached; trying again", "controller", backend.ShownURL(w.controller), "error", err, "in", controllerRetry)
			wait = min(wait, controllerRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// report registers, or sends a heart beat and registers again when the
// controller has forgotten this worker.
func (w *worker) report(ctx context.Context, listening net.Addr) error {
	if err := w.locate(ctx, listening); err != nil {
		return err
	}
	if w.registered.Load() {
		var known struct {
			Exist *bool `json:"exist"`
		}
		err := w.tell(ctx, "/receive_heart_beat", map[string]any{"worker_name": w.name(), "queue_length": w.server.load.Load()}, &known)
		if err != nil {
			return err
		}
		if known.Exist != nil && *known.Exist {
			return nil
		}
		w.registered.Store(false)
		w.server.log.Info("the controller has forgotten this worker; registering again", "controller", backend.ShownURL(w.controller))
	}
	err := w.tell(ctx, "/register_worker", map[string]any{"worker_name": w.name(), "check_heart_beat": true,
		"worker_status": w.status(), "multimodal": false}, nil)
	if err != nil {
		return err
	}
	w.registered.Store(true)
	w.server.log.Info("registered with the FastChat controller", "controller", backend.ShownURL(w.controller), "worker", backend.ShownURL(w.name()), "models", w.server.names)
	return nil
}

func (w *worker) name() string { return *w.address.Load() }

// locate learns the controller's addresses, which may call here, and this
// worker's own address if none is configured.
func (w *worker) locate(ctx context.Context, listening net.Addr) error {
	u, err := url.Parse(w.controller)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, controllerWithin)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return err
	}
	w.mu.Lock()
	for _, a := range found {
		w.peers[a.Unmap()] = true
	}
	w.mu.Unlock()
	if w.name() != "" {
		return nil
	}
	own, err := ownAddress(listening, found)
	if err != nil {
		return err
	}
	w.address.Store(&own)
	return nil
}

// ownAddress is the URL of a listener as a peer reaches it. A listener on all
// addresses has that from which this machine would talk to the peer; no packet
// is sent to find it out.
func ownAddress(listening net.Addr, peers []netip.Addr) (string, error) {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok {
		return "", fmt.Errorf("the address of this worker is not known; give --worker-address")
	}
	if !tcp.IP.IsUnspecified() {
		return "http://" + tcp.String(), nil
	}
	for _, peer := range peers {
		const anyPort = 9
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, anyPort)))
		if err != nil {
			continue
		}
		defer c.Close()
		if local, ok := c.LocalAddr().(*net.UDPAddr); ok {
			return "http://" + net.JoinHostPort(local.IP.String(), fmt.Sprint(tcp.Port)), nil
		}
	}
	return "", errors.New("the address of this worker towards the controller is not known; give --worker-address")
}

// tell posts to the controller.
func (w *worker) tell(ctx context.Context, path string, in, out any) error {
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.controller+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, controllerBytesMax))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the controller answered %s to %s", resp.Status, path)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("the controller's answer to %s is not the JSON expected: %w", path, err)
	}
	return nil
}

// leave makes the controller look at its workers, and so drop this one, which
// no longer answers. The protocol has no way to sign off.
func (w *worker) leave(ctx context.Context) {
	if !w.registered.Load() {
		return
	}
	w.registered.Store(false)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controllerWithin)
	defer cancel()
	if err := w.tell(ctx, "/refresh_all_workers", struct{}{}, nil); err != nil {
		w.server.log.Info("the controller was not told that this worker leaves; it will find out within 90 seconds", "error", err)
	}
}

// status is what the controller asks of a worker. The queue is what is in work
// and waiting, by whatever endpoint it came.
func (w *worker) status() map[string]any {
	return map[string]any{"model_names": w.server.names, "speed": 1, "queue_length": w.server.load.Load()}
}
