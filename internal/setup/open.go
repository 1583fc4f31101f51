package setup

import (
	"context"
	"fmt"
	"os"
	"slices"

	"agent/backend"
	"agent/backend/hf"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/session"
)

// Settings are what a run needs besides its configuration.
type Settings struct {
	Host     *Host
	Config   *Config          // with the sections of [RunSections]
	Model    *Model           // does the work and stays the caller's; nil: it is opened
	Approver session.Approver // asks the person, where one is to be asked
	Attended bool             // a person sits at standard input
	JSON     bool             // nobody is asked unless it is configured

	Disable       []string // commands to take away besides those configured
	TrustCommands bool     // use the commands of the work dir, this time
	Stream, Text  bool     // see session.Options

	Resume    string // the session to go on with
	OwnDir    bool   // the work dir is to be as configured, wherever the session began
	NoSession bool   // keep no session file
}

// RunSections are the sections that a run reads.
func RunSections() []Section {
	return []Section{SectionAgent, SectionSearch, SectionMCP, SectionLLM}
}

// Run is all that a run needs.
type Run struct {
	Config  *Config
	Model   *Model
	Options session.Options

	settings *Settings
	commands *Commands
	overseer *Model
}

// Open makes a run ready to go. Close it.
func Open(ctx context.Context, s Settings) (_ *Run, err error) {
	r := &Run{Config: s.Config, settings: &s}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if err := r.prepare(); err != nil {
		return nil, err
	}
	if err := r.addCommands(ctx); err != nil {
		return nil, err
	}
	if err := r.addGuides(ctx); err != nil {
		return nil, err
	}
	if r.Model = s.Model; r.Model == nil {
		if r.Model, err = s.Host.OpenModel(ctx, s.Config); err != nil {
			return nil, err
		}
	}
	if local, ok := backend.As[*hf.Backend](r.Model); ok && r.Options.SessionsDir != "" {
		local.Remember() // for a session that goes on with this one
	}
	if err := r.use(r.Model); err != nil {
		return nil, err
	}
	if r.Model.Human() && !s.Attended && r.Options.Approver != nil {
		return nil, exit.Usagef("llm=human and --approve ask would both read standard input; use --approve auto or never")
	}
	return r, r.addOverseer(ctx)
}

// OpenStock makes a run with the stock commands alone, on a model that is open
// already. Nothing of it needs to be closed.
func OpenStock(s Settings, model *Model) (*Run, error) {
	r := &Run{Config: s.Config, settings: &s}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	registry, err := standard()
	if err != nil {
		return nil, err
	}
	commands := &Commands{Registry: registry, cfg: s.Config}
	r.Options.Registry, r.Options.Env = registry, s.Config.Env(r.Options.Env.WorkDir)
	if err := commands.Disable(s.Disable...); err != nil {
		return nil, err
	}
	return r, r.use(model)
}

// Close lets go of all that the run holds but a model that it was given.
func (r *Run) Close() {
	for _, m := range []*Model{r.overseer, r.Model} {
		if m != nil && m != r.settings.Model {
			m.Close()
		}
	}
	if r.commands != nil {
		r.commands.Close()
	}
}

// use lets a model do the work, with the commands that it can manage.
func (r *Run) use(m *Model) error {
	r.Options.Backend = m
	return spareSmall(r.Options.Registry, m, r.Config.Agent.SmallModel)
}

// prepare fills in what the configuration says of a run.
func (r *Run) prepare() error {
	s, c := r.settings, r.Config.Agent
	dir, err := s.workDir(c.Workdir)
	if err != nil {
		return err
	}
	sessions, err := s.sessionsDir()
	if err != nil {
		return err
	}
	folder, err := s.Host.readFolder()
	if err != nil {
		return err
	}
	mode, asks := c.approval(s.Attended && !s.JSON)
	r.Options = session.Options{
		Env: r.Config.Env(dir),
		Secrets: slices.Concat(r.Config.Secrets(),
			config.SecretVariables(append(os.Environ(), folder.config().Environ...))),
		Limits: c.runLimits(), LongResults: c.LongResults,
		Approve: mode, Rules: c.ApproveRules, Stream: s.Stream, Text: s.Text, QA: c.QA, Aids: c.aids(),
		SessionsDir: sessions,
	}
	if asks {
		r.Options.Approver = s.Approver
	}
	return nil
}

// workDir is where a run works: as configured, or where the session began that
// is resumed, unless another folder is asked for.
func (s *Settings) workDir(configured string) (string, error) {
	if s.Resume == "" || configured != "." || s.OwnDir {
		return WorkDir(configured)
	}
	path, err := session.Find(SessionsDir(), s.Resume)
	if err != nil {
		return "", err
	}
	old, err := session.Load(path)
	if err != nil {
		return "", err
	}
	if old.WorkDir != "" {
		configured = old.WorkDir
	}
	return WorkDir(configured)
}

// sessionsDir is where the run is kept, which must be possible: empty where the
// user wants no session file.
func (s *Settings) sessionsDir() (string, error) {
	switch {
	case s.NoSession && s.Resume != "":
		return "", exit.Usagef("--no-session keeps nothing; it can't go on with --resume")
	case s.NoSession:
		return "", nil
	}
	dir := SessionsDir()
	return dir, session.CheckDir(dir)
}

// addCommands gathers the commands of the run, asks about those of the work
// dir, and connects to the servers that are configured.
func (r *Run) addCommands(ctx context.Context) (err error) {
	s, o := r.settings, &r.Options
	if r.commands, err = r.Config.gather(o.Env.WorkDir); err != nil {
		return err
	}
	o.Registry = r.commands.Registry
	asks := o.Approve == session.ApproveAsk && o.Approver != nil
	if err := s.Host.Connect(ctx, r.commands, asks); err != nil {
		return err
	}
	if err := s.Host.settleTrust(ctx, r.commands, s.TrustCommands, asks && s.Attended); err != nil {
		return err
	}
	o.Refresh = r.commands.refresher(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkRules(r.Config.Config, o.Rules.Check(o.Registry)); err != nil {
		return err
	}
	return r.commands.Disable(s.Disable...)
}

// addOverseer opens the overseer that the configuration names: none, the model
// that works ("self"), or another one.
func (r *Run) addOverseer(ctx context.Context) (err error) {
	spec, model := r.Config.Agent.Overseer, r.Model
	if spec == "" {
		return nil
	}
	if spec != overseerSelf {
		if model, err = r.settings.Host.OpenSecond(ctx, spec); err != nil {
			return fmt.Errorf("agent.overseer: %w", err)
		}
		r.overseer = model
	}
	r.Options.Overseer, err = session.NewOverseer(model)
	return err
}
