package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"agent/internal/exit"
	"agent/internal/legible"
	"agent/internal/setup"
	"agent/session"
)

func (a *app) sessionsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Past runs, and going on with one",
		Long: `Each run is kept in a file of its own, from which it can be shown and gone on with, whatever ended it.
An ID can be cut to what no other session begins or ends with; last is the newest.`,
		Example: `  agent sessions list
  agent sessions show last
  agent sessions resume 4f2a19 "and now the same for March"
  agent sessions export last --html -o run.html`,
	}
	cmd.AddCommand(a.sessionsListCmd(), a.sessionsShowCmd(), a.sessionsResumeCmd(),
		a.sessionsExportCmd(), a.sessionsRemoveCmd())
	return cmd
}

func (a *app) sessionsListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List past runs, the newest last", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := session.List(setup.SessionsDir())
			if err != nil {
				return err
			}
			if asJSON {
				return a.JSON(map[string]any{"sessions": list})
			}
			return a.printSessions(list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printSessions(list []session.Info) error {
	if len(list) == 0 {
		fmt.Fprintln(a.Err, "no sessions in", setup.SessionsDir())
		return nil
	}
	w := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "STARTED\tID\tENDED\tSTEPS\tMODEL\tTASK")
	for _, s := range list {
		started := "?"
		if !s.Started.IsZero() {
			started = s.Started.Local().Format("2006-01-02 15:04")
		}
		ended := cmp.Or(string(s.Stop), "unfinished")
		if s.Process > 0 {
			ended = fmt.Sprintf("at work (process %d)", s.Process)
		}
		if s.Lost != nil {
			ended += ", damaged"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", started, s.ID, ended, s.Steps,
			legible.Line(s.Model, 40), legible.Line(s.Task, 60))
	}
	return w.Flush()
}

// openSession finds a session by its id and reads it. What of it is lost is
// told on stderr.
func (a *app) openSession(id string) (*session.Show, error) {
	path, err := session.Find(setup.SessionsDir(), id)
	if err != nil {
		return nil, err
	}
	run, err := session.Load(path)
	if err != nil {
		return nil, err
	}
	if run.Lost != nil {
		a.Warn(fmt.Sprintf("session %s is damaged: %s", run.ID, run.Lost))
	}
	return run, nil
}

func (a *app) sessionsShowCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show what happened in a run", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			run, err := a.openSession(args[0])
			if err != nil {
				return err
			}
			for _, ev := range run.Events {
				if asJSON {
					err = a.JSONLine(ev)
				} else {
					err = showEvent(a.Out, ev)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print events as JSON lines")
	return cmd
}

// showEvent writes an event, and the answer, which RenderText leaves out.
func showEvent(w io.Writer, ev session.Event) error {
	if err := session.RenderText(w, ev, session.RenderOptions{LinesMax: -1}); err != nil {
		return err
	}
	if r, ok := ev.Data.(*session.Result); ok && r.Answer != "" {
		_, err := fmt.Fprintln(w, session.Visible(r.Answer))
		return err
	}
	return nil
}

func (a *app) sessionsResumeCmd() *cobra.Command {
	f := &runApp{app: a}
	cmd := &cobra.Command{
		Use: "resume ID [key=value …] [MESSAGE]", Short: "Go on with a run, perhaps with more words",
		Args: cobra.MinimumNArgs(1),
		Long: `Go on where a run ended or was cut off. A turn that the model had written is carried out without asking it again. A call
that changes something and was running when the process died may have taken effect or not: it is run again only if you
allow it (--approve ask), and else the model is told to look first.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.resume = args[0]
			return f.run(cmd, args[1:])
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print events as JSON lines")
	cmd.Flags().BoolVar(&f.trust, "trust", false,
		"use the commands that lie in commands/ of the work dir, in this run")
	f.values.Bind(cmd.Flags(), "approve", "agent.approve", "", "ask, auto or never")
	f.values.Bind(cmd.Flags(), "workdir", "agent.workdir", "",
		"work in this `folder` instead of where the run began")
	f.values.Bind(cmd.Flags(), "max-steps", "agent.max_steps", 0, "stop after so many further turns")
	return cmd
}

func (a *app) sessionsExportCmd() *cobra.Command {
	var asHTML, force bool
	var out string
	cmd := &cobra.Command{
		Use: "export ID --html [-o FILE]", Short: "Write a run as a page that needs nothing else",
		Args: cobra.ExactArgs(1),
		Long: `Write a run as one HTML page: steps with the tokens they cost, notes, calls with the probabilities of what was chosen,
results, diffs and the answer. It loads nothing, runs no script, and what stands in it is text. Secrets are hidden.`,
		Example: "  agent sessions export last --html -o run.html\n  agent sessions export last --html > run.html",
		RunE: func(_ *cobra.Command, args []string) error {
			if !asHTML {
				return exit.Usagef("sessions export needs a form: --html (agent sessions show ID --json prints events)")
			}
			run, err := a.openSession(args[0])
			if err != nil {
				return err
			}
			var page bytes.Buffer
			if err := session.ExportHTML(&page, run); err != nil {
				return err
			}
			if out == "" || out == "-" {
				_, err := a.Out.Write(page.Bytes())
				return err
			}
			return writeNew(out, page.Bytes(), force)
		},
	}
	cmd.Flags().BoolVar(&asHTML, "html", false, "as a page of HTML")
	cmd.Flags().BoolVar(&force, "force", false, "write over a file that is there")
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to this `file` instead of standard output")
	return cmd
}

// writeNew writes a file that only its owner can read. One that is there is
// kept, unless force is given.
func writeNew(path string, data []byte, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already; --force writes over it", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func (a *app) sessionsRemoveCmd() *cobra.Command {
	var olderThan time.Duration
	cmd := &cobra.Command{
		Use: "rm [ID…]", Short: "Delete the files of past runs",
		Example: "  agent sessions rm 4f2a19 88ab01\n  agent sessions rm --older-than 720h",
		RunE: func(_ *cobra.Command, args []string) error {
			paths, err := sessionPaths(args, olderThan)
			if err != nil {
				return err
			}
			for _, path := range paths {
				if err := session.Remove(path); err != nil {
					return err
				}
				fmt.Fprintln(a.Err, "removed", path)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&olderThan, "older-than", 0,
		"those that began longer ago than this `time`")
	return cmd
}

// sessionPaths finds all that are named, before any is deleted.
func sessionPaths(ids []string, olderThan time.Duration) ([]string, error) {
	if len(ids) == 0 && olderThan <= 0 {
		return nil, exit.Usagef("sessions rm needs an ID or --older-than")
	}
	var paths []string
	for _, id := range ids {
		path, err := session.Find(setup.SessionsDir(), id)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	if olderThan <= 0 {
		return paths, nil
	}
	list, err := session.List(setup.SessionsDir())
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if !s.Started.IsZero() && time.Since(s.Started) > olderThan {
			paths = append(paths, s.Path)
		}
	}
	return paths, nil
}
