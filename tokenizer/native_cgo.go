//go:build cgo

package tokenizer

import hf "github.com/daulet/tokenizers"

// library is a tokenizer of the Rust library.
type library struct{ t *hf.Tokenizer }

func openNative(data []byte, parseSpecial bool) (native, error) {
	var opts []hf.TokenizerOption
	if !parseSpecial {
		opts = append(opts, hf.WithEncodeSpecialTokens()) // special tokens are encoded as their text
	}
	t, err := hf.FromBytes(data, opts...)
	if err != nil {
		return nil, &Error{Op: "open tokenizer", What: err.Error(), Advice: adviceFile}
	}
	return library{t}, nil
}

// encode asks for no token texts: the library aborts on one with a NUL in it.
func (l library) encode(text string, addSpecial bool) []uint32 {
	return l.t.EncodeWithOptions(text, addSpecial).IDs
}

func (l library) decode(ids []uint32,
	skipSpecial bool) string {
	return l.t.Decode(ids, skipSpecial)
}
func (l library) vocabSize() int { return int(l.t.VocabSize()) }
func (l library) close()         { _ = l.t.Close() } // always nil
