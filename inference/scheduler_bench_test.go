package inference

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"agent/inference/internal/llama"
)

// What the scheduler adds to each token, measured on a device that computes
// nothing. Divide by the milliseconds that a real step takes.

// nullDevice answers every step at once.
type nullDevice struct{ held map[int32]int32 }

func (*nullDevice) SeqState(int32, int64) ([]byte, error)   { return nil, nil }
func (*nullDevice) SetSeqState(int32, []byte) (bool, error) { return false, nil }
func (d *nullDevice) Step(s *llama.Step) error {
	for i := range s.Samples {
		s.Samples[i].Token, s.Samples[i].IsEnd = int32(7+i), false
	}
	for i := range s.Wants {
		s.Wants[i].Logprob = -1
	}
	return nil
}
func (d *nullDevice) NewSampler(llama.SamplerParams) (llama.Sampler, error) {
	return nullSampler{}, nil
}
func (d *nullDevice) SeqRemove(_, _, _ int32) (bool, error) { return true, nil }
func (d *nullDevice) SeqCopy(_, _, _, _ int32) error        { return nil }
func (d *nullDevice) SeqPosMax(seq int32) int32             { return d.held[seq] }
func (d *nullDevice) Hold(f func(func() bool))              { f(func() bool { return false }) }
func (d *nullDevice) Abort(bool)                            {}
func (d *nullDevice) SetThreads(_, _ int)                   {}
func (d *nullDevice) Close()                                {}

type nullSampler struct{}

func (nullSampler) Accept([]int32, bool) error { return nil }
func (nullSampler) Close()                     {}

func nullEngine(b *testing.B, parallel int) *Engine {
	word := []byte(" word")
	tr := traits{vocabSize: 50_000, contextMax: 1 << 30, partial: true, piece: func(int32) []byte { return word }}
	e := newEngine(&nullDevice{}, tr, parallel, ubatchDefault, leavesMax, nil, nil, nil)
	b.Cleanup(e.Close)
	return e
}

func benchPrompt(n int, first int32) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = 1 + (first+int32(i))%40_000
	}
	return ids
}

// drain reads a reply to its end.
func drain(b *testing.B, e *Engine, req *GenerateRequest) {
	for _, err := range e.Generate(context.Background(), req) {
		if err != nil {
			b.Error(err)
			return
		}
	}
}

// One token of a reply, from the sampled id to the caller's loop.
func BenchmarkSchedulerToken(b *testing.B) {
	for _, parallel := range []int{1, 4, 32} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			e := nullEngine(b, parallel)
			each := (b.N + parallel - 1) / parallel
			b.ReportAllocs()
			b.ResetTimer()
			var all sync.WaitGroup
			for i := range parallel {
				all.Go(func() {
					drain(b, e, &GenerateRequest{Prompt: benchPrompt(8, int32(1000*i)), TokensMax: each, Stop: []string{"\n\n", "</end>"}})
				})
			}
			all.Wait()
		})
	}
}

// A new prompt of 4,096 tokens: planning, rows, and taking the slot over.
func BenchmarkSchedulerPrefill(b *testing.B) {
	e := nullEngine(b, 4)
	const tokens = 4096
	b.ReportAllocs()
	for i := range b.N {
		drain(b, e, &GenerateRequest{Prompt: benchPrompt(tokens, int32(i)), TokensMax: 1})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/tokens, "ns/token")
}

// A decision between options after a prompt that is in the cache.
func BenchmarkSchedulerChoose(b *testing.B) {
	for _, options := range []int{4, 32, 256} {
		b.Run(fmt.Sprintf("options=%d", options), func(b *testing.B) {
			e := nullEngine(b, 4)
			prompt := benchPrompt(1000, 0)
			req := &ScoreRequest{Prompt: prompt, Ends: []int32{0}}
			for i := range options {
				tail := []int32{int32(100 + i%7), int32(200 + i), 300}
				req.Options = append(req.Options, append(prompt[:len(prompt):len(prompt)], tail...))
			}
			b.ReportAllocs()
			for range b.N {
				if _, err := e.Score(context.Background(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
