package salvage

import (
	"maps"
	"slices"
	"strings"

	"agent/command"
)

// answerName is the command of a reply that names none.
const answerName = "answer"

// Keys that models write for the fields of a call, first the canonical one.
var (
	commandKeys = []string{"command", "cmd", "tool", "tool_name", "action", "function",
		"function_name", "recipient_name", "name"}
	contentKeys = []string{"content", "arguments", "parameters", "params", "args",
		"action_input", "tool_input", "tool_args", "input"}
	notesKeys   = []string{"notes", "note", "thought", "thoughts", "reasoning"}
	wrapperKeys = []string{"command", "calls", "tool_calls", "tool_uses", "function_call",
		"functioncall", "tool_call", "commands", "call", "response"}
)

// normalizer turns values into calls.
type normalizer struct {
	reg     *command.Registry
	budget  *int
	repairs repairs
}

// calls returns the calls that a value stands for, nil when it is no call.
// Loose accepts an object without a command, which means answer.
func (n *normalizer) calls(v any, loose bool) []ParsedCall {
	switch v := v.(type) {
	case []any:
		var out []ParsedCall
		v, notes := textBlocks(v)
		for _, entry := range v {
			object, ok := entry.(map[string]any)
			if ok {
				out = append(out, n.object(object, loose)...)
			} else if entry != nil {
				n.repairs.add(RepairMaybeQuoted)
			}
		}
		if len(v) > 1 && slices.Contains(n.repairs, RepairMissingCommand) { // an entry is no call
			n.repairs.add(RepairMaybeQuoted)
		}
		if len(out) > 0 {
			out[0].Notes = append(notes, out[0].Notes...)
		}
		return out
	case map[string]any:
		return n.object(v, loose)
	}
	return nil
}

// textBlocks takes what is said out of a message in blocks, as Anthropic has it, that has
// calls, too.
func textBlocks(entries []any) (calls []any, said []string) {
	for _, entry := range entries {
		block, _ := entry.(map[string]any)
		switch text, isText := block["text"].(string); {
		case isText && block["type"] == "text":
			said = append(said, text)
		case block["type"] == "tool_use":
			calls = append(calls, entry)
		default:
			return entries, nil
		}
	}
	if len(calls) == 0 {
		return entries, nil
	}
	return calls, said
}

func (n *normalizer) object(object map[string]any, loose bool) []ParsedCall {
	fields := n.fold(object)
	if inner := n.unwrap(fields); inner != nil {
		return inner
	}
	if call, ok := n.keyIsCommand(fields); ok {
		return []ParsedCall{call}
	}
	key := n.commandKey(fields)
	if key == "" && !hasAny(fields, "content", "summary") && (!loose || len(fields) == 0) {
		return nil
	}
	return []ParsedCall{n.call(fields, key)}
}

// fold gives the fields lower-case names when the canonical ones are missing.
func (n *normalizer) fold(object map[string]any) map[string]any {
	if _, ok := object["command"].(string); ok {
		return object
	}
	out := make(map[string]any, len(object))
	for _, k := range slices.Sorted(maps.Keys(object)) {
		folded := strings.ToLower(strings.TrimSpace(k))
		if folded == k || slices.Contains(commandKeys, folded) || slices.Contains(contentKeys, folded) ||
			slices.Contains(notesKeys, folded) || slices.Contains(wrapperKeys, folded) ||
			folded == "summary" {
			if folded != k {
				n.repairs.add(RepairOtherKeys)
			}
			if _, taken := object[folded]; !taken || folded == k {
				out[folded] = object[k]
				continue
			}
		}
		out[k] = object[k]
	}
	return out
}

// unwrap finds calls one level down, as in {"tool_calls": [...]}.
func (n *normalizer) unwrap(fields map[string]any) []ParsedCall {
	if _, ok := fields["command"].(string); ok {
		return nil
	}
	for _, key := range wrapperKeys {
		inner, ok := fields[key]
		if !ok {
			continue
		}
		if calls := n.innerCalls(inner); calls != nil {
			n.repairs.add(RepairWrapper)
			n.checkBeside(fields, key)
			return calls
		}
	}
	// OpenAI: {"type": "function", "function": {...}}
	if f, ok := fields["function"].(map[string]any); ok {
		if calls := n.innerCalls(f); calls != nil {
			n.repairs.add(RepairWrapper)
			n.checkBeside(fields, "function")
			return calls
		}
	}
	return nil
}

// checkBeside marks calls whose wrapper holds other things too: they may be an
// example in a text.
func (n *normalizer) checkBeside(fields map[string]any, wrapper string) {
	for k, v := range fields {
		if v != nil && v != "" && k != wrapper && k != "role" && k != "summary" && !isEnvelope(k) &&
			!slices.Contains(notesKeys, k) {
			n.repairs.add(RepairMaybeQuoted)
		}
	}
}

