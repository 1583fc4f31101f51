// Package inference runs a GGUF model inside this process: load it ([Load]),
// make an [Engine] of it, and generate or score.
//
// Model holds weights, vocabulary and chat template; Engine owns one context
// on one goroutine and serves many requests at a time by continuous batching,
// reusing the longest common prefix of what it has seen. This package is pure
// Go above inference/internal/llama; without cgo everything builds and Load
// says what to do.
//
// Promises: a file is checked before native code sees it; nothing is truncated
// silently; a cancelled context is seen within one tick; Close is idempotent,
// safe on nil, and waits for work in flight.
package inference

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"agent/inference/gguf"
	"agent/inference/internal/llama"
)

// Error is a failed operation with advice for a person.
type Error struct {
	Op     string
	Err    error
	Advice string
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return cmp.Or(e.Advice, hintOf(e.Err)) }

// ModelOptions configure loading; nil means the defaults. Names follow
// llama.cpp and go-llama.cpp, so that people who know those find them.
type ModelOptions struct {
	GPULayers    *int // layers on accelerators; nil: all when there is one
	MainGPU      int
	Devices      []string  // accelerators by name, or "CPU"; none: see [DevicesFor]
	CPUExperts   *int      // the experts of that many layers stay on the CPU; nil: none
	TensorSplit  []float32 // share of each GPU
	NoMmap       bool      // read the file into memory instead of mapping it
	Mlock        bool      // keep the weights from being paged out
	CheckTensors bool      // validate weights while loading (slow)
	ChatTemplate string    // overrides the file's own
	// Progress is called now and then with the part that is loaded, 0 to 1.
	Progress func(done float64) `json:"-"`
	// Vet runs before native code sees the file; see [VetInChild].
	Vet func(ctx context.Context) error `json:"-"`
	// RenderExecutable is a program whose main calls [RunChild], such as this one
	// ([os.Executable]): chat templates are rendered in children that run it.
	// Empty: in this process, which a hostile template can stop or end.
	RenderExecutable string
}

// ModelInfo describes a loaded model; see llama.cpp's llama_model_* for the terms.
type ModelInfo = llama.ModelInfo

// Model is a loaded model. It is safe for concurrent use.
type Model struct {
	Path   string
	Info   ModelInfo
	File   *gguf.Info // what the pre-check read
	Loaded time.Duration
	// Mapped tells that weights are memory-mapped, not owned.
	Mapped bool
	// Devices are the accelerators that it runs on; none: on the processor.
	Devices []Device

	native       *llama.Model
	vocab        *llama.Vocab
	specials     specialIndex
	longest      int // bytes of the longest token; 0: text may shrink before it is tokenised
	ends         []int32
	template     string
	typedContent bool
	renderers    *renderers
	fragments    fragmentCache

	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup // engines, embedders, and calls that are running
}

// Kinds of vocabularies that keep every byte of a text, as llama.cpp numbers them.
const (
	vocabSPM = 1
	vocabBPE = 2
)

// ErrModelClosed: the model was closed.
var ErrModelClosed = errors.New("the model is closed")

// enter holds the native model open until m.users.Done. All native calls stand
// between the two: one after Close would read memory that was given back.
func (m *Model) enter() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrModelClosed
	}
	m.users.Add(1)
	return nil
}

// Load checks and loads a GGUF file (or the first file of a split model).
// Cancelling ctx ends the load soon.
func Load(ctx context.Context, path string, opts *ModelOptions) (*Model, error) {
	if opts == nil {
		opts = &ModelOptions{}
	}
	if !llama.Built {
		return nil, &Error{Op: "load " + path, Err: llama.ErrNotBuilt, Advice: llama.BuildHint}
	}
	file, err := CheckFile(path)
	if err != nil {
		return nil, err
	}
	if opts.Vet != nil {
		if err := opts.Vet(ctx); err != nil {
			return nil, err
		}
	}
	templates := newRenderers(opts.RenderExecutable)
	templates.warm()
	start := time.Now()
	m, err := load(ctx, path, file, templates, opts)
	if err != nil {
		templates.close()
		return nil, err
	}
	m.Loaded = time.Since(start)
	return m, nil
}

// load loads what was checked.
func load(ctx context.Context, path string, file *gguf.Info, templates *renderers,
	opts *ModelOptions,
) (*Model, error) {
	devices, err := DevicesFor(opts)
	if err != nil {
		return nil, err
	}
	native, err := loadNative(ctx, path, opts)
	if err != nil {
		return nil, err
	}
	m := &Model{Path: path, File: file, native: native, renderers: templates, Mapped: !opts.NoMmap,
		Devices: devices}
	if err := m.describe(ctx, opts); err != nil {
		native.Close()
		return nil, err
	}
	return m, nil
}

