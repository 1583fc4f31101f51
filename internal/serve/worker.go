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

// worker is a model as a FastChat cluster sees it.
type worker struct {
	model      *model
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

func newWorker(m *model, cfg WorkerConfig) (*worker, error) {
	if cfg.HeartBeat <= 0 {
		cfg.HeartBeat = HeartBeatDefault
	}
	for name, u := range map[string]string{"controller": cfg.Controller,
		"worker address": cfg.Address} {
		if u == "" && name == "worker address" {
			continue
		}
		if p, err := url.Parse(u); err != nil || p.Host == "" ||
			p.Scheme != "http" && p.Scheme != "https" {
			return nil, fmt.Errorf("serve: the %s %q is not an http or https URL like http://127.0.0.1:21001",
				name, backend.ShownURL(u))
		}
	}
	k := &worker{model: m, cfg: cfg, controller: strings.TrimRight(cfg.Controller, "/"),
		marks: newMarks(), client: &http.Client{Timeout: controllerWithin}, peers: map[netip.Addr]bool{}}
	own := strings.TrimRight(cfg.Address, "/")
	k.address.Store(&own)
	return k, nil
}

// admit lets the cluster's members call the worker's endpoints.
func (k *worker) admit(r *http.Request) error {
	if !k.calledByName(withoutPort(r.Host)) {
		return &apiError{status: http.StatusForbidden, code: "host_not_allowed",
			message: "The worker's endpoints answer under an address or the name in --worker-address only."}
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil && k.allowed(from.Addr().Unmap()) {
		return nil
	}
	return &apiError{status: http.StatusForbidden, code: "address_not_allowed",
		message: "Only members of the cluster may call this endpoint; see --worker-allow."}
}

// calledByName reports that a request names this worker as the cluster does.
// No key is asked for here, and a web page in a browser on a member's machine
// comes from an address that is allowed; but a page that has its own name lead
// here (DNS rebinding) sends that name, which it can't make an address.
func (k *worker) calledByName(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || host == "" ||
		strings.EqualFold(host, "localhost") {
		return true
	}
	own, err := url.Parse(k.name())
	return err == nil && strings.EqualFold(host, own.Hostname())
}

func (k *worker) allowed(from netip.Addr) bool {
	if from.IsLoopback() {
		return true
	}
	for _, p := range k.cfg.Allow {
		if p.Contains(from) {
			return true
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.peers[from]
}

// stay registers with the controller and reports to it until ctx ends, through
// restarts of the controller. At the end the controller is asked to look at its
// workers again, so that it sends no more clients here.
func (k *worker) stay(ctx context.Context, listening net.Addr) {
	defer k.leave(ctx)
	for {
		wait := k.cfg.HeartBeat
		if err := k.report(ctx, listening); err != nil && ctx.Err() == nil {
			k.model.log.Warn("the FastChat controller can't be reached; trying again",
				"controller", backend.ShownURL(k.controller), "error", err, "in", controllerRetry)
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
func (k *worker) report(ctx context.Context, listening net.Addr) error {
	if err := k.locate(ctx, listening); err != nil {
		return err
	}
	if k.registered.Load() {
		var known struct {
			Exist *bool `json:"exist"`
		}
		beat := map[string]any{"worker_name": k.name(), "queue_length": k.model.load.Load()}
		if err := k.tell(ctx, "/receive_heart_beat", beat, &known); err != nil {
			return err
		}
		if known.Exist != nil && *known.Exist {
			return nil
		}
		k.registered.Store(false)
		k.model.log.Info("the controller has forgotten this worker; registering again",
			"controller", backend.ShownURL(k.controller))
	}
	err := k.tell(ctx, "/register_worker",
		map[string]any{"worker_name": k.name(), "check_heart_beat": true,
			"worker_status": k.status(), "multimodal": false}, nil)
	if err != nil {
		return err
	}
	k.registered.Store(true)
	k.model.log.Info("registered with the FastChat controller", "controller",
		backend.ShownURL(k.controller), "worker", backend.ShownURL(k.name()), "models", k.model.names)
	return nil
}

func (k *worker) name() string { return *k.address.Load() }

// locate learns the controller's addresses, which may call here, and this
// worker's own address if none is configured.
func (k *worker) locate(ctx context.Context, listening net.Addr) error {
	u, err := url.Parse(k.controller)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, controllerWithin)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return err
	}
	k.mu.Lock()
	for _, a := range found {
		k.peers[a.Unmap()] = true
	}
	k.mu.Unlock()
	if k.name() != "" {
		return nil
	}
	own, err := ownAddress(listening, found)
	if err != nil {
		return err
	}
	k.address.Store(&own)
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
func (k *worker) tell(ctx context.Context, path string, in, out any) error {
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.controller+path,
		bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := k.client.Do(req)
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
func (k *worker) leave(ctx context.Context) {
	if !k.registered.Load() {
		return
	}
	k.registered.Store(false)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controllerWithin)
	defer cancel()
	if err := k.tell(ctx, "/refresh_all_workers", struct{}{}, nil); err != nil {
		k.model.log.Info("the controller was not told that this worker leaves; it will find out within 90 seconds",
			"error", err)
	}
}

// status is what the controller asks of a worker. The queue is what is in work
// and waiting, by whatever endpoint it came.
func (k *worker) status() map[string]any {
	return map[string]any{"model_names": k.model.names, "speed": 1,
		"queue_length": k.model.load.Load()}
}
