package setup

import (
	"context"
	"fmt"
	"os"
	"strings"

	"agent/command/program"
	"agent/internal/legible"
	"agent/session/guide"
)

// What is kept in the user's state of a folder's guides: that they are followed, or not.
const (
	guidesName    = "AGENTS.md and skills"
	guidesYes     = "guides: followed"
	guidesNo      = "guides: not followed"
	guidesShowMax = 16 // names
)

// addGuides takes the user's own skills, and what a trusted folder says to agents.
func (r *Run) addGuides(ctx context.Context) error {
	if !r.Config.Agent.Guides {
		return nil
	}
	o, h := &r.Options, r.settings.Host
	of := guide.OfFolder(o.Env.WorkDir)
	follow, err := h.followGuides(ctx, guide.Root(o.Env.WorkDir), of)
	if err != nil {
		return err
	}
	if follow {
		o.Guides.Add(of)
	}
	if home, err := os.UserHomeDir(); err == nil {
		o.Guides.Add(guide.OfUser(home))
	}
	for _, p := range o.Guides.Problems {
		h.Warn(p)
	}
	return nil
}

// followGuides reports whether a folder's guides may join tasks. A person who is there
// is asked once for each folder.
func (h *Host) followGuides(ctx context.Context, folder string, g guide.Guides) (bool, error) {
	trust := FolderTrust()
	switch {
	case h.TrustFolder, trust.Holds(folder, guidesYes):
		return true, nil
	case !g.Any():
		return false, nil
	case trust.Holds(folder, guidesNo):
		return false, nil
	case !h.Attended:
		h.Warn(fmt.Sprintf("%s of %s are not followed, since the folder is not trusted; --trust-folder follows them",
			guideNames(g), oneVisible(folder)))
		return false, nil
	}
	shown := fmt.Sprintf("The folder %s has words of its own for agents: %s\n",
		legible.Visible(folder), guideNames(g))
	yes, err := h.Confirm(ctx, shown, "Follow them here, now and later? Look at them first.")
	if err != nil {
		return false, err
	}
	kept := guidesNo
	if yes {
		kept = guidesYes
	}
	return yes, trust.AddFile(folder, program.FoundFile{Name: guidesName, Hash: kept})
}

// guideNames names guides in one line.
func guideNames(g guide.Guides) string {
	var names []string
	for _, in := range g.Instructions {
		names = append(names, in.Path)
	}
	for _, s := range g.Skills {
		names = append(names, "skill "+s.Name)
	}
	if more := len(names) - guidesShowMax; more > 0 {
		names = append(names[:guidesShowMax], fmt.Sprintf("%d more", more))
	}
	return oneVisible(strings.Join(names, ", "))
}