// loadNative loads with progress and cancel.
func loadNative(ctx context.Context, path string, opts *ModelOptions) (*llama.Model, error) {
	params := llama.ModelParams{GPULayers: -1, LoadMode: loadMode(opts), MainGPU: opts.MainGPU,
		TensorSplit: opts.TensorSplit, CheckTensors: opts.CheckTensors}
	sys, err := System()
	if err != nil {
		return nil, err
	}
	if params.Devices, err = opts.devices(sys.Devices); err != nil {
		return nil, err
	}
	if opts.GPULayers != nil {
		params.GPULayers = *opts.GPULayers
	}
	if opts.CPUExperts != nil && len(params.Devices) > 0 {
		params.CPUExperts = *opts.CPUExperts
	}
	progress := new(llama.Progress)
	stop := context.AfterFunc(ctx, progress.Cancel)
	defer stop()
	done := make(chan struct{})
	var reporter sync.WaitGroup
	if opts.Progress != nil {
		reporter.Go(func() { reportProgress(progress, opts.Progress, done) })
	}
	native, err := llama.LoadModel(path, params, progress)
	close(done)
	reporter.Wait()
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &Error{Op: "load model", Err: err,
			Advice: cmp.Or(hintOf(err), "`agent models inspect FILE` shows what the file holds")}
	}
	return native, nil
}

func reportProgress(p *llama.Progress, report func(float64), done <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			report(p.Done())
		}
	}
}

func loadMode(o *ModelOptions) llama.LoadMode {
	switch {
	case o.NoMmap && o.Mlock:
		return llama.LoadMlock
	case o.NoMmap:
		return llama.LoadPlain
	case o.Mlock:
		return llama.LoadMmapMlock
	}
	return llama.LoadMmap
}

// describe reads what never changes: metadata, vocabulary, template.
func (m *Model) describe(ctx context.Context, opts *ModelOptions) (err error) {
	if m.Info, err = m.native.Info(); err != nil {
		return err
	}
	if m.vocab, err = m.native.Vocab(m.Info.VocabSize); err != nil {
		return err
	}
	m.specials = newSpecialIndex(m.vocab)
	for id := range int32(m.vocab.Len()) {
		if m.vocab.Attrs[id]&llama.AttrEOG != 0 {
			m.ends = append(m.ends, id)
		}
	}
	if m.Info.VocabType == vocabSPM || m.Info.VocabType == vocabBPE {
		for id := range int32(m.vocab.Len()) {
			m.longest = max(m.longest, len(m.vocab.Piece(id)))
		}
	}
	m.template = cmp.Or(opts.ChatTemplate, m.Info.ChatTemplate)
	m.typedContent = m.needsTypedContent(ctx)
	return ctx.Err()
}

// needsTypedContent reports whether the template drops plain string contents,
// as those do that only iterate over typed parts.
func (m *Model) needsTypedContent(ctx context.Context) bool {
	if !strings.Contains(m.template, "content") {
		return false
	}
	const probe = "\x02probe\x03"
	parts, err := m.render(ctx, Chat{Messages: []Message{{Role: "user", Content: probe}}}, "", false)
	if err == nil && strings.Contains(Text(parts), probe) || errors.Is(err, ErrTemplate) {
		return false
	}
	m.typedContent = true
	parts, err = m.render(ctx, Chat{Messages: []Message{{Role: "user", Content: probe}}}, "", false)
	return err == nil && strings.Contains(Text(parts), probe)
}

// Text is the rendered prompt as one string.
func Text(parts []Part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// TokenizeOptions say how plain text is read.
type TokenizeOptions struct {
	AddSpecial   bool // add what the vocabulary asks for (BOS, EOS)
	ParseSpecial bool // text of control tokens becomes control tokens
	// TokensMax, if set, refuses text of far more tokens with a [ContextError],
	// before all of it is read. Text of a little more is still returned.
	TokensMax int
}

// Tokenize returns the ids of text under the vocabulary that the engine uses.
func (m *Model) Tokenize(text string, o TokenizeOptions) ([]int32, error) {
	if err := m.enter(); err != nil {
		return nil, fmt.Errorf("tokenize: %w", err)
	}
	defer m.users.Done()
	if o.TokensMax > 0 {
		if err := m.checkLength(text, 0, o.TokensMax); err != nil {
			return nil, err
		}
	}
	return m.native.Tokenize(text, o.AddSpecial, o.ParseSpecial)
}

// Text that is tokenised in pieces to see whether it can fit at all.
const (
	fitsForSure = 8       // bytes for each token that is allowed: too few to need a look
	tooLongBy   = 2       // times the tokens allowed: more than the seams between pieces can add
	lookBytes   = 1 << 16 // of a piece
)

// CheckLength is the check of [TokenizeOptions].TokensMax alone.
func (m *Model) CheckLength(text string, tokensMax int) error {
	if err := m.enter(); err != nil {
		return fmt.Errorf("tokenize: %w", err)
	}
	defer m.users.Done()
	return m.checkLength(text, 0, tokensMax)
}

// checkLength refuses text that can't have as few tokens as are allowed, having
// read no more of it than shows that. before counts those that stand before it.
func (m *Model) checkLength(text string, before, tokensMax int) error {
	if len(text) <= fitsForSure*tokensMax {
		return nil
	}
	if n := before + len(text)/m.longest; m.longest > 0 && n > tokensMax {
		return &ContextError{Tokens: n, Max: tokensMax, AtLeast: true}
	}
	for n := before; text != ""; {
		piece := text[:min(len(text), lookBytes)]
		for len(piece) < len(text) && len(piece) > lookBytes-utf8.UTFMax &&
			!utf8.RuneStart(text[len(piece)]) {
			piece = piece[:len(piece)-1]
		}
		ids, err := m.native.Tokenize(piece, false, false)
		if err != nil {
			return err
		}
		if n += len(ids); n > tooLongBy*tokensMax {
			return &ContextError{Tokens: n, Max: tokensMax, AtLeast: true}
		}
		text = text[len(piece):]
	}
	return nil
}

// Detokenize joins the text of ids; control tokens appear only when asked for.
func (m *Model) Detokenize(ids []int32, special bool) (string, error) {
	if err := m.CheckTokens(ids); err != nil {
		return "", err
	}
	if err := m.enter(); err != nil {
		return "", fmt.Errorf("detokenize: %w", err)
	}
	defer m.users.Done()
	b, err := m.native.Detokenize(ids, special)
	return string(b), err
}

// CheckTokens refuses ids that are not in the vocabulary.
func (m *Model) CheckTokens(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= m.Info.VocabSize {
			return fmt.Errorf("token %d of the prompt has id %d, outside the vocabulary of %d", i+1, id,
				m.Info.VocabSize)
		}
	}
	return nil
}

