package salvage_test

import (
	"fmt"

	"agent/command"
	"agent/command/salvage"
	"agent/command/stock"
)

// Whatever a model wrote, Parse finds what it meant and says what it mended.
func ExampleParse() {
	reg, err := stock.Standard()
	if err != nil {
		panic(err)
	}
	reply := "Sure!\n```json\n{'command': 'read', 'content': {'file': 'my\\_notes.txt',}}\n```"
	parsed := salvage.Parse(reply, reg)
	wire, err := command.Marshal(&parsed.Calls[0].Call)
	fmt.Println(string(wire), err)
	fmt.Println(parsed.Repairs)
	// Output:
	// {"command":"reader","summary":"","content":[{"file":"my_notes.txt"}]} <nil>
	// [python-literal escaped-underscore trailing-comma alias text-around maybe-quoted]
}
