package session

import (
	"cmp"
	"context"
	"slices"

	"agent/backend"
)

// Bounds of looking for the files that a subtask needs.
const (
	filesScoredMax     = 24   // among more, only those that the subtask names count
	filesPickedMax     = 3    // more than these are not relevant but possible
	fileProbabilityMin = 0.15 // of being the one that is needed
)

// relevantFiles are the files that a subtask is likely to need: those that it
// names, or else those to which the model itself gives the best odds. The list
// of files is asked about with the subtask at the end, so that it is evaluated
// once for all subtasks. Where no odds are to be had, none is picked, and the
// child is shown them all.
func (s *Session) relevantFiles(ctx context.Context, text string) ([]string, error) {
	if named := s.snap.named(text); len(named) > 0 || !s.caps.ExactChoice {
		return named, nil
	}
	paths := s.snap.paths()
	if len(paths) < 2 || len(paths) > filesScoredMax {
		return nil, nil
	}
	if _, err := s.allowance(1); err != nil {
		return nil, err
	}
	options := append(slices.Clone(paths), s.words.render("none", nil))
	choice, err := s.opts.Backend.ChooseFromOptions(ctx, s.relevantRequest(paths, text), backend.Options(s.scrub.distinct(options)...))
	if err != nil {
		return nil, backendError(ctx, err)
	}
	s.usage.addChoice(choice)
	return pickLikely(choice.Options, paths), nil
}

func (s *Session) relevantRequest(paths []string, text string) *backend.Request {
	var files []promptFile
	for _, p := range paths {
		lines := 1
		if s.keepsBack(p) {
			lines = 0
		}
		files = append(files, newPromptFile(viewFile(s.opts.Env.WorkDir, p, lines)))
	}
	return &backend.Request{Messages: []backend.Message{
		{Role: backend.RoleSystem, Content: s.words.render("relevant_system.tmpl", nil)},
		{Role: backend.RoleUser, Content: s.scrub.text(s.words.render("relevant.tmpl", relevantData{Files: files, Task: text}))},
	}}
}

type relevantData struct {
	Files []promptFile
	Task  string
}

// pickLikely takes the likeliest of the paths, as far as they are likely at
// all. They are the first of the scored options; those after them stand for none.
func pickLikely(scored []backend.ScoredOption, paths []string) []string {
	var files []int
	for i := range min(len(paths), len(scored)) {
		if scored[i].Probability >= fileProbabilityMin {
			files = append(files, i)
		}
	}
	slices.SortStableFunc(files, func(a, b int) int { return cmp.Compare(scored[b].Probability, scored[a].Probability) })
	var out []string
	for _, i := range files[:min(len(files), filesPickedMax)] {
		out = append(out, paths[i])
	}
	slices.Sort(out)
	return out
}

// givenAnswer is what an earlier subtask found out, for one that needs it.
type givenAnswer struct {
	Task   string
	Answer string
	Block  string // the answer as the prompt shows it
}

// namedFiles are the files that a session is about: those that its task names,
// and those that were picked for it.
func (s *Session) namedFiles(snap snapshot, task string) []string {
	var picked []string
	for _, p := range s.focus {
		if _, there := snap.files[p]; there {
			picked = append(picked, p)
		}
	}
	return mergeSorted(snap.named(task), picked)
}
