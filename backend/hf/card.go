package hf

import (
	"agent/backend"
	"agent/inference/gguf"
)

// cardSampling is the sampling that a model's file recommends, for what neither a request
// nor the configuration says. Numbers that can't be meant are left out.
func cardSampling(file *gguf.Info) *backend.Sampling {
	out := &backend.Sampling{}
	if file == nil {
		return out
	}
	within := func(to **float64, key string, most float64) {
		if v, ok := file.Sampling[key]; ok && v >= 0 && v <= most {
			*to = &v
		}
	}
	within(&out.Temperature, "temp", 10)
	within(&out.TopP, "top_p", 1)
	within(&out.MinP, "min_p", 1)
	within(&out.RepeatPenalty, "penalty_repeat", 10)
	if v, ok := file.Sampling["top_k"]; ok && v >= 0 && v <= 1<<20 {
		k := int(v)
		out.TopK = &k
	}
	return out
}
