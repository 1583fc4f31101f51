package session

import (
	"context"
	"errors"
	"slices"

	"agent/session/ask"
	"agent/session/wants"
)

// askWants finds out what the task wants, where the model can be trusted with
// questions of that kind. A resumed run knows it.
func (s *Session) askWants(ctx context.Context) error {
	if s.wants.Known || s.opts.mode() != modeSlots || !s.opts.has(AidQuestions) {
		return nil
	}
	w, err := wants.Of(ctx, s.speaker.choose, s.folder())
	var unscored *ask.UnscoredError
	switch {
	case errors.As(err, &unscored):
		return nil
	case ctx.Err() != nil || errors.Is(err, errTokensSpent):
		return err
	case err != nil:
		s.book.warn("what the task wants is not known: " + err.Error())
		return nil
	}
	s.wants = w
	s.book.emit(&w)
	return nil
}

// folder is the task with what was there when it was given. Names that a secret
// is hidden in are left out: they would be other names.
func (s *Session) folder() wants.Folder {
	paths := slices.DeleteFunc(s.watch.first.Paths(), func(p string) bool { return s.book.scrub.Text(p) != p })
	return wants.Folder{Task: s.talk.task, Paths: paths}
}

// targets are the files that a command can be told to write: the one that the
// task wants, or those that it names and that are not there. A name that is
// chosen keeps the task's own spelling.
func (s *Session) targets() []string {
	switch {
	case !s.wants.Writes:
		return nil
	case s.wants.Result != "":
		return []string{s.wants.Result}
	}
	return s.watch.missing(s.talk.task, "")
}
