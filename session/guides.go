package session

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"agent/backend"
	"agent/session/event"
	"agent/session/guide"
	"agent/session/prose"
)

// What the folder and the user say to agents joins the first message: AGENTS.md within
// a budget, and the one skill that the model chooses for the task, within another.

const (
	// skillMarginMin is the lead in nats that a skill must have over the next option, beyond
	// what it has for no task. Of 12 tasks for one of 4 skills and 4 tasks for none,
	// Qwen2.5-Coder 1.5B then takes a skill for 8 and 0.5B for 4, all of them right.
	// SmolLM2-135M takes 2, of which 1 right. At 1 nat it is 10, 11 and 7, wrong 0, 1 and 5.
	skillMarginMin = 2.0
	// guideShare of what the context leaves is the most that either may take.
	guideShare = 4
	// guideTokensMin is the least that is worth showing of a file.
	guideTokensMin = 60
)

// guideBlock is a file of guides, as far as it is shown.
type guideBlock struct {
	Path, Block string
}

// takeGuides prepares what there is for a task: for the first one AGENTS.md, and for each
// a skill that was not shown before.
func (u *understanding) takeGuides(ctx context.Context, task string) error {
	u.guides = ""
	if task == "" || !u.opts.Guides.Any() {
		return nil
	}
	free := max(u.promptLimit()-u.systemTokens(ctx)-u.count(ctx, task), 0)
	tokensMax := min(u.opts.Limits.GuideTokensMax, free/guideShare)
	told := &event.Guides{Files: []event.GuideFile{}}
	var d guideData
	if len(u.entries) == 0 {
		d.Instructions = u.instructions(ctx, tokensMax, told)
	}
	skill, choice, err := u.chooseSkill(ctx, task)
	if err != nil {
		return err
	}
	if told.Choice = choice; skill != nil {
		block, file := u.guide(ctx, skill.Path, skill.Text, tokensMax)
		file.Skill, d.Skill = skill.Name, block
		told.Files = append(told.Files, file)
		u.skills = append(u.skills, skill.Name)
	}
	if len(told.Files) > 0 || choice != nil {
		u.book.emit(told)
	}
	u.guides = u.words.render("guides.tmpl", d)
	return nil
}

type guideData struct {
	Instructions []guideBlock
	Skill        *guideBlock
}

// instructions are the AGENTS.md files in so many tokens, the nearest before the others.
func (u *understanding) instructions(ctx context.Context, tokensMax int, told *event.Guides,
) []guideBlock {
	var out []guideBlock
	for _, in := range slices.Backward(u.opts.Guides.Instructions) {
		if u.opts.policy().KeepsBack(in.Path) {
			continue
		}
		block, file := u.guide(ctx, in.Path, in.Text, tokensMax)
		told.Files = append(told.Files, file)
		if block != nil {
			out = append(out, *block)
		}
		tokensMax -= file.Tokens
	}
	slices.Reverse(out)
	return out
}

// guide is a file cut to so many tokens, and what is told of it. nil: there is no room.
func (u *understanding) guide(ctx context.Context, path, text string, tokensMax int,
) (*guideBlock, event.GuideFile) {
	file := event.GuideFile{Path: path}
	text = u.book.scrub.Text(strings.TrimSpace(text))
	if whole := u.count(ctx, text); tokensMax < min(guideTokensMin, whole) {
		file.Cut = true
		u.book.warn(fmt.Sprintf("%s is left out: it has %d tokens, and there is no room for them", path,
			whole))
		return nil, file
	} else if whole > tokensMax {
		file.Cut = true
		text, _ = u.shorten(ctx, text, tokensMax)
		u.book.warn(fmt.Sprintf("%s is cut: it has %d tokens, and %d are shown (agent.guide_tokens)",
			path, whole, tokensMax))
	}
	file.Tokens = u.count(ctx, text)
	return &guideBlock{path, prose.Fenced(text)}, file
}

// chooseSkill lets the model choose the skill that a task needs, by name and description.
// nil: none, or no clear one.
func (u *understanding) chooseSkill(ctx context.Context, task string,
) (*guide.Skill, *ChoiceMade, error) {
	q := skillQuestion{None: u.words.render("none", nil)}
	var names []string
	for _, k := range u.opts.Guides.Skills {
		if !slices.Contains(u.skills, k.Name) && k.Name != q.None {
			q.Skills, names = append(q.Skills, k), append(names, k.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil, nil
	}
	names = append(names, q.None)
	choice, err := u.askSkill(ctx, q, task, names)
	if err != nil {
		return nil, nil, err
	}
	made := event.Chosen("skill", choice)
	index, clear := choice.Index, !choice.Abstained
	if u.caps.ExactChoice && len(choice.Options) == len(names) {
		any, err := u.askSkill(ctx, q, u.words.render("no_task", nil), names)
		if err != nil {
			return nil, nil, err
		}
		var lead float64
		index, lead = calibrated(choice.Options, any.Options)
		clear = lead >= skillMarginMin
	}
	if !clear || index < 0 || index >= len(q.Skills) {
		return nil, &made, nil
	}
	return &q.Skills[index], &made, nil
}

type skillQuestion struct {
	Skills     []guide.Skill
	None, Task string
}

// askSkill scores the names for a task. The list comes first: it is evaluated once.
func (u *understanding) askSkill(ctx context.Context, q skillQuestion, task string, names []string,
) (*backend.Choice, error) {
	q.Task = task
	req := &backend.Request{Messages: []backend.Message{
		{Role: backend.RoleUser, Content: u.book.scrub.Text(u.words.render("skill.tmpl", q))}}}
	return u.choose(ctx, req, u.book.scrub.Distinct(names))
}

// calibrated is the option that a task makes likelier more than any other, and its lead
// in nats. Models favour some names whatever the task (Zhao et al. 2021, arXiv:2102.09690).
func calibrated(scored, any []backend.ScoredOption) (index int, lead float64) {
	gain := func(i int) float64 {
		if g := scored[i].Logprob - any[i].Logprob; !math.IsNaN(g) {
			return g
		}
		return 0 // impossible in both
	}
	index = 0
	for i := range scored {
		if gain(i) > gain(index) {
			index = i
		}
	}
	lead = math.Inf(1)
	for i := range scored {
		if i != index {
			lead = min(lead, gain(index)-gain(i))
		}
	}
	return index, lead
}
