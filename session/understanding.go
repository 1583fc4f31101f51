package session

import (
	"context"
	"errors"
	"slices"

	"agent/command"
	"agent/session/ask"
	"agent/session/wants"
)

// understanding is what the model says that a task is about: what it wants, which
// commands suit it, which skill it needs.
type understanding struct {
	*conversation
	opts  *Options
	watch *watch

	wants    Wants           // where that was asked
	suits    map[string]bool // commands for one kind of task: whether this is of it
	suitedTo string          // the task that they were asked about
}

// askWants finds out what the task wants, where the model can be trusted with
// questions of that kind, and where it is not about something else than files. A
// resumed run knows it.
func (u *understanding) askWants(ctx context.Context) error {
	if u.wants.Known || u.opts.mode() != modeSlots || !u.opts.has(AidQuestions) {
		return nil
	}
	if err := u.suit(ctx); err != nil {
		return err
	}
	for name, suits := range u.suits {
		if suits && u.makes(name) {
			return nil
		}
	}
	w, err := wants.Of(ctx, u.choose, u.folder())
	var unscored *ask.UnscoredError
	switch {
	case errors.As(err, &unscored):
		return nil
	case ctx.Err() != nil || errors.Is(err, errTokensSpent):
		return err
	case err != nil:
		u.book.warn("what the task wants is not known: " + err.Error())
		return nil
	}
	u.wants = w
	u.book.emit(&w)
	return nil
}

// makes reports a command that makes something else than files, as another command is.
func (u *understanding) makes(name string) bool {
	return slices.ContainsFunc(u.opts.allowed(), func(spec command.Spec) bool {
		return spec.Name == name && spec.For != nil && spec.For.NoFile
	})
}

// folder is the task with what was there when it was given. Names that a secret
// is hidden in are left out: they would be other names.
func (u *understanding) folder() wants.Folder {
	paths := slices.DeleteFunc(u.watch.first.Paths(),
		func(p string) bool { return u.book.scrub.Text(p) != p })
	return wants.Folder{Task: u.task, Paths: paths}
}

// targets are the files that a command can be told to write: the one that the
// task wants, or those that it names and that are not there. A name that is
// chosen keeps the task's own spelling.
func (u *understanding) targets() []string {
	switch {
	case !u.wants.Writes:
		return nil
	case u.wants.Result != "":
		return []string{u.wants.Result}
	}
	return u.watch.missing(u.task, "")
}

// suit asks of each command that is for one kind of task whether this task is of it,
// with the task alone before the question, as [understanding.askWants] does.
func (u *understanding) suit(ctx context.Context) error {
	if u.suits != nil && u.suitedTo == u.task || !u.caps.ExactChoice {
		return nil
	}
	u.suitedTo, u.suits = u.task, map[string]bool{}
	for _, spec := range u.opts.allowed() {
		if spec.For == nil {
			continue
		}
		q := ask.Question{Text: spec.For.Question, Threshold: spec.For.Threshold}
		a, err := q.Ask(ctx, u.choose, u.folder().About())
		if err != nil {
			return err
		}
		u.suits[spec.Name] = a.Yes
	}
	return nil
}

// offered are the commands that can be chosen in this run: those of the fixed
// part, and those that suit the task.
func (u *understanding) offered() []command.Spec {
	fixed := u.opts.offered()
	return matching(u.opts.allowed(), func(spec command.Spec) bool {
		return u.suits[spec.Name] || slices.ContainsFunc(fixed,
			func(f command.Spec) bool { return f.Name == spec.Name })
	})
}
