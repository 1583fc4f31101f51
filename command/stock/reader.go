package stock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"agent/command"
	"agent/command/document"
	"agent/internal/bounded"
	"agent/internal/legible"
)

// Reader returns the command that reads text files, HTML and PDF, whole or in
// part. With a model it answers a question about them, and where the web is
// allowed it reads pages.
func Reader() command.Command {
	return &readerCommand{spec: describe(command.Spec{
		Name: command.ReaderName,
		Aliases: []string{"read", "summarize", "read_file", "open", "cat", "view", "fetch", "browse",
			"open_url"},
		Slots: []command.Slot{
			{Name: "file", Kind: command.SlotFile, Web: true},
			{Name: "find", Kind: command.SlotLine, Optional: true},
			{Name: "lines", Kind: command.SlotLine, Optional: true},
			{Name: "extract", Kind: command.SlotLine, Optional: true},
			{Name: "save_as", Kind: command.SlotLine, Optional: true},
		},
		Effect: command.EffectRead,
	})}
}

type readerCommand struct {
	spec      command.Spec
	documents document.Converter
}

func (c *readerCommand) Spec() command.Spec { return c.spec }

// CallEffect is more than reading for a web page, and for a call that saves what
// it read.
func (c *readerCommand) CallEffect(call *command.Call) command.Effect {
	effect := command.EffectRead
	for _, entry := range call.Content {
		if name, ok := command.FileOf(entry); ok && isWebAddress(name) {
			effect = max(effect, command.EffectNetwork)
		}
		if name, ok := command.SaveOf(entry); ok && strings.TrimSpace(name) != "" {
			effect = max(effect, command.EffectWrite)
		}
	}
	return effect
}

// Preview has one line for each entry: what would leave this machine, with the
// whole address, or be written.
func (c *readerCommand) Preview(_ context.Context, _ *command.Env, call *command.Call,
) (string, error) {
	var lines []string
	for _, entry := range call.Content {
		name, _ := command.FileOf(entry)
		save, _ := command.SaveOf(entry)
		lines = append(lines, texts.Say("reader_preview",
			map[string]any{"Name": shownPath(name), "Web": isWebAddress(name), "Save": shownPath(save)}))
	}
	return strings.Join(lines, "\n"), nil
}

func (c *readerCommand) Run(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	root, err := openWorkDir(env)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if len(call.Content) == 0 {
		return failed("no_entry", nil), nil
	}
	r := &reading{ctx: ctx, env: env, root: root, documents: &c.documents,
		limits: env.Limits.OrDefaults()}
	r.left = r.limits.OutputBytes
	var out joint
	for _, entry := range call.Content {
		one, err := r.entry(entry)
		if err != nil {
			return nil, err
		}
		out.add(one)
		r.left = max(r.left-len(one.Text), minimumShown)
	}
	return out.result(env, call, "\n\n"), nil
}

// minimumShown is the least that is shown of a file, also when earlier files have
// used up the limit.
const minimumShown = 400

// reading is one call of the reader.
type reading struct {
	ctx       context.Context
	env       *command.Env
	root      *os.Root
	documents *document.Converter
	limits    command.Limits
	left      int // bytes that the text of the next entry may have
}

// entry carries out one entry. An error ends the call; a failed result is for the
// model to fix.
func (r *reading) entry(entry map[string]any) (*command.Result, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	name, ok := command.FileOf(entry)
	if !ok || strings.TrimSpace(name) == "" {
		return failed("no_entry", nil), nil
	}
	src, problem, err := r.source(name)
	if problem != nil || err != nil {
		return problem, err
	}
	raw, _ := command.YesNoOf(entry, "raw", "html_source", "as_is")
	page, problem, err := r.open(src, raw)
	if problem != nil || err != nil {
		return problem, err
	}
	return r.show(page, entry)
}

// source is what is read, before conversion.
type source struct {
	name        string // as it is shown: a path or an address
	size        int64
	data        []byte
	contentType string
	address     string // of a page of the web
	open        func() (fs.File, error)
}

// source finds a file or fetches a page. A file too large to be held has no
// data, but can be opened.
func (r *reading) source(name string) (*source, *command.Result, error) {
	if isWebAddress(name) {
		return r.fetch(name)
	}
	path, ok := command.LocalPath(r.env.WorkDir, name)
	if !ok {
		return nil, failed("outside", clip(name)), nil
	}
	info, err := r.root.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &command.Result{Text: missing(r.root, path), Failed: true}, nil
	case err != nil:
		return nil, unreadable(path, err), nil
	case info.IsDir():
		l := listing{ctx: r.ctx, env: r.env, command: command.ReaderName, root: r.root, left: r.left}
		return nil, l.folder(filepath.ToSlash(path)), nil
	case info.Size() > r.limits.FileBytes && info.Mode().IsRegular():
		return &source{name: path, size: info.Size(),
			open: func() (fs.File, error) { return r.root.Open(path) }}, nil, nil
	}
	data, err := bounded.Within(r.root, path, r.limits.FileBytes)
	if err != nil {
		return nil, unreadable(path, err), nil
	}
	data = buffers{r.ctx, r.env}.newer(path, data)
	return &source{name: path, size: int64(len(data)), data: data}, nil, nil
}

