package salvage

import (
	"regexp"
	"strings"
)

// Tool calls as today's models write them between control tokens: a mark, the
// name of the command, and its arguments as JSON. Vendors write the bar of a
// token as | or ｜ and its spaces as _ or ▁.

const (
	bar       = `[|｜]`
	gap       = `[_▁ ]`
	qualifier = `(?:functions?\.|default_api\.|tools?\.)?`
)

// The tokens at which a turn begins and ends, which some servers leave in its text.
var (
	turnStart = regexp.MustCompile(`^(?:<\|begin_of_text\|>|<s>)?(?:` +
		`<\|im_start\|>assistant\n|<\|start_header_id\|>assistant<\|end_header_id\|>|` +
		`<start_of_turn>model\n|<\|turn>model\n|<\|assistant\|>|<｜Assistant｜>|` +
		`<\|CHATBOT_TOKEN\|>|<\|START_RESPONSE\|>)`)
	turnEnd = regexp.MustCompile(`(?:\s*(?:<\|(?:im_end|eot_id|eom_id|eot|end|` +
		`endoftext|end_of_text|END_RESPONSE|END_OF_TURN_TOKEN|` +
		`user|observation)\|>|</s>|<end_of_turn>|<turn\|>|<｜end▁of▁sentence｜>))+$`)
)

// turnText is a reply without the tokens at its start and end.
func (s *salvage) turnText(text string) string {
	out := strings.TrimSpace(text[len(turnStart.FindString(text)):])
	struck := strings.HasSuffix(out, "</s>") && strings.Contains(out, "<s>")
	if at := turnEnd.FindStringIndex(out); at != nil && !struck {
		out = strings.TrimSpace(out[:at[0]])
	}
	if out != text {
		s.repairs.add(RepairMarks)
	}
	return out
}

// markedStart is a mark and a name, up to where the arguments begin.
var markedStart = regexp.MustCompile(`^(?:` + strings.Join([]string{
	// Mistral: [TOOL_CALLS]name[ARGS]{...}, with [CALL_ID] between
	`\[TOOL_CALLS?\]\s*` + qualifier + commandName +
		`(?:\s*\[CALL_ID\][^\[\]{}]{0,64})?\s*(?:\[ARGS\])?`,
	// DeepSeek: <｜tool▁call▁begin｜>function<｜tool▁sep｜>name, or without its type; Kimi:
	// functions.name:0
	`<` + bar + `tool` + gap + `call` + gap + `begin` + bar + `>\s*` +
		`(?:function<` + bar + `tool` + gap + `sep` + bar + `>)?` + qualifier + commandName +
		`(?::\d{1,4})?\s*(?:<` + bar + `tool` + gap + `(?:sep|call` + gap + `argument` + gap + `begin)` +
		bar + `>)?`,
	// GLM and others: <tool_call>name{...}; Gemma: <|tool_call>call:name{...}
	`<` + bar + `?(?:tool_call|start_function_call)` + bar + `?>\s*(?:call:)?` + qualifier +
		commandName,
	// Harmony without its tokens, which some servers take out
	`(?:assistant)?commentary\s+to=functions\.` + commandName + `\s*(?:json|code)?`,
	// Functionary: >>>name, or <|recipient|>name<|content|>
	`>>>` + commandName + `\n`,
	`(?:<\|from\|>\s*assistant\s*)?<\|recipient\|>\s*` + commandName + `\s*<\|content\|>`,
	// Solar: <|tool_call:name|>name<|tool_call:args|>
	`(?:<\|tool_call:begin\|>[^<]{0,64})?<\|tool_call:name\|>` + commandName + `<\|tool_call:args\|>`,
}, "|") + `)\s*`)

// nameOf is the name in a match of markedStart or harmonyStart.
func nameOf(groups []string) string {
	for _, g := range groups[1:] {
		if g != "" {
			return g
		}
	}
	return ""
}

// markedCall reads a mark, a name and a value at the start of text.
func (s *salvage) markedCall(text string) ([]ParsedCall, int) {
	m := markedStart.FindStringSubmatch(text)
	if m == nil {
		return s.markedCode(text)
	}
	start, fenced := len(m[0]), false
	if info, body, ok := strings.Cut(text[start:], "\n"); ok && (info == "```json" || info == "```") {
		start, fenced = len(text)-len(body), true
	}
	if !strings.HasPrefix(text[start:], "{") {
		return nil, 0
	}
	v, end, made, ok := s.read(text[start:], false)
	if !ok {
		if v, end, made, ok = s.read(text[start:], true); !ok {
			return nil, 0
		}
	}
	if rest := strings.TrimLeft(text[start+end:], " \t\r\n"); fenced &&
		strings.HasPrefix(rest, "```") {
		end = len(text) - len(rest) + len("```") - start
	}
	s.repairs.add(made...)
	s.repairs.add(RepairMarks)
	return s.oneCall(nameOf(m), v), start + end
}

var controlToken = regexp.MustCompile(`^(?:<\|[a-z_]{1,40}\|>|<(?:execute_)?tool(?:_code)?>)\s*`)

// markedCode reads a control token and a call as code writes it: Llama's
// <|python_tag|>name.call(...)
func (s *salvage) markedCode(text string) ([]ParsedCall, int) {
	mark := len(controlToken.FindString(text))
	if mark == 0 || resultMark.MatchString(text[:mark]) {
		return nil, 0
	}
	call := text[mark:]
	if strings.HasPrefix(text, "<"+toolCode+">") {
		call = strings.TrimPrefix(call, printed)
		mark = len(text) - len(call)
	}
	calls, length, ok := s.functionCall(call)
	if !ok {
		return nil, 0
	}
	return calls, mark + length
}

