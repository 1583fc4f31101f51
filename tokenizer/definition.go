package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const adviceFile = "use the tokenizer.json of the model's repository as it is; download it again if it may be damaged"

// definition is the contents of a tokenizer.json.
type definition struct {
	data                []byte
	normalizer, decoder json.RawMessage
	cuts                bool // long texts may be encoded in pieces
	pieceMax            int  // bytes that may be encoded at once
}

// parseDefinition checks what the library would not survive or would apply in
// silence.
func parseDefinition(data []byte) (definition, error) {
	refuse := func(format string, args ...any) (definition, error) {
		return definition{}, &Error{Op: "open tokenizer", What: fmt.Sprintf(format, args...),
			Advice: adviceFile}
	}
	if len(data) > fileBytesMax {
		return refuse("more than %d bytes", fileBytesMax)
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return refuse("not a tokenizer.json: %v", err)
	}
	if top["model"] == nil {
		return refuse("not a tokenizer.json: it has no model")
	}
	// The library aborts the program when an error message of its own holds a NUL.
	if bytes.Contains(data, []byte(`\u0000`)) {
		return refuse("a text in it contains a NUL character")
	}
	if hasDropout(top["model"]) {
		return refuse("it drops merges at random (model.dropout), so that counts would differ from call to call")
	}
	for _, key := range []string{"normalizer", "pre_tokenizer", "decoder"} {
		var part any
		if err := json.Unmarshal(orNull(top[key]), &part); err != nil {
			return refuse("%s: %v", key, err)
		}
		if i := slices.IndexFunc(patterns(part), explosive); i >= 0 {
			return refuse("%s has the pattern %q, which may never end", key, patterns(part)[i])
		}
	}
	for _, key := range []string{"truncation", "padding"} { // they would change counts
		if v := top[key]; v != nil && !isNull(v) {
			top[key] = json.RawMessage("null")
			data = nil
		}
	}
	if data == nil {
		var err error
		if data, err = json.Marshal(top); err != nil {
			return refuse("%v", err)
		}
	}
	pieceMax := pieceBytesMax
	if isNull(top["pre_tokenizer"]) {
		pieceMax = pieceBytesMaxPatternless
	}
	return definition{data: data, pieceMax: pieceMax, normalizer: top["normalizer"],
		decoder: top["decoder"], cuts: cuttable(top)}, nil
}

func isNull(v json.RawMessage) bool { return len(v) == 0 || string(v) == "null" }

// hasDropout decodes the model only when the word occurs in it other than as
// null, as most models are large and none has it.
func hasDropout(model json.RawMessage) bool {
	const key = `"dropout"`
	rest := model
	for {
		i := bytes.Index(rest, []byte(key))
		if i < 0 {
			return false
		}
		rest = rest[i+len(key):]
		value := bytes.TrimLeft(rest, " \t\r\n:")
		if !bytes.HasPrefix(value, []byte("null")) {
			break
		}
	}
	var m struct {
		Dropout *float64 `json:"dropout"`
	}
	return json.Unmarshal(model, &m) == nil && m.Dropout != nil && *m.Dropout > 0
}

// The binding passes texts as C strings, which end at the first NUL. A text with
// one is therefore written in an escape code of three private characters, and a
// second copy of the tokenizer begins by undoing it: NUL becomes esc+nul and esc
// becomes esc+self, so that after esc only those two can follow, and replacing
// first the one, then the other, gives back any text. Everything after that step
// sees the true text, so the ids are exact. Decoding is the same in reverse.
const (
	esc     = "\U0010FFFD"
	escNUL  = "\U0010FFFC"
	escSelf = "\U0010FFFB"
)

var (
	escapeNUL   = strings.NewReplacer("\x00", esc+escNUL, esc, esc+escSelf)
	unescapeNUL = strings.NewReplacer(esc+escNUL, "\x00", esc+escSelf, esc)
)

// bytes is the tokenizer.json to load; with unescape, one that undoes escapeNUL.
func (d definition) bytes(unescape bool) ([]byte, error) {
	if !unescape {
		return d.data, nil
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(d.data, &top); err != nil {
		return nil, fmt.Errorf("open tokenizer: %w", err) // was parsed before
	}
	normalizer := []any{replace(esc+escNUL, "\x00"), replace(esc+escSelf, esc)}
	if !isNull(d.normalizer) {
		normalizer = append(normalizer, d.normalizer)
	}
	top["normalizer"] = sequence("normalizers", normalizer)
	if !isNull(d.decoder) {
		top["decoder"] = sequence("decoders",
			[]any{d.decoder, replace(esc, esc+escSelf), replace("\x00", esc+escNUL)})
	}
	data, err := json.Marshal(top)
	if err != nil {
		return nil, fmt.Errorf("open tokenizer: %w", err)
	}
	return data, nil
}

// replace is a step of a normalizer or decoder.
func replace(old, with string) any {
	return map[string]any{"type": "Replace", "pattern": map[string]string{"String": old},
		"content": with}
}

// sequence is several steps in a row.
func sequence(name string, steps []any) json.RawMessage {
	data, err := json.Marshal(map[string]any{"type": "Sequence", name: steps})
	if err != nil {
		panic(err) // strings and valid JSON always marshal
	}
	return data
}
