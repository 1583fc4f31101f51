package sandbox

import "sync"

// floodBytes is how much a job may print before it is killed: more is an endless
// loop, and reading it costs the machine.
const floodBytes = 1 << 30

// capture keeps the start and the end of a stream and counts the rest. It never
// blocks, so a job never hangs on a full pipe.
type capture struct {
	mu      sync.Mutex
	head    []byte
	tail    []byte // the last bytes, ending at position end of the ring
	end     int
	headMax int
	tailMax int
	total   int64
	onFlood func()
	flooded bool
}

func newCapture(keep int, onFlood func()) *capture {
	tail := keep / 4
	return &capture{headMax: keep - tail, tailMax: tail, onFlood: onFlood}
}

// stderrBytes is how much is kept of a separate stderr.
const stderrBytes = 8 << 10

// newTailCapture keeps only the end of a stream.
func newTailCapture(onFlood func()) *capture {
	return &capture{tailMax: stderrBytes, onFlood: onFlood}
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	c.total += int64(n)
	room := min(c.headMax-len(c.head), n)
	c.head = append(c.head, p[:room]...)
	c.keepTail(p[room:])
	if c.total > floodBytes && !c.flooded {
		c.flooded = true
		c.onFlood()
	}
	return n, nil
}

// keepTail puts p into the ring.
func (c *capture) keepTail(p []byte) {
	if len(p) > c.tailMax {
		p = p[len(p)-c.tailMax:]
	}
	if grow := min(c.tailMax-len(c.tail), len(p)); grow > 0 {
		c.tail = append(c.tail, p[:grow]...)
		p = p[grow:]
	}
	for len(p) > 0 {
		n := copy(c.tail[c.end:], p)
		p = p[n:]
		c.end = (c.end + n) % c.tailMax
	}
}

// fill puts what was kept, and how much was dropped between, into an outcome.
func (c *capture) fill(out *Outcome) {
	out.Head, out.Tail, out.Dropped = c.result()
	c.mu.Lock()
	defer c.mu.Unlock()
	out.Flooded = c.flooded
}

// fillStderr puts what was kept into an outcome. On nil it does nothing.
func (c *capture) fillStderr(out *Outcome) {
	if c == nil {
		return
	}
	_, out.Stderr, _ = c.result()
	c.mu.Lock()
	defer c.mu.Unlock()
	out.Flooded = out.Flooded || c.flooded
}

func (c *capture) result() (head, tail []byte, dropped int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tail = append(append([]byte{}, c.tail[c.end:]...), c.tail[:c.end]...)
	return c.head, tail, c.total - int64(len(c.head)+len(tail))
}
