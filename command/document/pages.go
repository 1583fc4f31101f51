package document

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/ledongthuc/pdf"

	"agent/internal/legible"
)

// Bounds of walking a document.
const (
	treeDepthMax  = 64 // of the tree of pages, and of a field's parents
	treeNodesMax  = 4 * pagesMax
	marginMax     = 2000 // notes and fields of one page
	fieldBytesMax = 4096 // of one value
	notedMax      = 20   // fields without a page that are named
	passwordField = 1 << 13
)

// pages walks the tree of pages once, each with the resources that it inherits.
func pages(r *pdf.Reader) iter.Seq2[pdf.Value, pdf.Value] {
	return func(yield func(page, resources pdf.Value) bool) {
		left := treeNodesMax
		var walk func(node, resources pdf.Value, depth int) bool
		walk = func(node, resources pdf.Value, depth int) bool {
			if own := node.Key("Resources"); !own.IsNull() {
				resources = own
			}
			kids := node.Key("Kids")
			if kids.Kind() != pdf.Array {
				return node.IsNull() || yield(node, resources)
			}
			for i := range kids.Len() {
				if left--; left < 0 || depth < treeDepthMax && !walk(kids.Index(i), resources, depth+1) {
					return false
				}
			}
			return true
		}
		walk(r.Trailer().Key("Root").Key("Pages"), pdf.Value{}, 0)
	}
}

// margin is what stands on a page beside its drawing: values of fields, notes, and
// addresses.
func (r *reader) margin(page pdf.Value) (lines, addresses []string) {
	annotations := page.Key("Annots")
	for i := range min(annotations.Len(), marginMax) {
		a := annotations.Index(i)
		uri := resolve(nil, a.Key("A").Key("URI").RawString())
		if uri != "" && len(addresses) < linksMax && !slices.Contains(addresses, uri) {
			addresses = append(addresses, uri)
		}
		switch a.Key("Subtype").Name() {
		case "Widget":
			name, value := field(a)
			if r.fields[name] = true; value != "" {
				lines = append(lines, "["+name+": "+value+"]")
			}
		case "Link", "Popup":
		default:
			if note := textOfValue(a.Key("Contents")); note != "" {
				lines = append(lines, "[note: "+note+"]")
			}
		}
	}
	return lines, addresses
}

// withoutPage lists the values of fields that stand on none of the pages.
func withoutPage(form pdf.Value, seen map[string]bool) (out []string) {
	var walk func(list pdf.Value, depth int)
	walk = func(list pdf.Value, depth int) {
		for i := range min(list.Len(), marginMax) {
			if len(out) == notedMax || depth > treeDepthMax {
				return
			}
			at := list.Index(i)
			if kids := at.Key("Kids"); kids.Len() > 0 {
				walk(kids, depth+1)
			} else if name, value := field(at); value != "" && !seen[name] {
				seen[name] = true
				out = append(out, name+": "+value)
			}
		}
	}
	walk(form.Key("Fields"), 0)
	return out
}

// field reads the name and the value of a field of a form. What it does not have
// itself it has from the fields around it.
func field(widget pdf.Value) (name, value string) {
	var names []string
	var tip string // what a person is told that the field is
	var held, kind, options pdf.Value
	flags := int64(0)
	for at, depth := widget, 0; !at.IsNull() && depth < treeDepthMax; at, depth = at.Key("Parent"),
		depth+1 {
		if own := textOfValue(at.Key("T")); own != "" {
			names = append([]string{own}, names...)
		}
		if tip == "" {
			tip = textOfValue(at.Key("TU"))
		}
		if held.IsNull() {
			held = at.Key("V")
		}
		if kind.IsNull() {
			kind = at.Key("FT")
		}
		if options.IsNull() {
			options = at.Key("Opt")
		}
		if flags == 0 {
			flags = at.Key("Ff").Int64()
		}
	}
	if kind.Name() == "Tx" && flags&passwordField != 0 {
		return "", ""
	}
	value = fieldValue(held, options)
	if kind.Name() == "Btn" { // one of several buttons has the value
		if state := widget.Key("AS").Name(); value == "Off" || state == "Off" {
			value = ""
		}
	}
	if tip != "" && !slices.Contains(names, tip) {
		tip = " (" + tip + ")"
	} else {
		tip = ""
	}
	return cmp.Or(strings.Join(names, "."), "field") + tip, value
}

// fieldValue is a value as a person sees it: of a list, all that is chosen, by the words of
// its options.
func fieldValue(v, options pdf.Value) string {
	switch v.Kind() {
	case pdf.Name:
		if n, err := strconv.Atoi(v.Name()); err == nil && options.Index(n).Kind() == pdf.String {
			return textOfValue(options.Index(n)) // of a button
		}
		return legible.OneLine(v.Name())
	case pdf.Integer, pdf.Real:
		return v.String()
	case pdf.Dict: // a signature
		return strings.TrimSpace("signed " + textOfValue(v.Key("Name")))
	case pdf.Array:
		var chosen []string
		for i := range min(v.Len(), marginMax) {
			if text := fieldValue(v.Index(i), options); text != "" {
				chosen = append(chosen, text)
			}
		}
		return strings.Join(chosen, ", ")
	case pdf.Stream:
		return legible.OneLine(string(streamBytes(v, fieldBytesMax)))
	}
	value := textOfValue(v)
	for i := range min(options.Len(), marginMax) {
		if o := options.Index(i); o.Len() > 1 && textOfValue(o.Index(0)) == value {
			return textOfValue(o.Index(1))
		}
	}
	return value
}

// textOfValue is a string of a document, on one line.
func textOfValue(v pdf.Value) string {
	return legible.Clip(legible.OneLine(v.Text()),
		fieldBytesMax)
}
