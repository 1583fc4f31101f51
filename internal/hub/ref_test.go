package hub

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUnderstand(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, f := range []string{"m.gguf", "folder/x.gguf", "bare", "acme/local/y.gguf"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(f), 0o755))
		require.NoError(t, os.WriteFile(f, nil, 0o644))
	}
	require.NoError(t, os.MkdirAll("acme/empty", 0o755))
	s := New(Config{Catalog: &Catalog{Models: []Entry{{Name: "tiny-chat"}, {Name: "folder"}}}})
	const commit = "0123456789012345678901234567890123456789"
	tests := []struct {
		ref  string
		want reference // of entry only whether there is one
	}{
		{"m.gguf", reference{kind: refPath, path: "m.gguf"}},
		{"./m.gguf", reference{kind: refPath, path: "./m.gguf"}},
		{"bare", reference{kind: refPath, path: "bare"}},
		{"folder", reference{kind: refCatalog}}, // a name of the catalog wins over a path
		{"acme/local", reference{kind: refPath, path: "acme/local"}},
		{"acme/empty", reference{kind: refHub, hub: hubRef{repo: "acme/empty", revision: "main"}}}, // no model in it
		{"Tiny-Chat", reference{kind: refCatalog}},
		{"a/b", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "main"}}},
		{"a/b:q4_k_m", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "main", quant: "q4_k_m"}}},
		{"hf://a/b", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "main"}}},
		{"hf://a/b:Q8_0", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "main", quant: "Q8_0"}}},
		{"hf://a/b@v1", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "v1"}}},
		{"hf://a/b@v1:Q8_0", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "v1", quant: "Q8_0"}}},
		{"hf://a/b@" + commit + "/sub/x.gguf", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: commit, file: "sub/x.gguf"}}},
		{"hf://a/b@refs/pr/7/x.gguf", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "refs/pr/7", file: "x.gguf"}}},
		{"hf://a/b@feature%2Fx/x.gguf", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "feature/x", file: "x.gguf"}}},
		{" a/b:Q8_0 ", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "main", quant: "Q8_0"}}},
		{"a/b:m-Q4_0.gguf", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "main", quant: "m-Q4_0.gguf"}}},
		{"hf.co/a/b:m-Q4_0.gguf", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "main", quant: "m-Q4_0.gguf"}}},
		{"hf://a/b/resolve/v1/x.gguf", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "v1", file: "x.gguf"}}},
		{"hf://a/b/blob/main/sub/x.gguf", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "main", file: "sub/x.gguf"}}},
		{"hf://a/b/x.gguf", reference{kind: refHub, hub: hubRef{repo: "a/b", revision: "main", file: "x.gguf"}}},
	}
	for _, tt := range tests {
		got, err := s.understand(tt.ref)
		require.NoError(t, err, tt.ref)
		assert.Equal(t, tt.want.kind == refCatalog, got.entry != nil, tt.ref)
		got.entry = nil
		assert.Equal(t, tt.want, got, tt.ref)
	}
	for _, ref := range []string{
		"", "tiny-caht", "x.gguf", "./none", "/none/x.gguf", "a/b/c", "a/b/c.gguf", "a--b/c", "../x", "a/..",
		"hf://a", "hf://a/b/x.bin", "hf://a/b/../../x.gguf", "hf://a/b@../x", "hf://a/b@%2e%2e%2fx", "hf://../b", "a\x00/b", "a/b\n", "hf://a/b//x.gguf",
	} {
		_, err := s.understand(ref)
		assert.ErrorIs(t, err, ErrNotFound, "%q", ref)
	}
	for ref, advice := range map[string]string{
		"a/b@v1":                              "hf://a/b@v1",
		"a/b/c.gguf":                          "hf://a/b/c.gguf",
		"https://example.org/m.gguf":          "download the file",
		"ollama://qwen3:4b":                   "OWNER/REPO",
		"https://huggingface.co/datasets/o/r": "hf://OWNER/REPO",
	} {
		_, err := s.understand(ref)
		var e *Error
		require.ErrorAs(t, err, &e, ref)
		assert.Contains(t, e.Advice, advice, ref)
	}
}

