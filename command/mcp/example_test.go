package mcp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"agent/command"
	"agent/command/mcp"
	"agent/command/salvage"
	"agent/command/stock"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

type place struct {
	Town string `json:"town" jsonschema:"a town"`
}

func weather(_ context.Context, _ *sdk.CallToolRequest, in place) (*sdk.CallToolResult, any, error) {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "sunny in " + in.Town}}}, nil, nil
}

// The tool of a server over HTTP becomes a command of an agent.
func ExampleOpen() {
	server := sdk.NewServer(&sdk.Implementation{Name: "weather", Version: "1"}, nil)
	sdk.AddTool(server, &sdk.Tool{Name: "tellWeather", Description: "Tell the weather."}, weather)
	web := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, nil))
	defer web.Close()
	state, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(state)

	reg, err := stock.Standard()
	if err != nil {
		panic(err)
	}
	servers, err := mcp.Open(context.Background(), mcp.Options{
		Servers:  map[string]mcp.Server{"weather": {URL: web.URL}},
		StateDir: state,
	})
	if err != nil {
		panic(err)
	}
	defer servers.Close()
	for _, c := range servers.Commands() {
		if err := reg.Register(c); err != nil {
			panic(err)
		}
	}

	call := salvage.Parse(`tell_weather(town="Foster City")`, reg).Calls[0].Call
	c, err := reg.Resolve(call.Command)
	if err != nil {
		panic(err)
	}
	result, err := c.Run(context.Background(), &command.Env{}, &call)
	fmt.Println(result.Text, c.Spec().Effect, err)
	// Output: sunny in Foster City network <nil>
}
