package tasks

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// solution is what a run could leave behind.
type solution struct {
	answer string
	files  map[string]string
}

// solutions are right ones of the suite in bench/tasks, and wrong ones that a
// lax verifier would let through.
var solutions = map[string]struct{ right, wrong []solution }{
	"files-errors": {
		right: []solution{{answer: "There are 7 lines with ERROR in server.log."}},
		wrong: []solution{{answer: "27 lines"}, {answer: "1, 2, 3, 4, 5, 6, 7 or 8"}},
	},
	"files-replace": {
		right: []solution{{files: map[string]string{"final.txt": finalText}}},
		wrong: []solution{
			{files: map[string]string{"final.txt": strings.Replace(finalText, "colorist", "colourist", 1)}},
			{files: map[string]string{"final.txt": finalText, "draft.txt": finalText}},
		},
	},
	"files-longest": {
		right: []solution{{answer: "poems/heron.txt"}, {answer: "It is heron.txt."}},
		wrong: []solution{{answer: "heron.txt, otter.txt"}, {answer: "heron"}},
	},
	"decide-reviews": {
		right: []solution{{files: map[string]string{"labels.txt": "negative\npositive\nnegative\npositive\nnegative\npositive\nnegative\npositive\n"}}},
		wrong: []solution{
			{files: map[string]string{"labels.txt": "positive\nnegative\nnegative\npositive\nnegative\npositive\nnegative\npositive\n"}},
			{files: map[string]string{"labels.txt": "negative\npositive\n"}},
		},
	},
	"decide-tickets": {
		right: []solution{{files: map[string]string{"labelled.csv": ticketLabels("billing", "shipping", "login", "billing", "shipping", "login")}}},
		wrong: []solution{
			{files: map[string]string{"labelled.csv": ticketLabels("billing", "shipping", "login", "billing", "shipping", "billing")}},
			{files: map[string]string{"labelled.csv": ticketLabels("billing", "shipping", "login")}},
		},
	},
	"decide-stimmen": {
		right: []solution{{files: map[string]string{"klassen.txt": "Kritik\nLob\nKritik\nLob\nKritik\nLob"}}},
		wrong: []solution{{files: map[string]string{"klassen.txt": "Kritik\nLob\nKritik\nLob\nKritik\nKritik"}}},
	},
	"csv-sum": {
		right: []solution{{answer: "The sum is 1,284.75 euros."}, {answer: "1284.75"}, {answer: "120.5 + 89.9 + 45.25 + 210 = 1284.75"}},
		wrong: []solution{{answer: "1284"}, {answer: "1284.7"}, {answer: "one of 1284.75, 1, 2, 3, 4"}},
	},
	"csv-filter": {
		right: []solution{{files: map[string]string{"adults.csv": "name,age,town\r\nMara,34,Linz\r\nUte,18,Graz\r\nKarl,71,Wels\r\nOlga,45,Steyr\r\nNina,19,Linz\r\n"}}},
		wrong: []solution{{files: map[string]string{"adults.csv": "name,age,town\nMara,34,Linz\nKarl,71,Wels\nOlga,45,Steyr\nNina,19,Linz\n"}}},
	},
	"csv-group": {
		right: []solution{{answer: "Lyon"}, {answer: "**Lyon**, with 985"}},
		wrong: []solution{{answer: "Paris"}, {answer: "Lyon and Paris"}},
	},
	"text-lookup": {
		right: []solution{{answer: "At 16:30."}, {answer: "It closes at 4:30 PM on Sundays."}},
		wrong: []solution{{answer: "11:00"}, {answer: "At 16:30 or 17:15"}, {answer: "116:30"}},
	},
	"text-sort": {
		right: []solution{{files: map[string]string{"sorted.txt": "Adam\nBerta\nCarla\nEmil\nFrida\nGustav\nHeidi\nIda\nKonrad\nOlaf\nZora"}}},
		wrong: []solution{{files: map[string]string{"sorted.txt": "\nAdam\nBerta\nCarla\nEmil\nFrida\nGustav\nHeidi\nIda\nKonrad\nOlaf\nZora"}}},
	},
	"text-emails": {
		right: []solution{{files: map[string]string{"emails.txt": "t.lund@example.com\nanna.berg@example.org\noffice@harbour.example\njo@fjord.example\n"}}},
		wrong: []solution{{files: map[string]string{"emails.txt": "t.lund@example.com\nanna.berg@example.org\noffice@harbour.example\njo@fjord.example.\nanna.berg@example.org\n"}}},
	},
	"choice-label": {
		right: []solution{{answer: "shipping"}, {answer: "The label is Shipping."}},
		wrong: []solution{{answer: "billing"}, {answer: "shipping, billing"}, {answer: "ship"}},
	},
	"choice-cheapest": {
		right: []solution{{answer: "Tern"}, {answer: "The cheapest is the Tern (489 euros)."}},
		wrong: []solution{{answer: "Tern, not Plover"}, {answer: "A lantern"}},
	},
	"choice-language": {
		right: []solution{{answer: "Dutch"}},
		wrong: []solution{{answer: "German"}, {answer: "Dutch or German"}},
	},
	"code-fix": {
		right: []solution{{files: map[string]string{"stats.py": "def mean(n):\n    return sum(n) / len(n) if n else 0\n\ndef largest(n):\n    return max(n)\n"}}},
		wrong: []solution{
			{files: map[string]string{"stats.py": "def mean(n):\n    return sum(n) / len(n) if n else 0\n"}},
			{files: map[string]string{"stats.py": "def mean(n):\n    return sum(n) / len(n)\n\ndef largest(n):\n    return max(n)\n"}},
			{files: map[string]string{"stats.py": "import sys\nprint('all right')\nsys.exit(1)\n"}},
		},
	},
	"code-convert": {
		right: []solution{{files: map[string]string{"temperature.py": "def to_celsius(f):\n    return round((f - 32) * 5 / 9, 1)\n"}}},
		wrong: []solution{{files: map[string]string{"temperature.py": "def to_celsius(f):\n    return (f - 32) * 5 / 9\n"}}},
	},
	"code-slug": {
		right: []solution{{files: map[string]string{"slug.py": "import re\ndef slug(t):\n    return '-'.join(re.findall('[a-z0-9]+', t.lower()))\n"}}},
		wrong: []solution{{files: map[string]string{"slug.py": "def slug(t):\n    return '-'.join(t.lower().split())\n"}}},
	},
	"multi-pointer": {
		right: []solution{{files: map[string]string{"count.txt": "62\n"}}, {files: map[string]string{"count.txt": "62 words"}}},
		wrong: []solution{{answer: "62"}, {files: map[string]string{"count.txt": "62 or 63"}}},
	},
	"multi-order": {
		right: []solution{{answer: "46.60 euros"}, {answer: "The total is 46,60."}},
		wrong: []solution{{answer: "31.9"}},
	},
	"multi-notes": {
		right: []solution{{files: map[string]string{"answer.txt": "Solveig Aas"}}},
		wrong: []solution{{files: map[string]string{"answer.txt": "Solveig Aas, Henrik Moe"}}, {answer: "Solveig Aas"}},
	},
	"unknown-phone": {
		right: []solution{{answer: "The number of Ms Weber is not given in staff.txt."}, {answer: "The file doesn't list a telephone for her."}},
		wrong: []solution{{answer: "I could not do it."}, {answer: "The telephone number could not be found: the code failed."}, {answer: "555-0178, no doubt"}, {answer: "I know it."}},
	},
	"unknown-month": {
		right: []solution{{answer: "There is no bill for water in June."}},
		wrong: []solution{{answer: "61.75"}, {answer: "Not more than 43.30"}},
	},
	"unknown-boat": {
		right: []solution{{answer: "The story does not say which colour the boat has."}},
		wrong: []solution{{answer: "The boat is green."}, {answer: "Not known, maybe red."}},
	},
	"failing-busy": {
		right: []solution{{answer: "A-17 costs 19.50 euros."}},
		wrong: []solution{{answer: "The shop is busy."}, {answer: "17"}},
	},
	"failing-encoding": {
		right: []solution{{answer: "6 people are called Müller."}},
		wrong: []solution{{answer: "0"}, {answer: "7"}},
	},
	"failing-data": {
		right: []solution{{answer: "The mean is 6.5 hours."}},
		wrong: []solution{{answer: "4.55"}, {answer: "65"}},
	},
}