func unreadable(path string, err error) *command.Result {
	return failed("unreadable", map[string]any{"Path": path, "Why": reason(err)})
}

// open splits a source into lines: a text file as it is, a document as converted.
func (r *reading) open(src *source, raw bool) (*paper, *command.Result, error) {
	if src.open != nil {
		return r.openLarge(src)
	}
	if format := document.Sniff(filepath.Base(src.name), src.contentType, src.data); format != "" &&
		!(raw && format == document.HTML) {
		return r.convert(src, format)
	}
	text, encoding, ok := legible.Decode(src.data)
	if !ok {
		return nil, failed("binary", map[string]any{"Path": src.name, "Size": src.size,
			"Start": fmt.Sprintf("%q", src.data[:min(8, len(src.data))])}), nil
	}
	lines := splitLines(text)
	return &paper{name: src.name, size: src.size, form: encoding, total: len(lines),
		each: eachOf(lines)}, nil, nil
}

// documentWall bounds the reading of one document.
const documentWall = 30 * time.Second

// convert reads a document. The pages of a PDF are marked in its text.
func (r *reading) convert(src *source, format document.Format) (*paper, *command.Result, error) {
	text, err := r.documents.Convert(r.ctx, document.Source{
		Format: format, Data: src.data, ContentType: src.contentType, URL: src.address,
	}, document.Limits{Wall: min(documentWall, time.Duration(r.limits.TimeoutMS)*time.Millisecond),
		MemoryBytes: r.limits.MemoryBytes})
	var bad *document.Error
	switch {
	case errors.As(err, &bad):
		return nil, failed("unreadable", map[string]any{"Path": src.name, "Why": bad.Error()}), nil
	case err != nil:
		return nil, nil, fmt.Errorf("reader: %s: %w", src.name, err)
	}
	p := &paper{name: src.name, size: src.size, form: string(format), title: text.Title, cut: text.Cut,
		pagesTotal: text.PagesTotal}
	if text.Note != "" {
		p.form += ", " + text.Note
	}
	var lines []string
	lines, p.pages = text.Lines(format, func(page, pages int) string {
		return texts.Say("page_mark", map[string]any{"Page": page, "Pages": pages})
	})
	if format == document.PDF && len(strings.TrimSpace(strings.Join(text.Pages, ""))) == 0 {
		return nil, failed("no_text_in_pdf",
			map[string]any{"Path": src.name, "Pages": text.PagesTotal, "Cut": text.Cut}), nil
	}
	p.total, p.each = len(lines), eachOf(lines)
	return p, nil, nil
}

// show returns what an entry asks for, and saves it if the entry says so.
func (r *reading) show(p *paper, entry map[string]any) (*command.Result, error) {
	save, saves := command.SaveOf(entry)
	saves = saves && strings.TrimSpace(save) != ""
	from, to, problem := p.asked(entry)
	if problem != nil {
		return problem, nil
	}
	if what, ok := phraseField(entry, "extract", "question", "instruction", "what"); ok {
		found, err := r.extract(p, what, from, to)
		if err != nil {
			return nil, err
		}
		if saves && !found.Failed {
			return r.keep(p, save, found.Text+"\n", found)
		}
		return found, nil
	}
	out := r.part(p, entry, from, to)
	if !saves || out.Failed {
		return out, nil
	}
	text, whole := p.text(from, to, r.limits.FileBytes)
	if !whole {
		return failed("not_kept", map[string]any{"Path": p.name, "Save": clip(save),
			"Max": r.limits.FileBytes}), nil
	}
	return r.keep(p, save, text, out)
}

// part shows lines of a paper, or those around a phrase, within the limit.
func (r *reading) part(p *paper, entry map[string]any, from, to int) *command.Result {
	phrase, finds := phraseField(entry, "find", "search", "query", "pattern")
	limit := r.left
	written, _ := phraseField(entry, "lines", "range", "line")
	within := withinLine.FindStringSubmatch(written)
	for {
		out := p.section(from, to, limit)
		if within != nil {
			skip, _ := strconv.Atoi(within[2])
			out = p.rest(from, skip, limit)
		} else if finds {
			out = p.around(phrase, from, to, limit)
		}
		if limit <= minimumShown || r.env.Fits == nil || r.env.Fits(out.Text) {
			return out
		}
		limit = max(limit*2/3, minimumShown)
	}
}

// keep writes text into a file, and says so before the text it shows.
func (r *reading) keep(p *paper, name, text string, shown *command.Result,
) (*command.Result, error) {
	w := newFileWriter(r.ctx, r.root, r.env)
	kept := w.save(name, text)
	if kept.Failed {
		return kept, nil
	}
	kept.Text = texts.Say("kept", map[string]any{"Path": p.name, "Saved": kept.Text, "Cut": p.cut}) +
		"\n" + shown.Text
	kept.Truncated = shown.Truncated
	return kept, nil
}

// phraseField is [command.TextOf] without the space around the text.
func phraseField(entry map[string]any, names ...string) (string, bool) {
	phrase, ok := command.TextOf(entry, names...)
	phrase = strings.TrimSpace(phrase)
	return phrase, ok && phrase != ""
}
