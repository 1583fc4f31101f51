package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/command"
	"agent/command/search"
)

// Rules hold for what a command shows without its being named: a list, what is
// searched, and what the first message shows of files.
func TestRulesHoldForFilesThatAreNotNamed(t *testing.T) {
	deny, ask := Rules{{Path: "private/**", Do: RuleDeny}}, Rules{{Path: "private/**", Do: RuleAsk}}
	const secret, notListed = "the word is mandrake", "not listed: a rule"
	for _, tc := range []struct {
		name  string
		rules Rules
		call  string
		says  bool // what a person answers
		want  string
		shown bool // the secret
	}{
		{"no rule", nil, `{"command":"list","content":[{}]}`, false, "private/key.txt (21 bytes): " + secret, true},
		{"all is listed", deny, `{"command":"list","content":[{}]}`, false, notListed, false},
		{"the folder is listed", deny, `{"command":"list","content":[{"folder":"private"}]}`, false, "list was not allowed: a rule of the user forbids it for files like private/**.", false},
		{"all is listed, and nobody is asked", ask, `{"command":"list","content":[{}]}`, true, notListed, false},
		{"the folder is listed, and it is asked for", ask, `{"command":"list","content":[{"folder":"private"}]}`, true, "private/key.txt (21 bytes): " + secret, true},
		{"the folder is listed, and it is refused", ask, `{"command":"list","content":[{"folder":"private"}]}`, false, "list was not allowed", false},
		{"the reader lists", deny, `{"command":"reader","content":[{"file":"."}]}`, false, notListed, false},
		{"another command's rule", Rules{{Command: "reader", Path: "private/**", Do: RuleDeny}}, `{"command":"list","content":[{"pattern":"*.txt"}]}`, false, "private/key.txt", false},
		{"all is searched", deny, `{"command":"search","content":[{"query":"mandrake"}]}`, false, "not searched: a rule", false},
		{"all is searched, and nobody is asked", ask, `{"command":"search","content":[{"query":"mandrake"}]}`, true, "not searched: a rule", false},
		{"all is searched, and the reader may not", Rules{{Command: "reader", Path: "private/**", Do: RuleDeny}}, `{"command":"search","content":[{"query":"mandrake"}]}`, false, "not searched: a rule", false},
		{"all is searched, and the writer may not", Rules{{Command: "writer", Path: "private/**", Do: RuleDeny}}, `{"command":"search","content":[{"query":"mandrake"}]}`, false, secret, true},
		{"what is allowed before", Rules{{Path: "private/key.txt", Do: RuleAllow}, deny[0]}, `{"command":"list","content":[{}]}`, false, "private/key.txt (21 bytes): " + secret, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, newModel(t, false, tc.call, `{"command":"answer","content":[{"text":"done"}]}`), func(o *Options) {
				withStock(t)(o)
				searcher, err := search.New(search.Config{})
				require.NoError(t, err)
				t.Cleanup(func() { assert.NoError(t, searcher.Close()) })
				for _, c := range searcher.Commands() {
					require.NoError(t, o.Registry.Register(c))
				}
				o.Approve, o.Rules = ApproveAsk, tc.rules
				o.Approver = func(context.Context, *Proposal) (Decision, error) { return Decision{Allow: tc.says}, nil }
			})
			r.write(t, "a.txt", "a\n")
			require.NoError(t, os.MkdirAll(filepath.Join(r.dir, "private"), 0o755))
			r.write(t, "private/key.txt", secret+"\n")
			_, err := r.Run(context.Background(), "task")
			require.NoError(t, err)
			assert.Contains(t, r.lastUser(-1), tc.want)
			assert.Equal(t, tc.shown, strings.Contains(r.lastUser(-1), secret))
			first := r.model.requests[0].Messages[1].Content
			assert.Contains(t, first, "private/key.txt")
			assert.Equal(t, keepKey(tc.rules), !strings.Contains(first, secret), "%s", first)
		})
	}
}

// keepKey reports that the reader may not read private/key.txt unasked.
func keepKey(r Rules) bool { return len(r) > 0 && r[0].Do != RuleAllow && r[0].Command != "writer" }

