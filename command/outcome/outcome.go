// Package outcome tells a model how a job in the sandbox went.
package outcome

import (
	"embed"
	"regexp"
	"slices"
	"strings"
	"time"

	"agent/command"
	"agent/command/sandbox"
	"agent/internal/legible"
	"agent/internal/words"
)

//go:embed prompts
var prompts embed.FS

// texts is what a model reads about the end of a job.
var texts = words.Open(prompts)

// Limits bound a job as they bound a command.
func Limits(l command.Limits) sandbox.Limits {
	return sandbox.Limits{
		Wall:        time.Duration(l.TimeoutMS) * time.Millisecond,
		MemoryBytes: l.MemoryBytes, FileBytes: l.FileBytes, OutputBytes: l.OutputBytes,
	}
}

// Output is what was printed, with a line where some was left out.
func Output(o *sandbox.Outcome) string {
	head, tail := valid(o.Head), valid(o.Tail)
	if o.Dropped == 0 {
		return strings.TrimRight(head+tail, " \t\r\n")
	}
	whole := legible.Head(head, len(head)-len(head)/8)
	end := legible.Tail(tail, len(tail)-len(tail)/8)
	dropped := o.Dropped + int64(len(head)-len(whole)+len(tail)-len(end))
	return strings.TrimRight(whole, "\n") + "\n" + texts.Say("output_cut", dropped) + "\n" +
		strings.TrimRight(end, "\n")
}

func valid(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// outOfMemory is how programs and libraries say that they get no memory, for
// themselves or for a thread.
var outOfMemory = regexp.MustCompile(`MemoryError|bad_alloc|` +
	`(?i:memory allocation|out of memory|(?:not enough|insufficient) memory|` +
	`(?:cannot|can't|could not|unable to|failed to) allocate|ENOMEM|can't start new thread|pthread_create|` +
	`thread creation failed|(?:create|start|spawn)[a-z ]{0,16} thread|failed to map segment|` +
	`(?:thread|fork|what\(\):)[^\n]{0,80}resource temporarily unavailable)`)

// Ending says how a failed job ended and what was renamed. It is empty for exit
// code 1: the output of the job explains that.
func Ending(o *sandbox.Outcome, limits command.Limits) string {
	text := ""
	switch {
	case o.TimedOut || o.Signal == "SIGXCPU":
		text = texts.Say("timed_out", time.Duration(limits.TimeoutMS)*time.Millisecond)
	case o.Flooded:
		text = texts.Say("flooded", nil)
	case o.Exceeded != "":
		text = texts.Say("exceeded", o.Exceeded)
	case o.Signal != "":
		text = texts.Say("killed", o.Signal)
	case o.ExitCode > 1:
		text = texts.Say("exit_code", o.ExitCode)
	}
	if o.Exceeded == "memory" || (o.TimedOut || o.ExitCode != 0) &&
		outOfMemory.Match(slices.Concat(o.Head, o.Tail, o.Stderr)) {
		text = strings.TrimSpace(text + "\n" + texts.Say("out_of_memory", limits.MemoryBytes))
	}
	if len(o.Left) > 0 {
		text += "\n" + texts.Say("lost", o.Left)
	}
	if len(o.SetAside) > 0 {
		text += "\n" + texts.Say("set_aside", o.SetAside)
	}
	return strings.TrimSpace(text)
}
