//go:build !cgo

package llama

// Built reports whether the native engine is part of this binary.
const Built = false

func notBuilt(op string) error { return &Error{Op: op, Err: ErrNotBuilt, Advice: BuildHint} }

// Init does nothing without the native engine.
func Init(int) {}

// Live is always 0 without the native engine.
func Live() int { return 0 }

// Cores is unknown without the native engine.
func Cores() []int32 { return nil }

// System fails without the native engine.
func System() (SystemInfo, error) { return SystemInfo{}, notBuilt("system info") }

// Progress watches a load; without the native engine there is none.
type Progress struct{}

// Done is always 0.
func (*Progress) Done() float64 { return 0 }

// Cancel does nothing.
func (*Progress) Cancel() {}

// Model can't exist without the native engine.
type Model struct{}

// Hold does nothing.
func (*Context) Hold(func(contended func() bool)) {}

// LoadModel fails and says what to build.
func LoadModel(path string, _ ModelParams, _ *Progress) (*Model, error) {
	return nil, notBuilt("load " + path)
}

// Close does nothing.
func (*Model) Close() {}

// Info fails.
func (*Model) Info() (ModelInfo, error) { return ModelInfo{}, notBuilt("model info") }

// Tokenize fails.
func (*Model) Tokenize(string, bool, bool) ([]int32, error) { return nil, notBuilt("tokenize") }

// Detokenize fails.
func (*Model) Detokenize([]int32, bool) ([]byte, error) { return nil, notBuilt("detokenize") }

// Vocab fails.
func (*Model) Vocab(int) (*Vocab, error) { return nil, notBuilt("read vocabulary") }

// NewSampler fails.
func (*Model) NewSampler(SamplerParams) (Sampler, error) {
	return nil,
		notBuilt("prepare sampling")
}

// NewContext fails.
func (*Model) NewContext(ContextParams) (*Context, error) { return nil, notBuilt("create context") }

// RenderTemplate fails.
func RenderTemplate([]byte) ([]byte, error) { return nil, notBuilt("render chat template") }

// SchemaToGrammar fails.
func SchemaToGrammar([]byte) (string, error) { return "", notBuilt("convert JSON schema") }

// Context can't exist without the native engine.
type Context struct{}

// Close does nothing.
func (*Context) Close() {}

// NewSampler fails.
func (*Context) NewSampler(SamplerParams) (Sampler, error) {
	return nil,
		notBuilt("prepare sampling")
}

// Abort does nothing.
func (*Context) Abort(bool) {}

// Step fails.
func (*Context) Step(*Step) error { return notBuilt("compute") }

// SeqRemove does nothing.
func (*Context) SeqRemove(_, _, _ int32) (bool, error) {
	return false,
		notBuilt("drop cached tokens")
}

// SeqCopy does nothing.
func (*Context) SeqCopy(_, _, _, _ int32) error { return notBuilt("share cached tokens") }

// SeqPosMax is always -1.
func (*Context) SeqPosMax(int32) int32 { return -1 }

// SeqState is always nil.
func (*Context) SeqState(int32, int64) ([]byte, error) {
	return nil,
		notBuilt("read cached tokens")
}

// SetSeqState does nothing.
func (*Context) SetSeqState(int32, []byte) (bool, error) {
	return false, notBuilt("restore cached tokens")
}

// SetThreads does nothing.
func (*Context) SetThreads(_, _ int) {}

// Info fails.
func (*Context) Info() (ContextInfo, error) { return ContextInfo{}, notBuilt("context info") }

// Embed fails.
func (*Context) Embed([]int32, int) ([]float32, error) { return nil, notBuilt("embed") }

// Instructions are none without the native engine.
func Instructions() (needed, lacking string, err error) { return "", "", nil }

// DieBySignal does nothing.
func DieBySignal() {}

// BufferTypes fails.
func BufferTypes() (Buffers, error) { return Buffers{}, notBuilt("list buffer types") }

// SelfTest fails.
func SelfTest(string, int, []int32, int) ([]float32, bool, error) {
	return nil, false, notBuilt("self-test")
}

// DisableBuffer fails.
func DisableBuffer(name string) error { return notBuilt("switch off " + name) }
