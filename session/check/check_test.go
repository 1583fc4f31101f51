package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What a task asks to write, and above all what it does not: a file that is
// only read, negated, asked about or explained. Names after "|" were there
// before.
func TestAskedFiles(t *testing.T) {
	for _, tc := range []struct{ task, existed, want string }{
		// asked for
		{"Add up the column 'amount' in sales.csv and write the total to total.txt", "sales.csv", "total.txt"},
		{"write the total to `total.txt`.", "", "total.txt"},
		{"Write a file called hello.txt that contains the word hello.", "", "hello.txt"},
		{"Create notes/plan.md with three headings", "", "notes/plan.md"},
		{"Save the list as names.json", "", "names.json"},
		{"Sort names.txt into sorted.txt", "names.txt", "sorted.txt"},
		{"Convert data.csv to data.json", "data.csv", "data.json"},
		{"Rename a.txt to b.txt", "a.txt", "b.txt"},
		{"Copy a.txt to b.txt and c.txt", "a.txt", "b.txt"}, // c.txt is missed
		{"Merge a.csv and b.csv into all.csv", "a.csv b.csv", "all.csv"},
		{"Read numbers.txt. Then store the largest number in max.txt.", "numbers.txt", "max.txt"},
		{"Put all lines with 'error' from app.log into errors.log", "app.log", "errors.log"},
		{"Write the rows of people.csv with an age of 18 or more into adults.csv, with the same header", "people.csv", "adults.csv"},
		{"Copy what a.txt has and b.txt lacks into c.txt", "a.txt b.txt", "c.txt"},
		{"Please write a Python script fizz.py that prints FizzBuzz", "", "fizz.py"},
		{"Count how many lines are in a.txt and write the number to out.txt", "a.txt", "out.txt"},
		{"Write the names found in people.txt to out.txt", "people.txt", "out.txt"},
		{"Please write the result to ./out/result.csv!", "", "out/result.csv"},
		{"Write 'done' to \"my file.txt\"", "", "my file.txt"},
		{"Translate letter.txt into French and save it as brief.txt", "letter.txt", "brief.txt"},
		{"Fix the bug in fib.py", "fib.py", "fib.py"},
		{"Update config.yaml so that debug is off", "config.yaml", "config.yaml"},
		{"Replace foo by bar in notes.txt", "notes.txt", "notes.txt"},
		{"Append the line END to log.txt", "log.txt", "log.txt"},
		{"Add a line 'x' to notes.txt", "notes.txt", "notes.txt"},
		{"Write to the file called `result` the word yes", "", "result"},
		{"Generate a report and output it to report.html, then tell me its size", "", "report.html"},
		// negated or only spoken of, and a name before the target
		{"Do not copy a.txt to b.txt. Just tell me how many lines a.txt has.", "a.txt", ""},
		{"Don't move a.txt to b.txt.", "a.txt", ""},
		{"Please don’t convert a.csv to a.json", "a.csv", ""},
		{"Never merge a.csv and b.csv into all.csv!", "a.csv b.csv", ""},
		{"You needn't translate a.txt into b.txt", "a.txt", ""},
		{"There is no need to rename a.txt to b.txt", "a.txt", ""},
		{"Under no circumstances read a.txt and copy it to b.txt", "a.txt", ""},
		{"Do not open a.txt and write its lines into b.txt", "a.txt", ""},
		{"It would be wrong to sort a.txt into b.txt", "a.txt", ""},
		{"I used to copy a.txt to b.txt. How long is a.txt?", "a.txt", ""},
		{"Ann asked me to append a.txt to b.txt; why?", "a.txt", ""},
		{"Every night we export a.csv to b.csv, and that fails.", "a.csv", ""},
		{"Shall I combine a.txt and c.txt into b.txt?", "a.txt c.txt", ""},
		{"Read a.txt. Do not write the total to b.txt.", "a.txt", ""},
		{"Kopiere a.txt nicht nach b.txt", "a.txt", ""},
		{"Ne copie pas a.txt dans b.txt, compte ses lignes.", "a.txt", ""},
		{"No copies a.txt a b.txt", "a.txt", ""},
		{"Do not copy a.txt to b.txt. Copy it to c.txt.", "a.txt", "c.txt"},
		// missed, which is better than a demand that nobody made
		{"I want you to write the result to ./out/result.csv!", "", ""},
		{"Could you save a summary of notes.md to summary.md?", "notes.md", ""},
		// not asked for
		{"What is the total of the column amount in sales.csv?", "sales.csv", ""},
		{"Which of the files here mentions a refund?", "", ""},
		{"Summarise notes.md", "notes.md", ""},
		{"Add up the numbers in numbers.txt", "numbers.txt", ""},
		{"Write a summary of notes.md", "notes.md", ""},
		{"Write the names found in people.txt", "people.txt", ""},
		{"Print the first line of a.txt", "a.txt", ""},
		{"Write me a poem about readme.md", "readme.md", ""},
		{"What does a.txt put into b.txt?", "a.txt b.txt", ""},
		{"Compare a.txt, as it was put into b.txt, with c.txt", "a.txt b.txt c.txt", ""},
		{"Look for differences from a.txt into b.txt", "a.txt b.txt", ""},
		{"Compare a.txt to b.txt", "a.txt b.txt", ""},
		{"List the differences from a.txt to b.txt", "a.txt b.txt", ""},
		{"Sort the lines of names.txt and tell me the first", "names.txt", ""},
		{"Do not write to out.txt; only tell me the total", "", ""},
		{"Tell me the total without writing out.txt", "", ""},
		{"Never create tmp.txt.", "", ""},
		{"How does backup.sh write to backup.log?", "backup.sh", ""},
		{"Explain how to write to out.txt in Python", "", ""},
		{"Which program wrote to log.txt?", "log.txt", ""},
		{"Which script would create out.csv?", "", ""},
		{"Does main.py read in.txt and save its output to out.txt?", "main.py in.txt", ""},
		{"Does main.py save its output to out.txt?", "main.py", ""},
		{"The script saves its results to out.csv. What is in it?", "out.csv", ""},
		{"Is there a copy of a.txt in b.txt?", "a.txt b.txt", ""},
		{"Read the record in data.json", "data.json", ""},
		{"Write the total to https://example.org/total.txt", "", ""},
		{"Write it to /tmp/total.txt", "", ""},
		{"What does the error in main.py:12 mean?", "main.py", ""},
		{"Run make.sh and show its output", "make.sh", ""},
		{"Make sure that a.txt ends with a newline", "a.txt", ""},
		{"Count the words in a.txt and b.txt", "a.txt b.txt", ""},
		{"What changed in notes.txt?", "notes.txt", ""},
		{"Who made the last edit in notes.txt?", "notes.txt", ""},
	} {
		existed := strings.Fields(tc.existed)
		got := AskedFiles(tc.task, func(name string) bool { return slices.Contains(existed, name) })
		assert.Equal(t, tc.want, strings.Join(got, " "), tc.task)
	}
}

