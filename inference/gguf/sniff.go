package gguf

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// sniffBytes is how much of a file's start sniff looks at.
const sniffBytes = 512

// lookalikes are files that people download in place of a model.
var lookalikes = []struct {
	prefix, is, advice string
}{
	{"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file it stands for",
		"run: git lfs pull, or download the file itself"},
	{"PK\x03\x04", "a zip archive (perhaps a PyTorch checkpoint)", adviceNotGGUF},
	{"lmgg", "a GGML file, the format before GGUF",
		"get a GGUF of this model; GGML files cannot be loaded any more"},
	{"fmgg", "a GGMF file, an old format before GGUF",
		"get a GGUF of this model; GGMF files cannot be loaded any more"},
	{"tjgg", "a GGJT file, the format before GGUF",
		"get a GGUF of this model; GGJT files cannot be loaded any more"},
	{"algg", "a GGLA file, an adapter in the format before GGUF", "get a GGUF of this adapter"},
	{"\x1f\x8b", "a gzip archive", "unpack it first"},
	{"BZh", "a bzip2 archive", "unpack it first"},
	{"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first"},
	{"\xfd7zXZ\x00", "an xz archive", "unpack it first"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"},
	{"\x80\x02", "a Python pickle (perhaps a PyTorch checkpoint)", adviceNotGGUF},
	{"\x89HDF\r\n", "an HDF5 file", adviceNotGGUF},
	{"%PDF-", "a PDF document", adviceNotGGUF},
	{"\x7fELF", "a program, not a model", adviceNotGGUF},
}

// sniff tells what a file is when it does not begin as GGUF does; nil when it does.
func sniff(head []byte, size int64) *fault {
	what, advice := "", ""
	switch {
	case size == 0:
		what, advice = "the file is empty", adviceDamaged
	case bytes.HasPrefix(head, []byte("GGUF")):
		return nil
	case len(head) < 4:
		what, advice = fmt.Sprintf("the file has only %d bytes", size), adviceDamaged
	default:
		what, advice = lookalike(head, size)
	}
	return &fault{offset: -1, what: what, advice: advice}
}

func lookalike(head []byte, size int64) (what, advice string) {
	for _, l := range lookalikes {
		if bytes.HasPrefix(head, []byte(l.prefix)) {
			return "not a GGUF model: it is " + l.is, l.advice
		}
	}
	text := bytes.ToLower(bytes.TrimLeft(head, " \t\r\n\ufeff\xef\xbb\xbf"))
	switch {
	case bytes.HasPrefix(text, []byte("<!doctype")), bytes.HasPrefix(text, []byte("<html")),
		bytes.HasPrefix(text, []byte("<head")):
		return "not a GGUF model: it is a web page (HTML)",
			"use the file's download link (…/resolve/…), not the page about it (…/blob/…)"
	case bytes.HasPrefix(text, []byte("<?xml")):
		return "not a GGUF model: it is an XML document, perhaps a server's error message",
			"look at the file, and download the model again"
	case isSafetensors(head, size):
		return "not a GGUF model: it is a safetensors file",
			"get a GGUF of this model, or convert it with llama.cpp's convert_hf_to_gguf.py"
	case bytes.HasPrefix(text, []byte("{")), bytes.HasPrefix(text, []byte("[")):
		return "not a GGUF model: it is JSON text, perhaps a server's error message",
			"look at the file, and download the model again"
	case allZero(head):
		return "not a GGUF model: it begins with zeros, as an unfinished download does", adviceDamaged
	}
	return fmt.Sprintf("not a GGUF model: it begins with %q", head[:4]), adviceNotGGUF
}

// isSafetensors recognises the 8-byte length before a JSON header.
func isSafetensors(head []byte, size int64) bool {
	if len(head) < 9 || head[8] != '{' {
		return false
	}
	n := binary.LittleEndian.Uint64(head)
	return n >= 2 && n <= uint64(size)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
