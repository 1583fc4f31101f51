package bench

import (
	"encoding/json"
	"math"
	"slices"
)

// Spread summarises repeated measurements of one thing. Of none at all every
// number is NaN, which JSON shows as null.
type Spread struct {
	Mean   float64
	Stddev float64 // of the sample; 0 for a single value
	Median float64
	Low    float64 // first quartile
	High   float64 // third quartile
	Values []float64
}

// NewSpread summarises values.
func NewSpread(values []float64) Spread {
	s := Spread{Values: slices.Clone(values), Median: Quantile(values, 0.5),
		Low: Quantile(values, 0.25), High: Quantile(values, 0.75), Mean: math.NaN(), Stddev: math.NaN()}
	if len(values) == 0 {
		return s
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	s.Mean = sum / float64(len(values))
	squares := 0.0
	for _, v := range values {
		squares += (v - s.Mean) * (v - s.Mean)
	}
	s.Stddev = math.Sqrt(squares / float64(max(1, len(values)-1)))
	return s
}

// MarshalJSON writes numbers that are not finite as null.
func (s Spread) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Mean   *float64  `json:"mean"`
		Stddev *float64  `json:"stddev"`
		Median *float64  `json:"median"`
		Low    *float64  `json:"quartile_low"`
		High   *float64  `json:"quartile_high"`
		Values []float64 `json:"values"`
	}{finite(s.Mean), finite(s.Stddev), finite(s.Median), finite(s.Low), finite(s.High),
		slices.DeleteFunc(slices.Clone(s.Values), notFinite)})
}

func notFinite(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }

func finite(v float64) *float64 {
	if notFinite(v) {
		return nil
	}
	return &v
}

// Quantile is the q-th quantile (0 to 1) by linear interpolation; NaN of no values.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}
