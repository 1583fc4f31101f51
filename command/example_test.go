package command_test

import (
	"context"
	"fmt"

	"agent/command"
	"agent/command/salvage"
	"agent/command/stock"
)

// A command of a program's own, and a reply that uses it.
func ExampleFunc() {
	reg, err := stock.Standard()
	if err != nil {
		panic(err)
	}
	weather := command.Spec{
		Name:        "weather",
		Description: "Tell the weather of a place.",
		Slots:       []command.Slot{{Name: "place", Help: "a town", Kind: command.SlotLine}},
		Effect:      command.EffectNetwork,
	}
	err = reg.Register(command.Func(weather, func(ctx context.Context, env *command.Env, call *command.Call) (*command.Result, error) {
		return &command.Result{Text: "sunny in " + fmt.Sprint(call.Content[0]["place"])}, nil
	}))
	if err != nil {
		panic(err)
	}

	parsed := salvage.Parse(`Let me look. weather(place="Foster City")`+"\n"+`weather(place="Foster City")`, reg)
	call := parsed.Calls[0].Call
	c, err := reg.Resolve(call.Command)
	if err != nil {
		panic(err)
	}
	result, err := c.Run(context.Background(), &command.Env{}, &call)
	fmt.Println(result.Text, err, parsed.Repairs)
	// Output: sunny in Foster City <nil> [function-call text-around maybe-quoted]
}
