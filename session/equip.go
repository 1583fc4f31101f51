package session

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"agent/command"
	"agent/command/decide"
	"agent/session/journal"
)

// What a question of a command to the model may hold. Small models read short
// texts better.
const (
	askBytesMax   = 6000
	bytesPerToken = 1.5 // at the least, in nearly every text
)

// equip gives commands what they may use of this session: its model, within its
// budget, and how much of a result is shown.
func (s *Session) equip() {
	env := s.opts.Env
	env.Ask = func(ctx context.Context, prompt string, tokensMax int) (string, error) {
		return s.speaker.ask(ctx, "", s.speaker.scrub.Text(prompt), tokensMax, nil)
	}
	if s.speaker.caps.ExactChoice {
		env.Judge = func(ctx context.Context, question, text string, options []string) (command.Judgement, error) {
			return decide.By(s.speaker.chooseOption, nil)(ctx, s.speaker.scrub.Text(question),
				s.speaker.scrub.Text(text), options)
		}
	}
	env.AskBytesMax = min(askBytesMax, int(float64(s.speaker.promptLimit())*bytesPerToken))
	env.Fits = func(text string) bool {
		return s.speaker.count(context.Background(), text) <= s.opts.Limits.ResultTokensMax
	}
	if env.Files == nil {
		env.Files = command.NewFileIndex()
	}
}

// openState finds the folder for what commands keep between calls: beside the
// session file, or gone with the session where none is kept.
func (s *Session) openState() error {
	env := s.opts.Env
	switch {
	case s.opts.SessionsDir != "":
		env.StateDir = filepath.Join(s.opts.SessionsDir, s.id+journal.StateExt)
	case s.scratch == "" && runsCode(s.opts.Registry.Specs()):
		dir, err := os.MkdirTemp("", "agent-state-")
		if err != nil {
			return fmt.Errorf("session: folder for what commands keep: %w", err)
		}
		s.scratch, env.StateDir = dir, dir
	}
	return nil
}

// addressesMax bounds the addresses that a field can name.
const addressesMax = 20

var addressPattern = regexp.MustCompile("https?://[^\\s<>\"'`()\\[\\]{}|\\\\^]+")

// seenAddresses are addresses of the web that stand in the task or in the
// conversation, the newest first: a model chooses among them, and makes none up.
func (c *conversation) seenAddresses() []string {
	var out []string
	texts := append(c.shown(), c.task)
	for _, text := range slices.Backward(texts) {
		for _, found := range addressPattern.FindAllString(text, addressesMax) {
			found = strings.TrimRight(found, ".,;:!?*")
			if !slices.Contains(out, found) && len(out) < addressesMax {
				out = append(out, found)
			}
		}
	}
	return out
}
