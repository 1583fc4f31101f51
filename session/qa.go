package session

import (
	"context"
	"strings"

	"agent/backend"
)

type qaData struct {
	Task, Done, Block string
}

// checkAnswer asks the model for a second opinion of an answer: a scored yes
// or no, so that it is a verdict with a number and not the first word of prose.
func (s *Session) checkAnswer(ctx context.Context, answer string) (bool, error) {
	if !s.opts.QA || !s.caps.ExactChoice || s.checks >= qaChecksMax {
		return true, nil
	}
	if _, err := s.allowance(1); err != nil {
		return false, err
	}
	yes, no := s.words.render("yes", nil), s.words.render("no", nil)
	choice, err := s.opts.Backend.ChooseFromOptions(ctx, &backend.Request{Messages: []backend.Message{
		{Role: backend.RoleSystem, Content: s.words.render("qa_system.tmpl", nil)},
		{Role: backend.RoleUser, Content: s.words.render("qa.tmpl", qaData{
			Task: s.task, Done: s.doneSoFar(), Block: fenced(answer),
		})},
	}}, backend.Options(yes, no))
	if err != nil {
		return false, backendError(ctx, err)
	}
	s.usage.addChoice(choice)
	if choice.Text != no {
		return true, nil
	}
	s.checks++
	return false, nil
}

// doneSoFar is the run in one line per call.
func (s *Session) doneSoFar() string {
	var lines []string
	for _, e := range s.entries {
		if e.Digest != "" {
			lines = append(lines, e.Digest)
		}
	}
	return boundedDigest(strings.Join(lines, "\n"))
}