const finalText = `The color of the sea changes with the weather.
On grey days it has no color at all.
Painters say that its color is hard to mix,
and that each colorist has a recipe of his own.
The color of the sand is easier.
`

func TestTheSuiteIsSolvedByWhatIsRightAndNothingElse(t *testing.T) {
	suite, err := Load(filepath.Join("..", "..", "..", "bench", "tasks"))
	require.NoError(t, err)
	assert.Len(t, suite.Tasks, 27)
	byKind := map[string]int{}
	for _, task := range suite.Tasks {
		byKind[task.Kind]++
		t.Run(task.Name, func(t *testing.T) {
			known, ok := solutions[task.Name]
			require.True(t, ok, "a task needs right and wrong solutions here")
			for _, s := range known.right {
				assert.Empty(t, verify(t, task, s), "%+v", s)
			}
			for _, s := range append(known.wrong, solution{}) {
				assert.NotEmpty(t, verify(t, task, s), "%+v", s)
			}
		})
	}
	for _, kind := range kinds {
		assert.Equal(t, 3, byKind[kind], kind)
	}
}

// verify lays a task out, leaves a solution behind and verifies it.
func verify(t *testing.T, task *Task, s solution) []string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, task.Lay(dir))
	for name, text := range s.files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	o := Outcome{Dir: dir, Answer: s.answer, Run: func(ctx context.Context, code string) (string, bool, error) {
		return runPython(t, ctx, dir, code)
	}}
	wrong, err := task.Verify(t.Context(), o)
	require.NoError(t, err)
	return wrong
}

