package main

import (
	"agent/internal/exit"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"agent/inference/gguf"
	"agent/internal/hub"
	"agent/internal/legible"
	"agent/models"

	"github.com/spf13/cobra"
)

func (a *app) modelsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "The models on this machine: list, fetch, inspect, verify, remove",
		Long: `Models on this machine.

A model is named by a path to a .gguf file (or a folder with one), a name of
the catalog, hf://OWNER/REPO[@REVISION][/FILE], or OWNER/REPO[:QUANT].
Repositories are kept in the Hugging Face cache (HF_HOME), shared with other
programs; catalog models in AGENT_MODELS_DIR, or models/ of a checkout, or the
user's data folder.`,
		Example: `  agent models list
  agent models pull smollm2-135m-instruct
  agent models pull Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M
  agent models inspect model.gguf --json`,
	}
	cmd.AddCommand(a.modelsListCmd(), a.modelsPathCmd(), a.modelsPullCmd(), a.modelsInspectCmd(), a.modelsVerifyCmd(), a.modelsRmCmd())
	return cmd
}

// withStore runs one subcommand with an open store.
func (a *app) withStore(fn func(*hub.Store) error) error {
	store, done, err := a.Host.Store()
	if err != nil {
		return err
	}
	defer done()
	return fn(store)
}

func (a *app) modelsListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "What is in the catalog and in the store",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.withStore(func(s *hub.Store) error {
				items := s.List()
				if asJSON {
					return a.JSON(map[string]any{"models": items})
				}
				return a.printModelTable(items)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printModelTable(items []hub.Item) error {
	w := tabwriter.NewWriter(a.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSIZE\tQUANT\tLICENCE\tSTATE\tWHERE")
	for _, it := range items {
		name := it.Name
		if it.Default {
			name += " (default)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, hub.FormatBytes(it.Bytes), cmp.Or(it.Quant, "-"), cmp.Or(it.License, "-"), stateWords(it), cmp.Or(it.Path, "-"))
	}
	return w.Flush()
}

func stateWords(it hub.Item) string {
	switch {
	case it.State == hub.StatePartial:
		return fmt.Sprintf("partial, %d%%", 100*it.HaveBytes/max(1, it.Bytes))
	case it.State == hub.StateAbsent:
		return "not here"
	case it.Verified:
		return "verified"
	}
	return "here"
}

func (a *app) modelsPathCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "path REF",
		Short: "Print where a model lies; an error when it is not on this machine",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(func(s *hub.Store) error {
				m, err := s.Locate(cmd.Context(), args[0])
				return a.printModel(m, err, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) modelsPullCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pull [REF]",
		Short: "Fetch a model; goes on where an interrupted pull stopped",
		Long:  "Fetch a model and verify it. Without REF the catalog's default model is fetched. Prints its path.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := refOrDefault(args)
			if err != nil {
				return err
			}
			return a.withStore(func(s *hub.Store) error {
				m, err := s.Pull(cmd.Context(), ref)
				return a.printModel(m, err, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// refOrDefault is the argument, or the default model's name.
func refOrDefault(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	catalog, err := hub.ParseCatalog(models.Catalog)
	if err != nil {
		return "", err
	}
	e, ok := catalog.Default()
	if !ok {
		return "", exit.Usagef("name a model; the catalog has no default")
	}
	return e.Name, nil
}

func (a *app) printModel(m *hub.Model, err error, asJSON bool) error {
	if err != nil {
		return err
	}
	if asJSON {
		return a.JSON(m)
	}
	_, err = fmt.Fprintln(a.Out, m.Path)
	return err
}

func (a *app) modelsVerifyCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [REF…]",
		Short: "Hash models again and compare with what was promised of them",
		Long:  "Hash models again and compare with what was promised of them. Without REF every model that is here is verified.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(func(s *hub.Store) error { return a.verifyModels(cmd.Context(), s, args, asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) verifyModels(ctx context.Context, s *hub.Store, refs []string, asJSON bool) error {
	if len(refs) == 0 {
		for _, it := range s.List() {
			if it.State == hub.StatePresent {
				refs = append(refs, it.Name)
			}
		}
	}
	checks := []hub.Check{}
	for _, ref := range refs {
		found, err := s.Verify(ctx, ref)
		if err != nil {
			return err
		}
		checks = append(checks, found...)
	}
	if asJSON {
		if err := a.JSON(map[string]any{"files": checks}); err != nil {
			return err
		}
	} else {
		a.printChecks(checks)
	}
	return damaged(checks)
}

func (a *app) printChecks(checks []hub.Check) {
	for _, c := range checks {
		switch {
		case c.Want == "":
			fmt.Fprintf(a.Out, "unknown  %s  %s %s (nothing to compare with)\n", c.Path, c.Algorithm, c.Got)
		case c.OK:
			fmt.Fprintf(a.Out, "ok       %s  %s %s\n", c.Path, c.Algorithm, c.Got)
		default:
			fmt.Fprintf(a.Out, "DAMAGED  %s  %s %s, expected %s\n", c.Path, c.Algorithm, c.Got, c.Want)
		}
	}
}

// damaged is an error when any file is not what it should be.
func damaged(checks []hub.Check) error {
	n, last := 0, hub.Check{}
	for _, c := range checks {
		if !c.OK {
			n, last = n+1, c
		}
	}
	if n == 0 {
		return nil
	}
	return &hub.Error{Op: "verify", Err: fmt.Errorf("%d of %d files are damaged", n, len(checks)),
		Advice: fmt.Sprintf("remove and fetch again: agent models rm %s --yes && agent models pull %s", last.Name, last.Name)}
}

func (a *app) modelsRmCmd() *cobra.Command {
	var asJSON, yes bool
	cmd := &cobra.Command{
		Use:   "rm REF",
		Short: "Remove a model from the store, after asking",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(func(s *hub.Store) error {
				plan, err := s.PlanRemoval(args[0])
				if err != nil {
					return err
				}
				if !yes {
					if err := a.confirmRemoval(cmd.Context(), plan); err != nil {
						return err
					}
				}
				if err := plan.Do(); err != nil {
					return err
				}
				if asJSON {
					return a.JSON(plan)
				}
				_, err = fmt.Fprintf(a.Out, "removed %s (%s)\n", plan.Ref, hub.FormatBytes(plan.Bytes))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirmRemoval asks a person; without one, --yes is needed.
func (a *app) confirmRemoval(ctx context.Context, plan *hub.Removal) error {
	if !a.Attended() {
		return exit.Usagef("remove %s: needs --yes when nobody can be asked", plan.Ref)
	}
	for _, f := range plan.Files {
		fmt.Fprintln(a.Err, "  "+f)
	}
	yes, err := a.Confirm(ctx, fmt.Sprintf("Remove these files (%s)?", hub.FormatBytes(plan.Bytes)))
	if err == nil && !yes {
		err = exit.With(exit.Refused, fmt.Errorf("remove %s: not confirmed", plan.Ref))
	}
	return err
}

// inspection is what `models inspect` says of a file.
type inspection struct {
	Path            string         `json:"path"`
	Parts           int            `json:"parts"`
	Name            string         `json:"name"`
	Architecture    string         `json:"architecture"`
	Kind            string         `json:"kind"`
	Parameters      uint64         `json:"parameters"`
	Quant           string         `json:"quant,omitempty"`
	TensorTypes     map[string]int `json:"tensor_types"` // number of tensors of each type
	FileBytes       int64          `json:"file_bytes"`
	WeightBytes     int64          `json:"weight_bytes"`
	ContextTokens   int            `json:"context_tokens"`
	Layers          int            `json:"layers"`
	KVBytesPerToken float64        `json:"kv_bytes_per_token"` // 16-bit keys and values
	VocabSize       int            `json:"vocab_size"`
	TokenizerModel  string         `json:"tokenizer_model"`
	TokenizerPre    string         `json:"tokenizer_pre,omitempty"`
	ChatTemplate    bool           `json:"chat_template"`
	License         string         `json:"license,omitempty"`
	Warnings        []string       `json:"warnings,omitempty"`
}

// f16Bytes is the size of a key or value element by default.
const f16Bytes = 2

func inspect(in *gguf.Info) inspection {
	out := inspection{
		Path: in.Path, Parts: len(in.Files), Name: in.Name, Architecture: in.Architecture, Kind: string(in.Kind),
		Parameters: in.Parameters, Quant: in.FileType, TensorTypes: map[string]int{}, FileBytes: in.FileBytes, WeightBytes: in.WeightBytes,
		ContextTokens: in.ContextLengthTrain, Layers: in.Layers, KVBytesPerToken: in.KVBytesPerToken(f16Bytes, f16Bytes),
		VocabSize: in.VocabSize, TokenizerModel: in.TokenizerModel, TokenizerPre: in.TokenizerPre,
		ChatTemplate: in.ChatTemplate != "", License: in.License, Warnings: in.Warnings,
	}
	for _, t := range in.Tensors {
		out.TensorTypes[t.Type.String()]++
	}
	return out
}

func (a *app) modelsInspectCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect REF",
		Short: "What a model file says about itself, checked without loading it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(func(s *hub.Store) error {
				m, err := s.Locate(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				info, err := gguf.Check(m.Path)
				if err != nil {
					return err
				}
				if asJSON {
					return a.JSON(inspect(info))
				}
				return a.printInspection(inspect(info))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printInspection(in inspection) error {
	w := tabwriter.NewWriter(a.Out, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, legible.Visible(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")))
	}
	row("file", "%s (%s, %d part(s))", in.Path, hub.FormatBytes(in.FileBytes), in.Parts)
	row("name", "%s", cmp.Or(in.Name, "-"))
	row("architecture", "%s (%s)", in.Architecture, in.Kind)
	row("parameters", "%s", millions(in.Parameters))
	row("quantisation", "%s: %s", cmp.Or(in.Quant, "unknown"), mix(in.TensorTypes))
	row("context", "%d tokens", in.ContextTokens)
	row("kv cache", "%s per token, %s for the whole context (16 bit)", hub.FormatBytes(int64(in.KVBytesPerToken)), hub.FormatBytes(int64(in.KVBytesPerToken*float64(in.ContextTokens))))
	row("vocabulary", "%d tokens, %s", in.VocabSize, strings.TrimSuffix(in.TokenizerModel+"/"+in.TokenizerPre, "/"))
	row("chat template", "%s", map[bool]string{true: "yes", false: "none"}[in.ChatTemplate])
	row("licence", "%s", cmp.Or(in.License, "not stated"))
	for _, warning := range in.Warnings {
		row("warning", "%s", warning)
	}
	return w.Flush()
}

func millions(n uint64) string {
	if n >= 1e9 {
		return fmt.Sprintf("%.2f B", float64(n)/1e9)
	}
	return fmt.Sprintf("%.1f M", float64(n)/1e6)
}

// mix is "Q4_K 168, F32 121": the tensor types, most frequent first.
func mix(types map[string]int) string {
	names := make([]string, 0, len(types))
	for name := range types {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(types[b]-types[a], cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, types[name])
	}
	return strings.Join(names, ", ")
}
