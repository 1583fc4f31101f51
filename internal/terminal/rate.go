package terminal

import "time"

// rateWindow is how far back a [Rate] looks.
const rateWindow = 3 * time.Second

// Rate is how many of something came per second lately.
type Rate struct {
	at []time.Time
	n  []int
}

// Add notes that n came now.
func (r *Rate) Add(now time.Time, n int) {
	r.at, r.n = append(r.at, now), append(r.n, n)
	old := 0
	for old < len(r.at) && now.Sub(r.at[old]) > rateWindow {
		old++
	}
	r.at, r.n = r.at[old:], r.n[old:]
}

// PerSecond is 0 while there is too little to tell. The first that came only
// starts the clock.
func (r *Rate) PerSecond() float64 {
	if len(r.at) < 3 {
		return 0
	}
	sum := 0
	for _, n := range r.n[1:] {
		sum += n
	}
	span := r.at[len(r.at)-1].Sub(r.at[0]).Seconds()
	if span <= 0 {
		return 0
	}
	return float64(sum) / span
}

// Reset forgets what came: it was of something else.
func (r *Rate) Reset() { r.at, r.n = r.at[:0], r.n[:0] }