func TestRulesThatCanNotBeUsed(t *testing.T) {
	for _, tc := range []struct {
		rule      Rule
		key, want string
	}{
		{Rule{Command: "writr", Do: RuleDeny}, "command", `unknown command "writr" (did you mean "writer"?)`},
		{Rule{Command: "write_everything", Do: RuleDeny}, "command", `unknown command "write_everything"`},
		{Rule{Do: "alow"}, "do", `did you mean "allow"?`},
		{Rule{Command: "writer"}, "do", "is not set"},
		{Rule{Path: "a[", Do: RuleDeny}, "path", "no glob"},
		{Rule{Path: "/etc/**", Do: RuleDeny}, "path", "out of the work dir"},
		{Rule{Host: "https://x.org", Do: RuleDeny}, "host", "no host name"},
	} {
		var bad *RuleError
		require.ErrorAs(t, Rules{{Do: RuleAsk}, tc.rule}.Check(testCommands(t)), &bad, tc.rule.String())
		assert.Equal(t, tc.key, bad.Key)
		assert.Equal(t, 1, bad.Index)
		assert.Contains(t, bad.Error(), tc.want)
		assert.NotEmpty(t, bad.Hint())
	}
}

// writeThenAnswer is a run in text mode that writes x.txt.
var writeThenAnswer = []string{
	`{"command":"writer","summary":"","content":[{"path":"x.txt","text":"hello"}]}`,
	`{"command":"answer","summary":"","content":[{"answer":"ok"}]}`,
}

// B7: who decides, in which order, and what the model and the event are told.
func TestWhoDecides(t *testing.T) {
	person := func(allow bool) Approver {
		return func(_ context.Context, p *Proposal) (Decision, error) {
			return Decision{Allow: allow, Reason: map[bool]string{false: "not on a Sunday"}[allow]}, nil
		}
	}
	overseer := func(v Verdict, err error) Overseer {
		return func(context.Context, *Proposal) (Verdict, error) { return v, err }
	}
	for _, tc := range []struct {
		name     string
		mode     ApproveMode
		rules    Rules
		approver Approver
		overseer Overseer
		by       string // of each approval event
		told     string // empty: it was written
	}{
		{"mode", ApproveAuto, nil, nil, nil, "mode", ""},
		{"rule allows", ApproveAsk, Rules{{Command: "writer", Do: RuleAllow}}, person(false), nil, "rule", ""},
		{"rule denies", ApproveAuto, Rules{{Path: "*.txt", Do: RuleDeny}}, nil, nil, "rule", "a rule of the user forbids it for files like *.txt."},
		{"rule asks", ApproveAuto, Rules{{Path: "*.txt", Do: RuleAsk}}, person(false), nil, "person", "not on a Sunday"},
		{"rule asks nobody", ApproveAuto, Rules{{Path: "*.txt", Do: RuleAsk}}, nil, nil, "mode", "nobody is there"},
		{"never beats a rule", ApproveNever, Rules{{Command: "writer", Do: RuleAllow}}, person(true), nil, "mode", "not allowed in this run"},
		{"overseer agrees", ApproveAuto, nil, nil, overseer(Verdict{Approve: true}, nil), "mode overseer", ""},
		{"overseer is against it", ApproveAuto, nil, nil, overseer(Verdict{Reason: "it harms\nthe user"}, nil), "mode overseer", "it harms the user"},
		{"overseer gives no reason", ApproveAuto, nil, nil, overseer(Verdict{}, nil), "mode overseer", "a second opinion was against it"},
		{"overseer fails", ApproveAuto, nil, nil, overseer(Verdict{Approve: true}, errors.New("no network")), "mode overseer", "it could not be checked"},
		{"overseer is not asked about what is refused", ApproveAsk, nil, person(false), overseer(Verdict{Approve: true}, nil), "person", "not on a Sunday"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, newModel(t, false, writeThenAnswer...), func(o *Options) {
				o.Approve, o.Rules, o.Approver, o.Overseer = tc.mode, tc.rules, tc.approver, tc.overseer
			})
			res, err := r.Run(context.Background(), "task")
			require.NoError(t, err)
			var by []string
			for _, ev := range r.events {
				if a, ok := ev.Data.(*Approval); ok {
					by = append(by, a.By)
					assert.Equal(t, a.Rule != "", len(tc.rules) > 0 && tc.mode != ApproveNever)
				}
			}
			assert.Equal(t, tc.by, strings.Join(by, " "))
			if tc.told == "" {
				assert.FileExists(t, filepath.Join(r.dir, "x.txt"))
				assert.Equal(t, StopAnswered, res.Stop)
				return
			}
			assert.NoFileExists(t, filepath.Join(r.dir, "x.txt"))
			assert.Equal(t, StopRefused, res.Stop)
			assert.Contains(t, r.lastUser(-1), tc.told)
		})
	}
}

func TestQuitEndsTheRun(t *testing.T) {
	r := newRig(t, newModel(t, false, writeThenAnswer...), func(o *Options) {
		o.Approve = ApproveAsk
		o.Approver = func(context.Context, *Proposal) (Decision, error) { return Decision{Quit: true}, nil }
	})
	res, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	assert.Equal(t, StopRefused, res.Stop)
	assert.Equal(t, 1, res.Steps)
}

