package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agent/inference/gguf"
	"agent/internal/exit"
	"agent/internal/hub"
	"agent/internal/legible"
	"agent/models"
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
	var yes bool
	rm := a.storeCmd("rm REF", "Remove a model from the store, after asking", cobra.ExactArgs(1),
		func(s *storeApp, ctx context.Context, args []string) error { return s.remove(ctx, args[0], yes) })
	rm.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.AddCommand(
		a.storeCmd("list", "What is in the catalog and in the store", cobra.NoArgs, (*storeApp).list),
		a.storeCmd("path REF", "Print where a model lies; an error when it is not on this machine",
			cobra.ExactArgs(1),
			func(s *storeApp, ctx context.Context, args []string) error { return s.print(s.Locate(ctx, args[0])) }),
		a.storeCmd("pull [REF]", `Fetch a model; goes on where an interrupted pull stopped
Fetch a model and verify it. Without REF the catalog's default model is fetched. Prints its path.`,
			cobra.MaximumNArgs(1), (*storeApp).pull),
		a.storeCmd("inspect REF", "What a model file says about itself, checked without loading it",
			cobra.ExactArgs(1), (*storeApp).inspect),
		a.storeCmd("verify [REF…]", `Hash models again and compare with what was promised of them
Hash models again and compare with what was promised of them. Without REF every model that is here is verified.`,
			nil, (*storeApp).verify),
		rm)
	return cmd
}

// storeApp is the app with the store of models.
type storeApp struct {
	*app
	*hub.Store
	asJSON bool
}

// storeCmd is a command on the store of models, with --json. What stands below
// the first line of short is its long description.
func (a *app) storeCmd(use, short string, args cobra.PositionalArgs,
	run func(s *storeApp, ctx context.Context, args []string) error,
) *cobra.Command {
	s := &storeApp{app: a}
	short, long, _ := strings.Cut(short, "\n")
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, done, err := a.Host.Store()
			if err != nil {
				return err
			}
			defer done()
			s.Store = store
			return run(s, cmd.Context(), args)
		}}
	cmd.Flags().BoolVar(&s.asJSON, "json", false, "print JSON")
	return cmd
}