func TestPick(t *testing.T) {
	tests := []struct {
		files  []string
		quant  string
		want   string
		others []string
	}{
		{[]string{"m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-Q2_K.gguf"}, "", "m-Q4_K_M.gguf", []string{"Q8_0", "Q2_K"}},
		{[]string{"m.Q8_0.gguf", "m.Q5_K_M.gguf"}, "", "m.Q5_K_M.gguf", []string{"Q8_0"}},
		{[]string{"m-f16.gguf", "m-q4_0.gguf", "m-q8_0.gguf"}, "", "m-q8_0.gguf", []string{"Q4_0", "F16"}},
		{[]string{"m-fp16.gguf", "m-q4_0.gguf"}, "F16", "m-fp16.gguf", []string{"Q4_0"}},
		{[]string{"only.gguf"}, "", "only.gguf", nil},
		{[]string{"mmproj-F16.gguf", "m-IQ4_XS.gguf", "m.imatrix.gguf"}, "", "m-IQ4_XS.gguf", nil},
		{[]string{"Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M/m-00002-of-00002.gguf", "m-Q8_0.gguf"}, "", "Q4_K_M/m-00001-of-00002.gguf", []string{"Q8_0"}},
		{[]string{"m-Q4_K_M-00001-of-00002.gguf", "m-Q8_0.gguf"}, "", "m-Q8_0.gguf", nil}, // a part is missing
		{[]string{"qwen2.5-0.5b-q4_k_m.gguf", "qwen2.5-0.5b-q8_0.gguf"}, "Q8_0", "qwen2.5-0.5b-q8_0.gguf", []string{"Q4_K_M"}},
		{[]string{"m-UD-Q4_K_XL.gguf", "m-BF16.gguf"}, "", "m-UD-Q4_K_XL.gguf", []string{"BF16"}},
		{[]string{"x-UD-Q4_K_XL.gguf", "x-Q4_K_M.gguf", "x-UD-Q4_K_M.gguf", "MTP/x-MTP-Q4_K_M.gguf"}, "UD-Q4_K_XL", "x-UD-Q4_K_XL.gguf", []string{"Q4_K_M", "UD-Q4_K_M"}},
		{[]string{"x-UD-Q4_K_XL.gguf", "x-Q4_K_M.gguf", "x-UD-Q4_K_M.gguf"}, "ud-q4_k_m", "x-UD-Q4_K_M.gguf", []string{"Q4_K_M", "UD-Q4_K_XL"}},
		{[]string{"x-UD-Q4_K_M.gguf", "x-Q4_K_M.gguf"}, "q4_k_m", "x-Q4_K_M.gguf", []string{"UD-Q4_K_M"}},
		{[]string{"x-UD-Q4_K_M.gguf", "MTP/x-MTP-Q4_K_M.gguf", "x-draft-Q8_0.gguf", "mtp-x.gguf"}, "", "x-UD-Q4_K_M.gguf", nil},
		{[]string{"x-UD-Q4_K_M.gguf"}, "Q4_K_M", "x-UD-Q4_K_M.gguf", nil},
		{[]string{"x.i1-IQ3_XXS.gguf", "x.IQ3_XXS.gguf"}, "i1-IQ3_XXS", "x.i1-IQ3_XXS.gguf", []string{"IQ3_XXS"}},
		{[]string{"x.i1-IQ2_M.gguf", "x.i1-Q2_K.gguf"}, "iq2_m", "x.i1-IQ2_M.gguf", []string{"i1-Q2_K"}},
		{[]string{"UD-Q2_K_XL/x-UD-Q2_K_XL-00001-of-00002.gguf", "UD-Q2_K_XL/x-UD-Q2_K_XL-00002-of-00002.gguf", "x-Q8_0.gguf"}, "UD-Q2_K_XL", "UD-Q2_K_XL/x-UD-Q2_K_XL-00001-of-00002.gguf", []string{"Q8_0"}},
		{[]string{"x-instruct-special.gguf", "x-Q8_0.gguf"}, "special", "x-instruct-special.gguf", []string{"Q8_0"}},
		{[]string{"adapter-lora-f16.gguf", "m-f16.gguf"}, "", "m-f16.gguf", nil},
		{[]string{"x-nextn-Q4_K_M.gguf", "x-speculator-Q4_K_M.gguf", "x-adapter-Q4_K_M.gguf", "x-control-vector.gguf", "ggml-vocab-x.gguf", "x-eagle3-Q4_K_M.gguf", "x-IQ4_NL.gguf"}, "", "x-IQ4_NL.gguf", nil},
		{[]string{"x-Q4_K_M-pure.gguf", "x-Q4_K_M-00001-of-00001.gguf"}, "q4_k_m", "x-Q4_K_M-00001-of-00001.gguf", []string{"Q4_K_M"}},
		{[]string{"x-Q4_K_M-pure.gguf", "x-Q4_K_M-imat.gguf", "x-Q8_0.gguf"}, "Q8_0", "x-Q8_0.gguf", []string{"x-Q4_K_M-imat.gguf", "x-Q4_K_M-pure.gguf"}},
		{[]string{"x-Q4_K_M-pure.gguf", "x-Q4_K_M-imat.gguf"}, "imat", "x-Q4_K_M-imat.gguf", []string{"Q4_K_M"}},
		{[]string{"x-Q4_K_M.gguf", "x-Q8_0.gguf"}, "x-Q8_0.gguf", "x-Q8_0.gguf", []string{"Q4_K_M"}},
		{[]string{"x-Q4_K_M.gguf", "Q8/x-Q8_0-00001-of-00002.gguf", "Q8/x-Q8_0-00002-of-00002.gguf"}, "x-q8_0-00001-of-00002.GGUF", "Q8/x-Q8_0-00001-of-00002.gguf", []string{"Q4_K_M"}},
		{[]string{"x-Q4_K_M.gguf", "x-Q8_0.gguf"}, "latest", "x-Q4_K_M.gguf", []string{"Q8_0"}},
		{[]string{"x-TQ1_0.gguf", "x-APEX-I-Quality.gguf"}, "apex-i-quality", "x-APEX-I-Quality.gguf", []string{"TQ1_0"}},
		{[]string{"gpt-oss-MXFP4_MOE.gguf"}, "mxfp4", "gpt-oss-MXFP4_MOE.gguf", nil},
	}
	for _, tt := range tests {
		got, others, err := pick(tt.files, tt.quant)
		require.NoError(t, err, tt.files)
		assert.Equal(t, tt.want, got.first())
		assert.Equal(t, tt.others, quantNames(others), tt.files)
	}
	_, _, err := pick([]string{"model.safetensors", "README.md"}, "")
	assert.ErrorIs(t, err, errNoGGUF)
}

