//go:build !cgo

package tokenizer

func openNative([]byte, bool) (native, error) {
	return nil, &Error{Op: "open tokenizer",
		What:   "this program was built without the native tokenizers library",
		Advice: "run: make native, and build with CGO_ENABLED=1"}
}