// What an answer claims to have written.
func TestClaimedFiles(t *testing.T) {
	for _, tc := range []struct{ answer, want string }{
		{"I wrote the total to total.txt.", "total.txt"},
		{"The total 1007.39 has been written to `total.txt`.", "total.txt"},
		{"Done. Saved as out/names.json", "out/names.json"},
		{"total.txt was created with the sum.", "total.txt"},
		{"The file total.txt has been saved.", "total.txt"},
		{"I created the file hello.txt and wrote hello into it.", "hello.txt"},
		{"The list is stored in names.txt.", "names.txt"},
		// no claims
		{"The total in sales.csv is 1007.39.", ""},
		{"okafor.txt mentions a refund.", ""},
		{"I could not write total.txt.", ""},
		{"total.txt was not created, because writing is not allowed.", ""},
		{"Nothing was written to total.txt.", ""},
		{"The total can be saved to total.txt.", ""},
		{"The script writes its result to out.csv.", ""},
		{"According to notes.txt the report was saved to report.pdf", ""},
		{"If you run it, out.txt is created.", ""},
		{"The names made famous in book.txt are Tom and Huck.", ""},
		{"book.txt was written by Mark Twain.", ""},
		{"letter.txt was written in 1881.", ""},
		{"Saved to /tmp/out.txt", ""},
		{"See total.txt.", ""},
		{"It failed: out.txt was created empty", ""},
		{"I have copied a.txt to b.txt.", ""}, // missed
	} {
		got := claimedFiles(tc.answer)
		assert.Equal(t, tc.want, strings.Join(got, " "), tc.answer)
	}
}