func (s *storeApp) list(_ context.Context, _ []string) error {
	items := s.List()
	if s.asJSON {
		return s.JSON(map[string]any{"models": items})
	}
	w := tabwriter.NewWriter(s.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSIZE\tQUANT\tLICENCE\tSTATE\tWHERE")
	for _, it := range items {
		name := it.Name
		if it.Default {
			name += " (default)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, hub.FormatBytes(it.Bytes),
			cmp.Or(it.Quant, "-"), cmp.Or(it.License, "-"), stateWords(it), cmp.Or(it.Path, "-"))
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

// pull fetches a model; without a name, the catalog's default.
func (s *storeApp) pull(ctx context.Context, args []string) error {
	if len(args) == 0 {
		catalog, err := hub.ParseCatalog(models.Catalog)
		if err != nil {
			return err
		}
		e, ok := catalog.Default()
		if !ok {
			return exit.Usagef("name a model; the catalog has no default")
		}
		args = []string{e.Name}
	}
	return s.print(s.Pull(ctx, args[0]))
}

func (s *storeApp) print(m *hub.Model, err error) error {
	if err != nil {
		return err
	}
	if s.asJSON {
		return s.JSON(m)
	}
	_, err = fmt.Fprintln(s.Out, m.Path)
	return err
}

// verify hashes the models that are named, or all that are here.
func (s *storeApp) verify(ctx context.Context, refs []string) error {
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
		if err == nil && len(found) > 0 && found[0].Want == "" {
			_, err = gguf.Check(found[0].Path) // nobody promised a hash, but it is to be a whole model
		}
		if err != nil {
			return err
		}
		checks = append(checks, found...)
	}
	if !s.asJSON {
		for _, c := range checks {
			switch {
			case c.Want == "":
				fmt.Fprintf(s.Out, "unknown  %s  %s %s (nothing to compare with)\n", c.Path, c.Algorithm, c.Got)
			case c.OK:
				fmt.Fprintf(s.Out, "ok       %s  %s %s\n", c.Path, c.Algorithm, c.Got)
			default:
				fmt.Fprintf(s.Out, "DAMAGED  %s  %s %s, expected %s\n", c.Path, c.Algorithm, c.Got, c.Want)
			}
		}
	} else if err := s.JSON(map[string]any{"files": checks}); err != nil {
		return err
	}
	return damaged(checks)
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
		Advice: fmt.Sprintf("remove and fetch again: agent models rm %s --yes && agent models pull %s",
			last.Name, last.Name)}
}

// remove removes a model once a person has said yes; without one, --yes is
// needed.
func (s *storeApp) remove(ctx context.Context, ref string, yes bool) error {
	plan, err := s.PlanRemoval(ref)
	if err != nil {
		return err
	}
	if !yes && !s.Attended() {
		return exit.Usagef("remove %s: needs --yes when nobody can be asked", plan.Ref)
	}
	if !yes {
		for _, f := range plan.Files {
			fmt.Fprintln(s.Err, "  "+f)
		}
		if yes, err = s.Confirm(ctx, fmt.Sprintf("Remove these files (%s)?",
			hub.FormatBytes(plan.Bytes))); err != nil {
			return err
		}
		if !yes {
			return exit.With(exit.Refused, fmt.Errorf("remove %s: not confirmed", plan.Ref))
		}
	}
	if err := plan.Do(); err != nil {
		return err
	}
	if s.asJSON {
		return s.JSON(plan)
	}
	_, err = fmt.Fprintf(s.Out, "removed %s (%s)\n", plan.Ref, hub.FormatBytes(plan.Bytes))
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
		Path: in.Path, Parts: len(in.Files), Name: in.Name, Architecture: in.Architecture,
		Kind:       string(in.Kind),
		Parameters: in.Parameters, Quant: in.FileType, TensorTypes: map[string]int{},
		FileBytes:     in.FileBytes,
		WeightBytes:   in.WeightBytes,
		ContextTokens: in.ContextLengthTrain, Layers: in.Layers,
		KVBytesPerToken: in.KVBytesPerToken(f16Bytes, f16Bytes),
		VocabSize:       in.VocabSize, TokenizerModel: in.TokenizerModel, TokenizerPre: in.TokenizerPre,
		ChatTemplate: in.ChatTemplate != "", License: in.License, Warnings: in.Warnings,
	}
	for _, t := range in.Tensors {
		out.TensorTypes[t.Type.String()]++
	}
	return out
}

func (s *storeApp) inspect(ctx context.Context, args []string) error {
	m, err := s.Locate(ctx, args[0])
	if err != nil {
		return err
	}
	info, err := gguf.Check(m.Path)
	if err != nil {
		return err
	}
	if s.asJSON {
		return s.JSON(inspect(info))
	}
	return inspect(info).print(s.Out)
}

func (in inspection) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, legible.Visible(strings.ReplaceAll(fmt.Sprintf(format, args...),
			"\n", " ")))
	}
	row("file", "%s (%s, %d part(s))", in.Path, hub.FormatBytes(in.FileBytes), in.Parts)
	row("name", "%s", cmp.Or(in.Name, "-"))
	row("architecture", "%s (%s)", in.Architecture, in.Kind)
	row("parameters", "%s", millions(in.Parameters))
	row("quantisation", "%s: %s", cmp.Or(in.Quant, "unknown"), mix(in.TensorTypes))
	row("context", "%d tokens", in.ContextTokens)
	row("kv cache", "%s per token, %s for the whole context (16 bit)",
		hub.FormatBytes(int64(in.KVBytesPerToken)),
		hub.FormatBytes(int64(in.KVBytesPerToken*float64(in.ContextTokens))))
	row("vocabulary", "%d tokens, %s", in.VocabSize,
		strings.TrimSuffix(in.TokenizerModel+"/"+in.TokenizerPre, "/"))
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
	byNumber := func(a, b string) int { return cmp.Or(types[b]-types[a], cmp.Compare(a, b)) }
	names := slices.SortedFunc(maps.Keys(types), byNumber)
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, types[name])
	}
	return strings.Join(names, ", ")
}