// runPython runs code of this test without a sandbox, as it is our own.
func runPython(t *testing.T, ctx context.Context, dir, code string) (string, bool, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3")
	}
	cmd := exec.CommandContext(ctx, python, "-c", code)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err == nil, nil
}

func TestLoadRefuses(t *testing.T) {
	const good = "kind: csv\ntask: Do it.\nchecks: [{of: answer, number: 3}]\n"
	for text, want := range map[string]string{
		"kind: csv\n": "no task",
		strings.Replace(good, "csv", "riddle", 1):                      `kind "riddle" is none of files`,
		good + "colour: red\n":                                         "field colour not found",
		"kind: csv\ntask: Do it.\n":                                    "no checks",
		good + "steps: -1\n":                                           "it must be at least 1",
		good + "tools: [{name: x}]\n":                                  "it needs a name and replies",
		"kind: csv\ntask: Do it.\nchecks: [{}]":                        "it needs either",
		"kind: csv\ntask: Do it.\nchecks: [{of: answer}]":              "of needs some",
		"kind: csv\ntask: x\nchecks: [{run: x}]":                       "belong together",
		"kind: csv\ntask: x\nchecks: [{of: a, is: x}]":                 "one of several choices",
		"kind: csv\ntask: x\nchecks: [{of: a, match: '('}]":            "missing closing )",
		"kind: csv\ntask: x\nchecks: [{of: b.txt, unchanged: true}]":   "b.txt",
		"kind: csv\ntask: x\nchecks: [{of: a, number: 1, within: -1}]": "must not be negative",
		"kind: csv\ntask: x\nchecks: [{of: a, number: 1, run: x}]":     "either",
	} {
		dir := t.TempDir()
		lay(t, dir, text)
		_, err := Load(dir)
		assert.ErrorContains(t, err, want, text)
	}
	_, err := Load(t.TempDir())
	assert.ErrorContains(t, err, "has none")
}

// lay writes a suite of one task without files but a.txt.
func lay(t *testing.T, dir, text string) {
	files := filepath.Join(dir, "one", "files")
	require.NoError(t, os.MkdirAll(files, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(files, "a.txt"), []byte("x\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one", "task.yaml"), []byte(text), 0o600))
}

func TestASuiteIsIdentifiedByAllOfIt(t *testing.T) {
	dir := t.TempDir()
	sum := func() string {
		s, err := Load(dir)
		require.NoError(t, err)
		return s.Sum
	}
	const text = "kind: csv\ntask: Do it.\nchecks: [{of: answer, number: 3}]\n"
	lay(t, dir, text)
	first := sum()
	assert.Equal(t, first, sum())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one", "files", "a.txt"), []byte("y\n"), 0o600))
	second := sum()
	lay(t, dir, text+"steps: 3\n")
	assert.NotEqual(t, first, second)
	assert.NotEqual(t, first, sum())
}

func TestVerifyFollowsNoLinkOutOfTheWorkDir(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.txt")
	require.NoError(t, os.WriteFile(out, []byte("3"), 0o600))
	dir := t.TempDir()
	lay(t, dir, "kind: csv\ntask: Do it.\nchecks: [{of: b.txt, number: 3}]\n")
	suite, err := Load(dir)
	require.NoError(t, err)
	work := t.TempDir()
	require.NoError(t, os.Symlink(out, filepath.Join(work, "b.txt")))
	wrong, err := suite.Tasks[0].Verify(t.Context(), Outcome{Dir: work})
	require.NoError(t, err)
	assert.NotEmpty(t, wrong)
}

// ticketLabels is the table of tickets with such labels.
func ticketLabels(labels ...string) string {
	out := "id,text,label\n"
	for i, label := range labels {
		out += fmt.Sprintf("%d,\"some text, of ticket %d\",%s\n", i+1, i+1, label)
	}
	return out
}