// A form that the task asks for, and words that only look like it.
func TestFormats(t *testing.T) {
	for _, tc := range []struct{ task, answer, want string }{
		{"Who is it? Answer in JSON.", "Ann", "format_json"},
		{"Who is it? Answer in JSON.", `{"name": "Ann"}`, ""},
		{"Return the result as JSON", "```json\n[1, 2]\n```", ""},
		{"List the names. Reply with valid JSON only.", "Ann, Bob", "format_json"},
		{"Write the list as JSON to out.json", "Done.", ""},
		{"Return the list as JSON in out.json", "Done.", ""},
		{"Which fields does the JSON have?", "name", ""},
		{"Don't answer in JSON.", "Ann", ""},
		{"Is it late? Answer yes or no.", "Yes.", ""},
		{"Is it late? Answer yes or no.", "No, it is early.", ""},
		{"Is it late? Reply with yes or no", "It is early.", "format_yes_no"},
		{"Is it late? Answer only \"yes\" or \"no\"", "maybe", "format_yes_no"},
		{"Did she say yes or no?", "She said maybe.", ""},
		{"What colour? Answer with one word.", "Green", ""},
		{"Which city? Answer in one word.", "New York", ""},
		{"What colour? Answer with one word.", "The gate is painted green.", "format_word"},
		{"Replace one word in a.txt", "I replaced the word cat.", ""},
		{"How many? Answer with only the number.", "There are 12 of them in it", "format_number"},
		{"How many? Answer with only the number.", "12", ""},
		{"How many? Reply with the number only.", "12 files", ""},
		{"How many? Reply with the number only.", "twelve", "format_number"},
		{"Answer with the number of the line and the word", "3 cat and so on", ""},
		{"Answer yes or no, and answer in one word.", "It is not.", ""}, // two forms: not ours to say
	} {
		d, found := checkFormat(Evidence{Task: tc.task, Answer: tc.answer})
		assert.Equal(t, tc.want != "", found, "%s → %s: %s", tc.task, tc.answer, d.Reason)
		assert.Equal(t, tc.want, d.Reason, "%s → %s", tc.task, tc.answer)
	}
}

// A number that nothing shows, and numbers that follow from what was shown.
func TestNumbers(t *testing.T) {
	const sales = "2026-01-01,south,pens,16.86\n2026-01-08,west,folders,22.82\n2026-01-15,north,paper,51.18\n"
	for _, tc := range []struct {
		task, seen, answer string
		want               string // the number in doubt
		warn               bool
	}{
		{"What is the total of amount?", sales, "The total is 4711.", "4711", false},
		{"What is the total of amount?", sales, "The total is 91.50.", "91.50", false}, // 90.86 is right
		{"What is the total of amount?", sales + "Result: 1007.39", "The total is 1007.39.", "", false},
		{"What is the total of amount?", sales + "Result: 1007.3899999999999", "It is 1,007.39 in all", "", false},
		{"What is the total of amount?", sales + "1007.39", "About 1007", "", false},
		{"What is the total of amount?", sales + "1007.39", "roughly 1000", "", false},
		{"What is the total of amount?", sales + "1007.39", "It is -1007.39", "", false},
		{"What is the average?", "total 1007.39 of 37 rows", "27.23", "", false},
		{"How many rows are there?", sales, "There are 3 rows.", "", false},
		{"How many percent is it? The total is 80.", "open: 20", "25%", "", false},
		{"How many of them are there?", "a b c", "There are 1.2 million.", "", false},
		{"What is the total?", sales, "See sales.csv of 2026-03-01, version 1.2.3, at 10:30, page 99.", "", false},
		{"Who signed the letter?", "Dear Ann", "Bob did, in 1881.", "1881", true},
		{"What is the total?", "", "4711, 4712, 4713 and 4714", "", false}, // a table
		{"What is the total of b2 and c3?", "b2 = 15", "b2 is 15", "", false},
	} {
		d, found := checkNumber(Evidence{Task: tc.task, Seen: tc.seen, Answer: tc.answer, Worked: true, CanCompute: true})
		assert.Equal(t, tc.want != "", found, "%s: %v", tc.answer, d.What)
		if tc.want != "" {
			assert.Equal(t, tc.want, d.What, tc.answer)
		}
		assert.Equal(t, tc.warn, d.Warn, tc.answer)
	}
	_, found := checkNumber(Evidence{Task: "What is the sum of 1 to 100?", Answer: "5050"})
	assert.False(t, found, "without files and results a number may well be known")
}

// The checks never take long, whatever they read.
func TestChecksAreBounded(t *testing.T) {
	long := strings.Repeat("write 12.5 to a.txt and save `b.csv` (", 20_000)
	e := Evidence{Task: long, Answer: long, Seen: long, Worked: true, CanWrite: true,
		Exists: func(string) bool { return true }, Existed: func(string) bool { return false }, Changed: func(string) bool { return true }}
	e = e.bounded()
	assert.LessOrEqual(t, len(e.Task)+len(e.Answer), 2*checkedBytesMax)
	assert.LessOrEqual(t, len(e.Seen), seenBytesMax)
	for _, c := range checks() {
		c.run(e)
	}
}