// innerCalls reads calls that must name their command. Each may be wrapped once
// more as {"function": {...}}.
func (n *normalizer) innerCalls(v any) []ParsedCall {
	entries, ok := v.([]any)
	if !ok {
		entries = []any{v}
	}
	var out []ParsedCall
	stray := false // an entry that is no call
	for _, entry := range entries {
		fields, ok := entry.(map[string]any)
		if !ok {
			stray = true
			continue
		}
		if f, ok := fields["function"].(map[string]any); ok {
			fields = f
		}
		fields = n.fold(fields)
		if key := n.commandKey(fields); key != "" {
			out = append(out, n.call(fields, key))
		} else {
			stray = true
		}
	}
	if stray && len(out) > 0 {
		n.repairs.add(RepairMaybeQuoted)
	}
	return out
}

// keyIsCommand reads {"python": {...}}: one key, the name of a command.
func (n *normalizer) keyIsCommand(fields map[string]any) (ParsedCall, bool) {
	if len(fields) != 1 {
		return ParsedCall{}, false
	}
	for name, content := range fields {
		l := n.reg.Lookup(name)
		if l.Match == command.MatchExact && !slices.Contains(contentKeys, name) {
			n.repairs.add(RepairOtherKeys)
			return n.named(name, content), true
		}
	}
	return ParsedCall{}, false
}

// commandKey returns the key that names the command, or "". Keys other than
// "command" are common words: they count only beside arguments or with the name
// of a known command.
func (n *normalizer) commandKey(fields map[string]any) string {
	if text(fields["command"]) != "" {
		return "command"
	}
	for _, key := range commandKeys[1:] {
		name := text(fields[key])
		if name == "" {
			continue
		}
		if match := n.reg.Lookup(name).Match; match <= command.MatchAlias ||
			hasAny(fields, contentKeys[1:]...) {
			return key
		}
	}
	return ""
}

// call builds the call of an object whose command stands under key; an empty
// key means answer.
func (n *normalizer) call(fields map[string]any, key string) ParsedCall {
	name := text(fields[key])
	if key == "" {
		n.repairs.add(RepairMissingCommand)
		name = answerName
	} else if key != "command" {
		n.repairs.add(RepairOtherKeys)
	}
	out := n.resolve(name)
	spec := n.spec(out.Command)
	out.Summary = command.AsText(fields["summary"])
	used := map[string]bool{key: true, "command": true, "summary": true}
	out.Notes = n.notes(fields, used)
	contentKey := n.contentKey(fields, used)
	used[contentKey] = true
	out.Content = n.content(fields[contentKey], spec, contentKey != "content")
	n.foldUnknown(&out, fields, used)
	return out
}

// contentKey returns the key whose value is the content. Keys other than
// "content" are also names of arguments, so they count only when they hold an
// object or stand alone.
func (n *normalizer) contentKey(fields map[string]any, used map[string]bool) string {
	if _, ok := fields["content"]; ok {
		return "content"
	}
	others := 0
	for k := range fields {
		if !used[k] && !isEnvelope(k) {
			others++
		}
	}
	for _, key := range contentKeys[1:] {
		v, ok := fields[key]
		if _, isObject := v.(map[string]any); ok && !used[key] && (isObject || others == 1) {
			n.repairs.add(RepairOtherKeys)
			return key
		}
	}
	return ""
}

// isEnvelope reports keys that function-calling protocols add to each call.
func isEnvelope(key string) bool {
	return key == "type" || key == "id" || key == "index" || key == "tool_call_id" || key == "call_id"
}

// named is a call of a command with nothing but content.
func (n *normalizer) named(name string, content any) ParsedCall {
	out := n.resolve(name)
	out.Content = n.content(content, n.spec(out.Command), false)
	return out
}

// resolve finds the command behind a name. A guess replaces the name only
// when running the guess can do no harm.
func (n *normalizer) resolve(name string) ParsedCall {
	l := n.reg.Lookup(name)
	out := ParsedCall{Call: command.Call{Command: strings.TrimSpace(name)}, Match: l.Match,
		Suggestion: l.Suggestion}
	switch {
	case l.Match == command.MatchAlias:
		n.repairs.add(RepairAlias)
		out.Command = l.Name
	case l.Match == command.MatchFuzzy && l.Command != nil && !l.Command.Spec().Effect.Consequential():
		n.repairs.add(RepairFuzzyName)
		out.Command = l.Name
	}
	return out
}

// spec is that of a command, empty if it is not known.
func (n *normalizer) spec(name string) command.Spec {
	if l := n.reg.Lookup(name); l.Command != nil && l.Match == command.MatchExact {
		return l.Command.Spec()
	}
	return command.Spec{}
}