// What a browser shows is understood.
func TestAddresses(t *testing.T) {
	s := &Store{cfg: Config{Endpoint: "https://hub.example.org/base"}}
	for ref, want := range map[string]hubRef{
		"https://huggingface.co/o/r":                                     {repo: "o/r", revision: "main"},
		"https://huggingface.co/o/r/":                                    {repo: "o/r", revision: "main"},
		"huggingface.co/o/r/blob/main/sub/m-Q4_0.gguf":                   {repo: "o/r", revision: "main", file: "sub/m-Q4_0.gguf"},
		"https://huggingface.co/o/r/resolve/v1/m%20x.gguf?download=true": {repo: "o/r", revision: "v1", file: "m x.gguf"},
		"https://huggingface.co/o/r/tree/refs%2Fpr%2F3":                  {repo: "o/r", revision: "refs/pr/3"},
		"https://huggingface.co/o/r/tree/dev/Q4_K_M":                     {repo: "o/r", revision: "dev"},
		"hf.co/o/r:Q8_0": {repo: "o/r", revision: "main", quant: "Q8_0"},
		"https://hub.example.org/base/o/r/blob/main/m.gguf": {repo: "o/r", revision: "main", file: "m.gguf"},
		"hf.co/o/r/m.gguf":                          {repo: "o/r", revision: "main", file: "m.gguf"},
		"https://huggingface.co/api/models/o/r":     {repo: "o/r", revision: "main"},
		"huggingface.co/o/r/resolve/main/m.gguf#L1": {repo: "o/r", revision: "main", file: "m.gguf"},
		"HTTPS://HuggingFace.co/Owner/Repo":         {repo: "Owner/Repo", revision: "main"},
	} {
		got, ok, err := s.parseAddress(ref)
		if assert.True(t, ok, ref) && assert.NoError(t, err, ref) {
			assert.Equal(t, want, got, ref)
		}
	}
	for _, ref := range []string{"https://huggingface.co/o", "https://huggingface.co/o/r/discussions/3", "https://huggingface.co/spaces/o/r", "https://huggingface.co/collections/o/r", "https://huggingface.co/datasets/o/r/blob/main/m.gguf", "https://huggingface.co/o/r/blob/main/README.md", "https://huggingface.co/../x/blob/main/m.gguf"} {
		_, ok, err := s.parseAddress(ref)
		assert.True(t, ok, ref)
		assert.Error(t, err, ref)
	}
	for _, ref := range []string{"o/r", "./huggingface.co/o/r", "https://example.org/o/r"} {
		_, ok, _ := s.parseAddress(ref)
		assert.False(t, ok, ref)
	}
}

// FuzzNames feeds names of people and servers: nothing panics, and what passes
// stays inside the folder it is put in.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a/b:Q4_0", "hf://a/b@r/x.gguf", "m-00001-of-00003.gguf", "Q4_K_M/x.gguf", "../x.gguf", "refs/pr/1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := parseHubURL(s); err == nil {
			c := cache{dir: "/store"}
			for _, p := range []string{c.snapshotPath(h.repo, "0", h.file), c.blobPath(h.repo, "x"), filepath.Join(c.repoDir(h.repo), "refs", h.revision)} {
				rel, err := filepath.Rel("/store/models--", p)
				require.NoError(t, err)
				in, err := filepath.Rel(c.repoDir(h.repo), p)
				require.NoError(t, err, rel)
				assert.True(t, filepath.IsLocal(in), "%q leads to %s", s, p)
			}
		}
		if checkRepoPath(s) == nil {
			assert.True(t, filepath.IsLocal(s))
		}
		if isGGUF(s) {
			_ = quantOf(s)
			_, _ = splitParts(s)
		}
		_ = candidates([]string{s, s + ".gguf"})
		_, _, _ = parseContentRange(s)
		_, _ = parseHubID(s)
	})
}

func FuzzCatalog(f *testing.F) {
	f.Add([]byte("models: [{name: a, file: a.gguf, sources: [{hub: {repo: o/r, file: a.gguf}}]}]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseCatalog(raw)
		if err != nil {
			return
		}
		for _, e := range c.Models {
			assert.Equal(t, e.File, filepath.Base(e.File))
		}
	})
}
