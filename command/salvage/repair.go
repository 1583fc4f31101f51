package salvage

import "slices"

// Repair names one way in which [Parse] mended a reply. Programs may rely on
// the names.
type Repair string

// What Parse mends. First the form of values, then where calls were found,
// then how a call was put together.
const (
	RepairUTF8          Repair = "invalid-utf8"        // bytes that are no UTF-8 became U+FFFD
	RepairUnderscore    Repair = "escaped-underscore"  // \_ became _
	RepairEscape        Repair = "unknown-escape"      // a backslash was kept as itself
	RepairPythonLiteral Repair = "python-literal"      // None, 'quotes', """quotes""", tuples, #comments
	RepairJSON5         Repair = "json5"               // keys without quotes, //comments, NaN
	RepairTrailingComma Repair = "trailing-comma"      // a comma before a closing bracket
	RepairControl       Repair = "raw-control"         // a line break or tab inside a string
	RepairQuotes        Repair = "inner-quotes"        // unescaped or typographic quotes
	RepairMissingComma  Repair = "missing-comma"       // a comma was assumed
	RepairMissingColon  Repair = "missing-colon"       // a colon was assumed
	RepairMissingQuote  Repair = "missing-quote"       // an opening or closing quote was assumed
	RepairBrackets      Repair = "mismatched-brackets" // a bracket was assumed or ignored
	RepairBareWord      Repair = "bare-word"           // a value without quotes
	RepairTruncated     Repair = "truncated"           // the reply ended inside a value
	RepairNestedJSON    Repair = "nested-json"         // JSON inside a string was unpacked

	RepairReasoning    Repair = "reasoning-removed" // a <think> block was taken off
	RepairFence        Repair = "fenced-block"      // taken out of ``` fences
	RepairSurroundings Repair = "text-around"       // words around a call were dropped
	RepairMaybeQuoted  Repair = "maybe-quoted"      // among words, in quotes, or without an end of its own
	RepairXML          Repair = "xml-tags"          // <function=...> or <name>...</name>
	RepairMarks        Repair = "control-tokens"    // between the control tokens of a model
	RepairReAct        Repair = "react"             // Action: / Action Input:
	RepairFunctionCall Repair = "function-call"     // name(arg="...")
	RepairFirstWord    Repair = "first-word"        // the first word is a command
	RepairProse        Repair = "prose"             // plain text became an answer

	RepairWrapper        Repair = "wrapper"         // the call was inside another object
	RepairMissingCommand Repair = "missing-command" // no command means answer
	RepairOtherKeys      Repair = "other-keys"      // name/arguments and the like, or keys in other case
	RepairFolded         Repair = "folded-keys"     // unknown keys went into content
	RepairAlias          Repair = "alias"           // an alias became the canonical name
	RepairFuzzyName      Repair = "fuzzy-name"      // a harmless command by edit distance
)

// repairs is a list of names in order of discovery, each once.
type repairs []Repair

func (r *repairs) add(names ...Repair) {
	for _, name := range names {
		if !slices.Contains(*r, name) {
			*r = append(slices.Clip(*r), name)
		}
	}
}

func (r repairs) has(name Repair) bool { return slices.Contains(r, name) }
