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
	// skillMarginMin is the lead in nats that a skill must have over the next option.
	skillMarginMin = 1.0
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
func (s *Session) takeGuides(ctx context.Context, task string) error {
	s.talk.guides = ""
	if task == "" || !s.opts.Guides.Any() {
		return nil
	}
	free := max(s.speaker.promptLimit()-s.talk.systemTokens(ctx)-s.speaker.count(ctx, task), 0)
	tokensMax := min(s.opts.Limits.GuideTokensMax, free/guideShare)
	told := &event.Guides{Files: []event.GuideFile{}}
	var d guideData
	if len(s.talk.entries) == 0 {
		d.Instructions = s.instructions(ctx, tokensMax, told)
	}
	skill, choice, err := s.chooseSkill(ctx, task)
	if err != nil {
		return err
	}
	if told.Choice = choice; skill != nil {
		block, file := s.guide(ctx, skill.Path, skill.Text, tokensMax)
		file.Skill, d.Skill = skill.Name, block
		told.Files = append(told.Files, file)
		s.talk.skills = append(s.talk.skills, skill.Name)
	}
	if len(told.Files) > 0 || choice != nil {
		s.book.emit(told)
	}
	s.talk.guides = s.words.render("guides.tmpl", d)
	return nil
}

type guideData struct {
	Instructions []guideBlock
	Skill        *guideBlock
}

// instructions are the AGENTS.md files in so many tokens, the nearest before the others.
func (s *Session) instructions(
	ctx context.Context,
	tokensMax int,
	told *event.Guides,
) []guideBlock {
	var out []guideBlock
	for _, in := range slices.Backward(s.opts.Guides.Instructions) {
		if s.opts.policy().KeepsBack(in.Path) {
			continue
		}
		block, file := s.guide(ctx, in.Path, in.Text, tokensMax)
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
func (s *Session) guide(
	ctx context.Context,
	path, text string,
	tokensMax int,
) (*guideBlock, event.GuideFile) {
	file := event.GuideFile{Path: path}
	text = s.book.scrub.Text(strings.TrimSpace(text))
	if whole := s.speaker.count(ctx, text); tokensMax < min(guideTokensMin, whole) {
		file.Cut = true
		s.book.warn(
			fmt.Sprintf("%s is left out: it has %d tokens, and there is no room for them", path, whole),
		)
		return nil, file
	} else if whole > tokensMax {
		file.Cut = true
		text, _ = s.speaker.shorten(ctx, text, tokensMax)
		s.book.warn(
			fmt.Sprintf(
				"%s is cut: it has %d tokens, and %d are shown (agent.guide_tokens)",
				path,
				whole,
				tokensMax,
			),
		)
	}
	file.Tokens = s.speaker.count(ctx, text)
	return &guideBlock{path, prose.Fenced(text)}, file
}

// chooseSkill lets the model choose the skill that a task needs, by name and description.
// nil: none, or no clear one.
func (s *Session) chooseSkill(ctx context.Context, task string) (*guide.Skill, *ChoiceMade, error) {
	none := s.words.render("none", nil)
	var skills []guide.Skill
	for _, k := range s.opts.Guides.Skills {
		if !slices.Contains(s.talk.skills, k.Name) && k.Name != none {
			skills = append(skills, k)
		}
	}
	if len(skills) == 0 {
		return nil, nil, nil
	}
	var names []string
	for _, k := range skills {
		names = append(names, k.Name)
	}
	data := struct {
		Skills     []guide.Skill
		None, Task string
	}{skills, none, task}
	question := s.book.scrub.Text(s.words.render("skill.tmpl", data))
	choice, err := s.speaker.choose(
		ctx,
		&backend.Request{Messages: []backend.Message{{Role: backend.RoleUser, Content: question}}},
		s.book.scrub.Distinct(append(names, none)),
	)
	if err != nil {
		return nil, nil, err
	}
	made := event.Chosen("skill", choice)
	clear := math.IsNaN(choice.Margin) || choice.Margin >= skillMarginMin
	if choice.Abstained || !clear || choice.Index < 0 || choice.Index >= len(skills) {
		return nil, &made, nil
	}
	return &skills[choice.Index], &made, nil
}