// A question for a file is answered with a file.
func TestWhichFile(t *testing.T) {
	files := []string{"lind.txt", "mails/okafor.txt", "sales.csv"}
	for _, tc := range []struct {
		task, answer string
		held         bool
	}{
		{"Which of the files here mentions a refund?", "The printer arrived with a broken tray. I would like a refund.", true},
		{"Which of the files here mentions a refund?", "3 files here: lind.txt, okafor.txt and sales.csv", true},
		{"Which of the files here mentions a refund?", "All of lind.txt, okafor.txt and sales.csv", false},
		{"Which of the files here mentions a refund?", "lind.txt and sales.csv", false},
		{"Which of the files here mentions a refund?", "lind.txt", false},
		{"Which of the files here mentions a refund?", "It is the mail of Okafor.", false},
		{"Which of the files here mentions a refund?", "The attachment could not be opened.", true},
		{"Which of the files here mentions a refund?", "I could not find one.", false},
		{"Which of the files here mentions a refund?", "It is not known.", false},
		{"Which of the files here mentions a refund?", "None of them does.", false},
		{"Which of the files here mentions a refund?", "No file mentions it.", false},
		{"Which of the files here mentions a refund?", "All three files do.", false},
		{"Which CSV file has the most rows?", "37 rows", true},
		{"In which text files is the king named?", "The king laughed.", true},
		{"What file was changed last?", "Yesterday.", true},
		{"Which file format does sales have?", "CSV", false},
		{"What file type is it?", "text", false},
		{"Which of these commands lists files?", "ls", false},
		{"Which month is the best in sales.csv?", "May", false},
		{"Say which file you changed.", "done", false}, // no question
	} {
		_, found := checkWhichFile(Evidence{Task: tc.task, Answer: tc.answer, Files: files})
		assert.Equal(t, tc.held, found, "%s → %s", tc.task, tc.answer)
	}
}

// The model's own words, not those it was told.
func TestEcho(t *testing.T) {
	const told = "The task asks for the file total.txt, and there is no such file yet."
	for answer, want := range map[string]bool{
		"The answer was not accepted. " + told: true,
		"I could not make total.txt.":          false,
		"":                                     false,
	} {
		_, found := checkEcho(Evidence{Answer: answer, Told: told})
		assert.Equal(t, want, found, answer)
	}
	_, found := checkEcho(Evidence{Answer: "42"})
	assert.False(t, found)
}

// A file that is asked for by a word has it.
func TestWrongFile(t *testing.T) {
	texts := map[string]string{"lind.txt": "I would like a Refund.", "okafor.txt": "Thank you", "tan.txt": "New York, refunds"}
	files := []string{"lind.txt", "okafor.txt", "tan.txt"}
	for _, tc := range []struct {
		task, answer string
		held         bool
	}{
		{"Which of the files here mentions a refund?", "okafor.txt", true},
		{"Which of the files here mentions a refund?", "lind.txt", false},
		{"Which of the files here mentions a refund?", "lind.txt and okafor.txt", false},
		{"Which of the files here mentions a refund?", "It is tan.txt.", false},
		{"Which file contains the words \"new york\"?", "lind.txt", false}, // words is not word: missed
		{"Which file contains the phrase \"new york\"?", "lind.txt", true},
		{"Which of the files here mentions a refund?", "None.", true},
		{"Which of the files here mentions a refund?", "Best regards, Okafor", true},
		{"Which of the files here mentions a refund?", "The one by Lind.", false},
		{"Which of the files here mentions a refund?", "No file mentions a refund.", true},
		{"Which file mentions a bicycle?", "None.", false},
		{"Which file mentions a bicycle?", "lind.txt", false}, // none has it: another word may mean it
		{"Which file mentions a wish for money back?", "okafor.txt", false},
		{"Who mentions a refund?", "okafor.txt", false},
		{"Which file does not mention refunds?", "okafor.txt", false},
		{"Which file doesn't contain refunds?", "okafor.txt", false},
	} {
		_, found := checkWrongFile(Evidence{Task: tc.task, Answer: tc.answer, Files: files, HoldsText: func(name, text string) bool {
			return strings.Contains(strings.ToLower(texts[name]), strings.ToLower(text))
		}})
		assert.Equal(t, tc.held, found, "%s → %s", tc.task, tc.answer)
	}
}
