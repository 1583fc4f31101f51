package compare

import (
	"encoding/json"
	"math"
	"slices"
	"time"
)

// Report is the outcome of a comparison. Models are in the order given.
type Report struct {
	Models []*ModelReport `json:"models"`
	// Agreement is the share of tasks on which two models gave the same answer, of
	// those that both answered.
	Agreement []Agreement `json:"agreement"`
	// Interrupted is set when not all was done.
	Interrupted bool   `json:"interrupted"`
	Tasks       []Task `json:"tasks"`
	Started     string `json:"started"` // RFC 3339
	WallMS      int64  `json:"wall_ms"`

	started time.Time
}

// ModelReport is the results of one model, one for each task; nil where it was not asked.
type ModelReport struct {
	Name    string    `json:"name"`
	Model   string    `json:"model"` // as the backend names it
	Error   string    `json:"error,omitempty"`
	LoadMS  int64     `json:"load_ms"` // until the backend was ready
	Price   *Price    `json:"price,omitempty"`
	Summary Summary   `json:"summary"`
	Results []*Result `json:"results"`
}

// How tokens were counted: told by who did the work or counted with the model's
// own vocabulary; or estimated.
const (
	CountsExact    = "exact"
	CountsEstimate = "estimate"
	CountsUnknown  = "unknown"
	CountsMixed    = "mixed" // in a summary
)

// Tokens are the numbers of tokens of one or more results.
type Tokens struct {
	Prompt int `json:"prompt"` // cached ones included
	Cached int `json:"cached"`
	Reply  int `json:"reply"`
}

// Result is the outcome of one task. Method is "reply" for text, else how the choice was made;
// see backend.Choice.
type Result struct {
	Task        string   `json:"task"`
	Kind        string   `json:"kind"` // chat or choose
	Method      string   `json:"method"`
	Answer      string   `json:"answer"`
	Probability *float64 `json:"probability"` // of the chosen option, where the method gives one
	Abstained   bool     `json:"abstained,omitempty"`
	Reason      string   `json:"reason,omitempty"` // why it abstained
	Correct     *bool    `json:"correct"`          // null: nothing was expected, or there was an error
	Finish      string   `json:"finish,omitempty"`
	Error       string   `json:"error,omitempty"`
	Tokens      Tokens   `json:"tokens"`
	Counts      string   `json:"counts"`
	Cost        *float64 `json:"cost"`

	wall, firstText time.Duration
	told            bool   // Tokens are the server's
	key             string // equal for answers that say the same; empty: no answer
}

// MarshalJSON adds the times in milliseconds.
func (r *Result) MarshalJSON() ([]byte, error) {
	type plain Result
	return json.Marshal(struct {
		*plain
		WallMS      float64  `json:"wall_ms"`
		FirstTextMS *float64 `json:"first_text_ms"`
	}{(*plain)(r), milliseconds(r.wall), positive(milliseconds(r.firstText))})
}

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Millisecond)*100) / 100
}

func positive(v float64) *float64 {
	if v <= 0 {
		return nil
	}
	return &v
}

// Summary are the numbers of one model over all tasks. A null is a number that
// nothing is known of. Times are of results without error.
type Summary struct {
	Done      int `json:"done"`   // tasks with a result
	Failed    int `json:"failed"` // of these, with an error
	Abstained int `json:"abstained"`
	// Accuracy is the share of right answers among the tasks done that expect
	// one; a task that failed or abstained is not right. Low and high bound it
	// with a confidence of 95 % (Wilson).
	Right        int      `json:"right"`
	Expected     int      `json:"expected"`
	Accuracy     *float64 `json:"accuracy"`
	AccuracyLow  *float64 `json:"accuracy_low"`
	AccuracyHigh *float64 `json:"accuracy_high"`

	LatencyMedianMS   *float64 `json:"latency_median_ms"`
	LatencyP90MS      *float64 `json:"latency_p90_ms"`
	FirstTextMedianMS *float64 `json:"first_text_median_ms"`
	// TokensPerSecond is that of replies: their tokens by their whole time, with
	// the time to the first token.
	TokensPerSecond *float64 `json:"tokens_per_second"`

	Tokens   Tokens   `json:"tokens"`
	Cost     *float64 `json:"cost"` // of all results with a number of tokens
	Currency string   `json:"currency,omitempty"`
	Methods  []string `json:"methods"`
	Counts   string   `json:"counts"`
}

// Agreement is how often two models gave the same answer.
type Agreement struct {
	A     int      `json:"a"` // index in Models
	B     int      `json:"b"`
	Same  int      `json:"same"`
	Both  int      `json:"both"` // tasks that both answered
	Share *float64 `json:"share"`
}

