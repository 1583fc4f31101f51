package session

import (
	"io"

	"agent/session/event"
	"agent/session/journal"
	"agent/session/policy"
	"agent/session/report"
)

// What users of this package write, from the packages below it.
type (
	Event          = event.Event          // one thing that happened in a run
	Payload        = event.Payload        // what an [Event] carries
	Started        = event.Started        // the first event of a run
	Note           = event.Note           // the line of reasoning with which a step begins
	CallMade       = event.CallMade       // a call, before anything ran
	ChoiceMade     = event.ChoiceMade     // a choice among options by their probabilities
	ScoredChoice   = event.ScoredChoice   // one of its options
	Approval       = event.Approval       // a decision about a consequential call
	CommandResult  = event.CommandResult  // what the model is shown of a result
	Delta          = event.Delta          // a piece of a turn as it is written
	Warning        = event.Warning        // what a person should know that stopped nothing
	Commands       = event.Commands       // what became of the commands since the step before
	CommandChange  = event.CommandChange  // what happened to one command
	Guides         = event.Guides         // what joined the task of AGENTS.md and skills
	GuideFile      = event.GuideFile      // one such file
	SubtaskStarted = event.SubtaskStarted // a part of the task, given to a child session
	SubtaskEnded   = event.SubtaskEnded   // what that came to
	Wants          = event.Wants          // what the task wants, as the model understands it
	Result         = event.Result         // how a run ended, and its last event
	Usage          = event.Usage          // what a run cost
	Stop           = event.Stop           // why it ended
)

// Why a run ended.
const (
	StopAnswered    = event.StopAnswered
	StopSteps       = event.StopSteps       // Limits.StepsMax
	StopTokens      = event.StopTokens      // Limits.TokensMax
	StopTime        = event.StopTime        // Limits.Timeout
	StopLoop        = event.StopLoop        // the same call again and again
	StopRefused     = event.StopRefused     // nothing that it wants to do is allowed
	StopUnmet       = event.StopUnmet       // what the task asks for is missing
	StopInterrupted = event.StopInterrupted // the caller's context was cancelled
	StopError       = event.StopError       // the model or a part of the program failed
)

// Kinds of [CommandChange].
const (
	CommandAdded   = event.CommandAdded
	CommandChanged = event.CommandChanged
	CommandRemoved = event.CommandRemoved
	CommandBroken  = event.CommandBroken  // a file that can't be used
	CommandRefused = event.CommandRefused // the file of a folder that is not trusted
)

// The rules and the mode by which calls are allowed.
type (
	Rule        = policy.Rule      // decides about calls before the mode does
	Rules       = policy.Rules     // are asked in order
	RuleAction  = policy.Action    // is what a rule does
	RuleError   = policy.RuleError // is a rule that can't be used
	ApproveMode = policy.Mode      // says what happens before a consequential call
)

// What a rule does with a call, and the modes.
const (
	RuleAllow    = policy.Allow
	RuleAsk      = policy.Ask
	RuleDeny     = policy.Deny
	ApproveAsk   = policy.ModeAsk   // the Approver decides each call
	ApproveAuto  = policy.ModeAuto  // allowed, inside the sandbox and the work dir
	ApproveNever = policy.ModeNever // refused, whatever a rule says
)

// What session files tell.
type (
	Info     = journal.Info     // a past run in a few words
	Show     = journal.Show     // a past run with its events
	StepCost = journal.StepCost // what one step cost
	Lost     = journal.Lost     // what of a file could not be read
	LogError = journal.LogError // a file that can't be written
)

// Load reads a session file with its events.
func Load(path string) (*Show, error) { return journal.Load(path) }

// List finds the sessions kept in dir, the newest last.
func List(dir string) ([]Info, error) { return journal.List(dir) }

// Find gives the path of the session whose id is, or uniquely begins or ends
// with, id; "last" is the newest.
func Find(dir, id string) (string, error) { return journal.Find(dir, id) }

// Remove deletes a session with all that belongs to it.
func Remove(path string) error { return journal.Remove(path) }

// CheckDir reports whether session files can be kept in dir.
func CheckDir(dir string) error { return journal.CheckDir(dir) }

// RenderOptions say how events look on a terminal.
type RenderOptions = report.RenderOptions

// RenderText writes one event as a person reads it.
func RenderText(w io.Writer, ev Event, o RenderOptions) error { return report.RenderText(w, ev, o) }

// SummaryLine is how a run ended and what it cost, in one line.
func SummaryLine(r *Result) string { return report.SummaryLine(r) }

// Visible is text as [RenderText] shows it.
func Visible(text string) string { return report.Visible(text) }

// ExportHTML writes a run as one page that needs nothing else.
func ExportHTML(w io.Writer, run *Show) error { return report.ExportHTML(w, run) }