// Piece is the text of one token, control tokens included.
func (m *Model) Piece(id int32) []byte { return m.vocab.Piece(id) }

// IsControl reports whether a token is no text of the reply.
func (m *Model) IsControl(id int32) bool {
	return m.vocab.Attrs[id]&(llama.AttrControl|llama.AttrEOG) != 0
}

// EndTokens are the vocabulary's end-of-generation tokens.
func (m *Model) EndTokens() []int32 { return m.ends }

// TokensStarting finds the tokens whose text begins with prefix; for an option
// that may end where such a text follows. Control tokens are left out.
func (m *Model) TokensStarting(prefix string) []int32 {
	var ids []int32
	for id := range int32(m.vocab.Len()) {
		if m.vocab.Attrs[id]&llama.AttrControl == 0 &&
			strings.HasPrefix(string(m.vocab.Piece(id)), prefix) {
			ids = append(ids, id)
		}
	}
	return ids
}

// HasTemplate reports whether the model can render a chat.
func (m *Model) HasTemplate() bool { return m.template != "" }

// ChatTemplate is the template in use, jinja; empty when there is none.
func (m *Model) ChatTemplate() string { return m.template }

// SchemaToGrammar converts a JSON Schema to GBNF, refusing what the native
// converter can't take safely, and what its grammar would not enforce.
func SchemaToGrammar(schema []byte) (string, error) {
	decoded, err := decodeSchema(schema)
	if err != nil {
		return "", err
	}
	if err := checkSchema(decoded); err != nil {
		return "", err
	}
	if err := checkEnforced(decoded); err != nil {
		return "", err
	}
	for _, p := range patterns(decoded) {
		if err := checkPattern(p, llama.SchemaToGrammar); err != nil {
			return "", err
		}
	}
	if schema, err = inOrderOf(schema, decoded); err != nil {
		return "", fmt.Errorf("JSON schema: %w", err)
	}
	gbnf, err := llama.SchemaToGrammar(schema)
	if err != nil {
		return "", &Error{Op: "JSON schema", Err: err,
			Advice: "simplify the schema; types, properties, items, enum, const, anyOf, $ref and pattern are known"}
	}
	return gbnf, CheckGrammar(gbnf)
}

// Close frees the model. It waits for calls that are running, and until the
// engines and embedders of the model were closed.
func (m *Model) Close() {
	if m == nil {
		return
	}
	m.mu.Lock()
	closed := m.closed
	m.closed = true
	m.mu.Unlock()
	if closed {
		return
	}
	m.users.Wait()
	m.renderers.close()
	m.native.Close()
}

// LiveObjects counts native objects; 0 when everything was closed.
func LiveObjects() int { return llama.Live() }

// System describes the devices and the build.
func System() (llama.SystemInfo, error) { return llama.System() }

// Built reports whether this binary has the native engine.
func Built() bool { return llama.Built }

// CheckFile pre-checks a file in Go; see package gguf.
func CheckFile(path string) (*gguf.Info, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, &Error{Op: "open model", Err: err,
			Advice: "check the path; `agent models list` shows what is here"}
	}
	if st.IsDir() {
		return nil, &Error{Op: "open model", Err: fmt.Errorf("%s is a folder", path),
			Advice: "name the .gguf file inside it"}
	}
	return gguf.Check(path)
}

// BuildHint says how to get the native engine.
const BuildHint = llama.BuildHint

// Device is one accelerator or processor.
type Device = llama.Device