// Who decides sees what would happen, without secrets.
func TestProposal(t *testing.T) {
	var got *Proposal
	r := newRig(t, newModel(t, false,
		`{"command":"reader","summary":"","content":[{"file":"a.txt"}]}`,
		`{"command":"writer","summary":"keep it","content":[{"path":"x.txt","text":"key s3cretvalue\n\u001b[2Jend"}]}`, writeThenAnswer[1]), func(o *Options) {
		o.Env.Metadata = map[string]string{"api_key": "s3cretvalue"}
		o.Approve = ApproveAsk
		o.Approver = func(_ context.Context, p *Proposal) (Decision, error) { got = p; return Decision{Allow: true}, nil }
	})
	_, err := r.Run(context.Background(), "keep the key")
	require.NoError(t, err)
	require.NotNil(t, got)
	assert.Equal(t, "keep the key", got.Task)
	assert.Equal(t, "writer", got.Call.Command)
	assert.Equal(t, command.EffectWrite, got.Spec.Effect)
	assert.Contains(t, got.Preview, "path: x.txt")
	assert.Contains(t, got.Preview, "text: \n  key [secret]\n")
	assert.NotContains(t, got.Preview+got.Call.Content[0]["text"].(string), "s3cret")
	assert.Contains(t, got.Done, "step 1: reader")
	text, err := os.ReadFile(filepath.Join(r.dir, "x.txt"))
	require.NoError(t, err)
	assert.Contains(t, string(text), "s3cretvalue", "what is shown is scrubbed, what is done is not")
}

// Of a call without a preview of its own all fields of all entries are shown.
func TestPreviewOfACommandWithoutOne(t *testing.T) {
	r := newRig(t, newModel(t, false), nil)
	spec := command.Spec{Name: "shell", Effect: command.EffectExecute, Slots: []command.Slot{{Name: "code", Kind: command.SlotCode}}}
	shell := command.Func(spec, nil)
	require.NoError(t, r.opts.Registry.Register(shell))
	for _, tc := range []struct {
		content []map[string]any
		want    string
	}{
		{[]map[string]any{{"code": "ls\npwd"}}, "ls\npwd"},
		{[]map[string]any{{"code": "ls", "in": "/etc"}}, "code: ls\nin: /etc\n"},
		{[]map[string]any{{"code": "ls"}, {"code": "rm x"}}, "code: ls\ncode: rm x\n"},
	} {
		assert.Equal(t, tc.want, r.gate.preview(context.Background(), newJob(shell, &command.Call{Command: "shell", Content: tc.content})))
	}
}

// A command that no rule ever lets through is not offered.
func TestDeniedCommandIsNotOffered(t *testing.T) {
	for _, tc := range []struct {
		rules   Rules
		mode    ApproveMode
		offered string
	}{
		{Rules{{Command: "writer", Do: RuleDeny}}, ApproveAuto, " reader| answer"},
		{Rules{{Command: "writer", Path: "a/**", Do: RuleAsk}, {Command: "writer", Do: RuleDeny}}, ApproveAuto, " reader| writer| answer"},
		{Rules{{Command: "writer", Path: "a/**", Do: RuleDeny}}, ApproveAuto, " reader| writer| answer"},
		{Rules{{Command: "reader", Do: RuleAllow}}, ApproveAsk, " reader| answer"}, // nobody is there
		{Rules{{Command: "writer", Path: "a/**", Do: RuleAllow}}, ApproveAsk, " reader| writer| answer"},
		{Rules{{Command: "writer", Do: RuleAllow}}, ApproveNever, " reader| answer"},
	} {
		offered := ""
		r := newRig(t, newModel(t, true, " so", " answer", " ok"), func(o *Options) { o.Rules, o.Approve = tc.rules, tc.mode })
		r.model.offered = func(options string) { offered = options }
		_, err := r.Run(context.Background(), "task")
		require.NoError(t, err)
		assert.Equal(t, tc.offered, offered, "%v", tc.rules)
	}
}

