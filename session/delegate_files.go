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

// relevantFiles are the files to which the model gives the best odds of being
// needed for a subtask. The list of files is asked about with the subtask at the
// end, so that it is evaluated once for all subtasks. Where no odds are to be
// had, none is picked, and the child is shown them all.
func (sp *speaker) relevantFiles(ctx context.Context, files []promptFile, text string) ([]string, error) {
	if !sp.caps.ExactChoice || len(files) < 2 || len(files) > filesScoredMax {
		return nil, nil
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	choice, err := sp.choose(ctx, &backend.Request{Messages: []backend.Message{
		{Role: backend.RoleSystem, Content: sp.words.render("relevant_system.tmpl", nil)},
		{Role: backend.RoleUser, Content: sp.scrub.Text(sp.words.render("relevant.tmpl", relevantData{Files: files, Task: text}))},
	}}, sp.scrub.Distinct(append(slices.Clone(paths), sp.words.render("none", nil))))
	if err != nil {
		return nil, err
	}
	return pickLikely(choice.Options, paths), nil
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
