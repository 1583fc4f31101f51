// Command openai-go drives a server with OpenAI's Go client: URL MODEL. See ../clients.py.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const ask = "What is the weather in Paris? Use the tool."

func main() {
	url, model := os.Args[1], os.Args[2]
	client := openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("none"),
		option.WithMaxRetries(0))
	for _, check := range []struct {
		what string
		run  func(*openai.Client, string) (string, error)
	}{{"chat, tools whole and streamed", tools}, {"decisions", decisions}} {
		note, err := check.run(&client, model)
		said := "ok (" + note + ")"
		if err != nil {
			said = "FAILS: " + strings.Join(strings.Fields(err.Error()), " ")
		}
		fmt.Printf("openai-go\t%s\t%.160s\n", check.what, said)
	}
}

func tools(client *openai.Client, model string) (string, error) {
	params := openai.ChatCompletionNewParams{
		Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(ask)},
		MaxTokens: openai.Int(80),
		Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name: "get_weather",
			Parameters: openai.FunctionParameters{"type": "object",
				"properties": map[string]any{"city": map[string]string{"type": "string"}},
				"required":   []string{"city"}},
		})},
		ToolChoice: openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("required")},
	}
	whole, err := client.Chat.Completions.New(context.Background(), params)
	if err != nil {
		return "", err
	}
	stream := client.Chat.Completions.NewStreaming(context.Background(), params)
	var sum openai.ChatCompletionAccumulator
	for stream.Next() {
		sum.AddChunk(stream.Current())
	}
	if err := stream.Err(); err != nil {
		return "", err
	}
	calls := 0
	for _, choice := range append(whole.Choices, sum.Choices...) {
		if len(choice.Message.ToolCalls) == 0 {
			return "", fmt.Errorf("no call: %q", choice.Message.Content)
		}
		for _, call := range choice.Message.ToolCalls {
			var args struct{ City *string }
			if err := json.Unmarshal([]byte(call.Function.Arguments), &args); err != nil ||
				args.City == nil || call.Function.Name != "get_weather" {
				return "", fmt.Errorf("an invalid call: %s %s", call.Function.Name, call.Function.Arguments)
			}
			calls++
		}
	}
	return fmt.Sprintf("%d call(s)", calls), nil
}

func decisions(client *openai.Client, model string) (string, error) {
	d, err := client.Decisions.New(context.Background(), openai.DecisionNewParams{
		Model: model, Input: openai.DecisionNewParamsInputUnion{OfString: openai.String("The water is boiling.")},
		Questions: []openai.DecisionNewParamsQuestionUnion{
			{OfPredicate: &openai.DecisionNewParamsQuestionPredicate{Name: openai.String("hot"),
				Instructions: openai.DecisionNewParamsQuestionPredicateInstructionsUnion{OfString: openai.String("Is the water hot?")}}},
		},
	})
	if err != nil {
		return "", err
	}
	if len(d.Answers) != 1 || d.Answers[0].Probability <= 0 || d.Answers[0].Probability >= 1 {
		return "", fmt.Errorf("not one answer with a probability: %s", d.RawJSON())
	}
	return fmt.Sprintf("hot: %.2f", d.Answers[0].Probability), nil
}
