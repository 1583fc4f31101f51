package search_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"agent/command"
	"agent/command/search"
)

// Without a provider the files of the work dir are searched.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "notes.md"), []byte("The refunds were late.\n"), 0o600); err != nil {
		panic(err)
	}
	s, err := search.New(search.Config{})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	call := &command.Call{Content: []map[string]any{{"query": "refund"}}}
	result, err := s.Commands()[0].Run(context.Background(), &command.Env{WorkDir: dir}, call)
	fmt.Println(result.Text, err)
	// Output:
	// 1 place in the 1 file here for "refund". Searched the files here; no web search is configured:
	// 1. notes.md:1
	//    The refunds were late. <nil>
}