// content makes a list of objects of any content. Arguments in the style of
// function calling may be JSON inside a string; so may content whose keys are the
// slots of the command.
func (n *normalizer) content(v any, spec command.Spec, arguments bool) []map[string]any {
	if s, ok := v.(string); ok {
		v = n.unpack(s, spec, arguments)
	}
	out := []map[string]any{}
	switch v := v.(type) {
	case nil:
	case map[string]any:
		out = append(out, v)
	case []any:
		for _, entry := range v {
			if s, ok := entry.(string); ok {
				entry = n.unpack(s, spec, false)
			}
			if object, ok := entry.(map[string]any); ok {
				out = append(out, object)
			} else if entry != nil {
				out = append(out, map[string]any{spec.TextSlot(): entry})
			}
		}
	default:
		out = append(out, map[string]any{spec.TextSlot(): v})
	}
	for i := range out {
		out[i] = n.filePaths(out[i])
	}
	return out
}

// unpack reads JSON inside a string. Where a text could be meant, all of its keys
// must be slots of the command.
func (n *normalizer) unpack(s string, spec command.Spec, arguments bool) any {
	trimmed := strings.TrimSpace(s)
	if trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return s
	}
	r := literalReader{text: s, budget: n.budget}
	v, ok := r.value()
	r.skipSpace()
	if !ok || r.pos < len(s) || !(arguments && trimmed[0] == '{') && !fills(v, spec) {
		return s
	}
	n.repairs.add(RepairNestedJSON)
	n.repairs.add(r.repairs...)
	return v
}

// fills reports an object, or a list of them, with the slots of a command and
// nothing else.
func fills(v any, spec command.Spec) bool {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			if !hasSlot(spec, key) {
				return false
			}
		}
		return len(v) > 0
	case []any:
		for _, entry := range v {
			if object, ok := entry.(map[string]any); !ok || !fills(object, spec) {
				return false
			}
		}
		return len(v) > 0
	}
	return false
}

// filePaths gives names of files the backslashes back that were read as escapes.
// A line break alone may part two names.
func (n *normalizer) filePaths(entry map[string]any) map[string]any {
	for key, v := range entry {
		name, ok := v.(string)
		if !ok || !command.IsFileKey(key) || !strings.ContainsAny(name, "\t\n\r") ||
			strings.TrimSpace(name) != name {
			continue
		}
		if first, _, _ := strings.Cut(name, "\n"); !strings.ContainsAny(name, "\t\\") &&
			strings.Contains(first, ".") {
			continue
		}
		entry = maps.Clone(entry)
		entry[key] = strings.NewReplacer("\t", `\t`, "\n", `\n`, "\r", `\r`).Replace(name)
		n.repairs.add(RepairEscape)
	}
	return entry
}

// notes collects the strings of the first notes field.
func (n *normalizer) notes(fields map[string]any, used map[string]bool) []string {
	keys := notesKeys
	if !hasAny(fields, contentKeys...) { // a thought may be all that there is to it
		keys = notesKeys[:2]
	}
	key := firstKey(fields, keys)
	if key == "" {
		return nil
	}
	used[key] = true
	if key != "notes" {
		n.repairs.add(RepairOtherKeys)
	}
	entries, ok := fields[key].([]any)
	if !ok && fields[key] != "" {
		entries = []any{fields[key]}
	}
	var out []string
	for _, entry := range entries {
		if entry != nil {
			out = append(out, command.AsText(entry))
		}
	}
	return out
}

// foldUnknown moves unknown keys of a call into its content, where the command
// may know them.
func (n *normalizer) foldUnknown(call *ParsedCall, fields map[string]any, used map[string]bool) {
	unknown := map[string]any{}
	for k, v := range fields {
		if !used[k] && (used["content"] || hasAny(fields, "command") && v != nil || !isEnvelope(k)) {
			unknown[k] = v
		}
	}
	if len(unknown) == 0 {
		return
	}
	n.repairs.add(RepairFolded)
	if len(call.Content) == 0 {
		call.Content = []map[string]any{unknown}
		return
	}
	merged := make(map[string]any, len(unknown)+len(call.Content[0]))
	maps.Copy(merged, unknown)
	maps.Copy(merged, call.Content[0]) // what was written as content wins
	call.Content[0] = merged
}

// text returns a name written as a string or as a list of one string.
func text(v any) string {
	if list, ok := v.([]any); ok && len(list) == 1 {
		v = list[0]
	}
	s, _ := v.(string)
	return strings.TrimPrefix(strings.TrimSpace(s), "functions.")
}

func firstKey(fields map[string]any, keys []string) string {
	for _, key := range keys {
		if _, ok := fields[key]; ok {
			return key
		}
	}
	return ""
}

func hasAny(fields map[string]any, keys ...string) bool { return firstKey(fields, keys) != "" }