// In tool_code calls may be printed, as in Python, where print(list(x)) is no call.
const (
	toolCode = "tool_code"
	printed  = "print("
)

// unprinted is a call without the print around it.
func unprinted(code string) string {
	inner, ok := strings.CutPrefix(code, printed)
	if !ok || !strings.HasSuffix(inner, ")") {
		return code
	}
	return strings.TrimSpace(inner[:len(inner)-1])
}

// callList reads [name(...), name(...)] at the start of text, as it is written
// in Python.
func (s *salvage) callList(text string) ([]ParsedCall, int) {
	before := s.repairs
	var out []ParsedCall
	for pos := 1; ; {
		pos += len(text[pos:]) - len(strings.TrimLeft(text[pos:], " \t\r\n"))
		calls, end, ok := s.functionCall(text[pos:])
		if !ok {
			break
		}
		out = append(out, calls...)
		rest := strings.TrimLeft(text[pos+end:], " \t\r\n")
		pos = len(text) - len(rest)
		if strings.HasPrefix(rest, "]") {
			return out, pos + 1
		}
		if !strings.HasPrefix(rest, ",") {
			break
		}
		pos++
	}
	s.repairs = before
	return nil, 0
}

// The parts of a reply in the channels of Harmony (gpt-oss): a header with the
// channel and, of a call, the name that it is for; then a message.
var (
	harmonyStart = regexp.MustCompile(`^(?:<\|start\|>)?(?:assistant)?(?:\s*to=[^<\s]{1,80})?\s*` +
		`<\|channel\|>\s*([a-z]+)[^<\n]{0,80}` +
		`(?:<\|constrain\|>[^<\n]{0,40})?<\|message\|>`)
	recipient  = regexp.MustCompile(`to=` + qualifier + commandName)
	harmonyEnd = regexp.MustCompile(`<\|(?:end|call|return)\|>`)
)

// harmony reads a reply that is a sequence of messages in channels. What stands
// in "analysis" is a thought, and "final" is the answer.
func harmony(s *salvage, text string) []ParsedCall {
	var out []ParsedCall
	var thoughts []string
	before := s.repairs
	for text != "" {
		head := harmonyStart.FindStringSubmatch(text)
		if head == nil {
			break
		}
		body := text[len(head[0]):]
		if to := recipient.FindStringSubmatch(head[0]); to != nil {
			var calls []ParsedCall
			calls, text = s.harmonyCall(to[1], body)
			out = append(out, calls...)
			continue
		}
		message := body
		if text = ""; head[1] != "final" || strings.Contains(body, "<|channel|>") {
			message, text = cutMessage(body)
		}
		message = strings.TrimSpace(harmonyEnd.ReplaceAllString(message, ""))
		if head[1] == "final" {
			out = append(out, s.oneCall(answerName, message)...)
		} else if message != "" {
			thoughts = append(thoughts, message)
		}
	}
	return s.spoken(out, thoughts, text, before)
}

// channelCall reads one message that is a call at the start of text.
func (s *salvage) channelCall(text string) ([]ParsedCall, int) {
	head := harmonyStart.FindString(text)
	to := recipient.FindStringSubmatch(head)
	if to == nil {
		return nil, 0
	}
	calls, rest := s.harmonyCall(to[1], text[len(head):])
	s.repairs.add(RepairMarks)
	return calls, len(text) - len(rest)
}

// spoken finishes what was read of channels.
func (s *salvage) spoken(
	out []ParsedCall, thoughts []string, rest string, before repairs,
) []ParsedCall {
	if len(out) == 0 && len(thoughts) == 0 {
		s.repairs = before
		return nil
	}
	s.repairs.add(RepairMarks)
	if !wordless(rest) {
		s.repairs.add(RepairMaybeQuoted)
	}
	if len(out) == 0 {
		return s.oneCall("think", strings.Join(thoughts, "\n"))
	}
	out[0].Notes = append(out[0].Notes, thoughts...)
	return out
}

// harmonyCall reads the message of a call: JSON to its own end, or other text,
// such as code, to the end of the message.
func (s *salvage) harmonyCall(name, body string) (calls []ParsedCall, rest string) {
	trimmed := strings.TrimLeft(body, " \t\r\n")
	if strings.HasPrefix(trimmed, "{") {
		for _, lenient := range []bool{false, true} {
			if v, end, made, ok := s.read(trimmed, lenient); ok {
				s.repairs.add(made...)
				return s.oneCall(name, v), afterEnd(trimmed[end:])
			}
		}
	}
	message, rest := cutMessage(body)
	return s.oneCall(name, strings.TrimSpace(message)), rest
}

// afterEnd passes over the mark that ends a message.
func afterEnd(text string) string {
	text = strings.TrimLeft(text, " \t\r\n")
	if at := harmonyEnd.FindStringIndex(text); at != nil && at[0] == 0 {
		text = strings.TrimLeft(text[at[1]:], " \t\r\n")
	}
	return text
}

// cutMessage cuts at the end of a message: its mark, where another message or
// nothing follows. Elsewhere the mark is only mentioned.
func cutMessage(body string) (message, rest string) {
	for pos := 0; ; {
		at := harmonyEnd.FindStringIndex(body[pos:])
		if at == nil {
			return body, ""
		}
		rest = strings.TrimLeft(body[pos+at[1]:], " \t\r\n")
		if rest == "" || strings.HasPrefix(rest, "<|start|>") || strings.HasPrefix(rest, "<|channel|>") {
			return body[:pos+at[0]], rest
		}
		pos += at[1]
	}
}