// finish works out what follows from the results.
func (r *Report) finish() {
	r.Started, r.WallMS = r.started.Format(time.RFC3339), time.Since(r.started).Milliseconds()
	for _, m := range r.Models {
		m.Summary = summarise(m, r.Tasks)
	}
	r.Agreement = []Agreement{}
	for a := range r.Models {
		for b := a + 1; b < len(r.Models); b++ {
			r.Agreement = append(r.Agreement, agreement(r.Models, a, b))
		}
	}
}

// Failures are the results with an error, and the models that did not start.
func (r *Report) Failures() (results, models int) {
	for _, m := range r.Models {
		results += m.Summary.Failed
		if m.Error != "" {
			models++
		}
	}
	return results, models
}

func agreement(models []*ModelReport, a, b int) Agreement {
	out := Agreement{A: a, B: b}
	for i, x := range models[a].Results {
		y := models[b].Results[i]
		if x == nil || y == nil || x.key == "" || y.key == "" {
			continue
		}
		out.Both++
		if x.key == y.key {
			out.Same++
		}
	}
	out.Share = share(out.Same, out.Both)
	return out
}

func share(part, whole int) *float64 {
	if whole == 0 {
		return nil
	}
	return new(float64(part) / float64(whole))
}

func summarise(m *ModelReport, tasks []Task) Summary {
	s := Summary{Methods: []string{}}
	var walls, firsts []float64
	var replyTokens int
	var replyTime time.Duration
	for i, r := range m.Results {
		if r == nil {
			continue
		}
		s.add(r, len(tasks[i].Expected) > 0)
		if r.Error != "" {
			continue
		}
		walls = append(walls, milliseconds(r.wall))
		if r.Kind == "chat" {
			replyTokens += r.Tokens.Reply
			replyTime += r.wall
			if r.firstText > 0 {
				firsts = append(firsts, milliseconds(r.firstText))
			}
		}
	}
	slices.Sort(s.Methods)
	s.Accuracy = share(s.Right, s.Expected)
	s.AccuracyLow, s.AccuracyHigh = wilson(s.Right, s.Expected)
	s.LatencyMedianMS, s.LatencyP90MS = quantile(walls, 0.5), quantile(walls, 0.9)
	s.FirstTextMedianMS = quantile(firsts, 0.5)
	if replyTokens > 0 && replyTime > 0 {
		s.TokensPerSecond = new(float64(replyTokens) / replyTime.Seconds())
	}
	if s.Cost != nil {
		s.Currency = m.Price.Currency
	}
	return s
}

// add counts one result in.
func (s *Summary) add(r *Result, expected bool) {
	s.Done++
	if r.Error != "" {
		s.Failed++
	}
	if r.Abstained {
		s.Abstained++
	}
	if expected {
		s.Expected++
		if r.Correct != nil && *r.Correct {
			s.Right++
		}
	}
	s.Tokens.Prompt += r.Tokens.Prompt
	s.Tokens.Cached += r.Tokens.Cached
	s.Tokens.Reply += r.Tokens.Reply
	if r.Cost != nil {
		sum := *r.Cost
		if s.Cost != nil {
			sum += *s.Cost
		}
		s.Cost = &sum
	}
	if r.Method != "" && !slices.Contains(s.Methods, r.Method) {
		s.Methods = append(s.Methods, r.Method)
	}
	switch {
	case r.Error != "" && r.Tokens == (Tokens{}): // nothing was counted
	case s.Counts == "":
		s.Counts = r.Counts
	case s.Counts != r.Counts:
		s.Counts = CountsMixed
	}
}

// quantile interpolates linearly between the two nearest values; nil of none.
func quantile(values []float64, q float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return new(sorted[low] + (at-float64(low))*(sorted[high]-sorted[low]))
}

// wilson is the score interval of a proportion, which stays sensible for few
// tasks and for shares near 0 and 1 (Wilson 1927).
func wilson(right, n int) (low, high *float64) {
	if n == 0 {
		return nil, nil
	}
	const z = 1.959964 // 95 %
	p, size := float64(right)/float64(n), float64(n)
	middle := p + z*z/(2*size)
	half := z * math.Sqrt(p*(1-p)/size+z*z/(4*size*size))
	scale := 1 + z*z/size
	return new(max(0, (middle-half)/scale)), new(min(1, (middle+half)/scale))
}

// Differences are the indices of the tasks on which not all models that were
// asked say the same. A model that failed says something else than any other.
func (r *Report) Differences() (tasks []int) {
	for i := range r.Tasks {
		var keys []string
		failed := false
		for _, m := range r.Models {
			if res := m.Results[i]; res != nil {
				keys = append(keys, res.key)
				failed = failed || res.Error != ""
			}
		}
		slices.Sort(keys)
		if failed || len(slices.Compact(keys)) > 1 {
			tasks = append(tasks, i)
		}
	}
	return tasks
}