// A model as overseer: it chooses, and says why not.
func TestModelOverseer(t *testing.T) {
	for _, tc := range []struct {
		name    string
		slots   bool
		script  []string
		written bool
		told    string
	}{
		{"yes", true, []string{"yes"}, true, ""},
		{"no", true, []string{"no", " the task does not ask for it. Also"}, false, "writer was not allowed: the task does not ask for it.\n"},
		{"no, over a service", false, []string{"no", "The task does not ask for it."}, false, "writer was not allowed: The task does not ask for it.\n"},
		{"no backend", true, nil, false, "it could not be checked"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			second := newModel(t, tc.slots, tc.script...)
			o, err := NewOverseer(second)
			require.NoError(t, err)
			r := newRig(t, newModel(t, false, writeThenAnswer...), func(opts *Options) { opts.Overseer = o })
			res, err := r.Run(context.Background(), "say hello")
			require.NoError(t, err)
			_, err = os.Stat(filepath.Join(r.dir, "x.txt"))
			assert.Equal(t, tc.written, err == nil)
			assert.Contains(t, r.lastUser(-1), tc.told)
			asked := prompt(&second.requests[0])
			assert.Contains(t, asked, "Task:\nsay hello")
			assert.Contains(t, asked, "The agent wants to write files with writer")
			assert.Contains(t, asked, "text: hello")
			assert.Positive(t, res.Usage.PromptTokens)
		})
	}
}

// An overseer reads all of a call, in parts that overlap; what is longer than it
// can read is rejected unread.
func TestOverseerReadsAllOfIt(t *testing.T) {
	const bad = "open('data.csv', 'w').close()"
	filler := func(runes int) string { return strings.Repeat("é = 1\n", runes/6) }
	for _, tc := range []struct {
		name    string
		preview string
		approve bool
		asked   int
		reason  string
	}{
		{"short and good", filler(100), true, 1, ""},
		{"nothing at all", "", true, 1, ""},
		{"short and bad", bad, false, 1, "It empties a file."},
		{"long and good", filler(20_000), true, 4, ""},
		{"bad in a later part", filler(15_000) + bad + filler(5000), false, 3, "It empties a file."},
		{"bad across two parts", filler(5970) + strings.Repeat("1", 10) + bad + filler(1000), false, 2, "It empties a file."},
		{"too long", filler(60_000) + bad, false, 0, "it is too long to be checked: at most 45600 characters at once."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var read []string
			b := backend.NewScripted(backend.ScriptedConfig{
				Choose: func(_ context.Context, req *backend.Request, options []backend.Option) (*backend.Choice, error) {
					text := prompt(req)
					read = append(read, text)
					if strings.Contains(text, bad) {
						return backend.ChooseOption("scripted", "no", options)
					}
					return backend.ChooseOption("scripted", "yes", options)
				},
				Reply: func(context.Context, *backend.Request) (string, error) { return "It empties a file.", nil },
			})
			o, err := NewOverseer(b)
			require.NoError(t, err)
			v, err := o(context.Background(), &Proposal{Preview: tc.preview})
			require.NoError(t, err)
			assert.Equal(t, tc.approve, v.Approve)
			assert.Len(t, read, tc.asked)
			assert.Contains(t, v.Reason, tc.reason)
			if tc.asked > 1 {
				assert.Contains(t, read[1], "This is part 2 of ")
			} else if tc.asked == 1 {
				assert.NotContains(t, read[0], "This is part")
			}
		})
	}
}

// An overseer that can't make up its mind is against it.
func TestOverseerAbstains(t *testing.T) {
	b := backend.NewScripted(backend.ScriptedConfig{Choose: func(context.Context, *backend.Request, []backend.Option) (*backend.Choice, error) {
		return &backend.Choice{Index: -1, Abstained: true, Reason: "an empty reply"}, nil
	}})
	o, err := NewOverseer(b)
	require.NoError(t, err)
	v, err := o(context.Background(), &Proposal{})
	require.Error(t, err)
	assert.False(t, v.Approve)
}

// B6, B7: parts of a task have the rules and the overseer of the whole.
func TestPartsInheritWhoDecides(t *testing.T) {
	write := []string{" write", " writer", " out.txt", "secret", " done", " answer", " tried"}
	for name, change := range map[string]func(*Options){
		"rules": func(o *Options) { o.Rules = Rules{{Path: "out.*", Do: RuleDeny}} },
		"overseer": func(o *Options) {
			o.Overseer = func(context.Context, *Proposal) (Verdict, error) { return Verdict{Reason: "no"}, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTroupe(t, true, map[string][]string{"all": split("Fill x\nFill y"), "Fill x": write, "Fill y": write})
			tr.picks["Fill x"], tr.picks["Fill y"] = "none", "none"
			r := newTroupeRig(t, tr, change)
			r.write(t, "b.txt", "")
			_, err := r.Run(context.Background(), "all")
			require.NoError(t, err)
			assert.NoFileExists(t, filepath.Join(r.dir, "out.txt"))
			assert.Contains(t, r.lastTold("all", tr), "not done (stopped: refused)")
		})
	}
}
