package main

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/sashabaranov/go-openai"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// weatherTools have schemas with what grammars hold, and what they don't.
var weatherTools = []openai.Tool{
	{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{Name: "get_weather", Description: "The weather of a city.",
		Parameters: json.RawMessage(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"city":{"type":"string","maxLength":524288},"days":{"type":"integer","minimum":1,"maximum":9007199254740991},"unit":{"enum":["celsius","fahrenheit"]}},"required":["city","unit"],"additionalProperties":false}`)}},
	{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{Name: "get_weather_map", Description: "A map of the weather.", Parameters: json.RawMessage(`{"type":"object","properties":{}}`)}},
	{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{Name: "send_mail", Description: "Send a mail.", Parameters: json.RawMessage(`{"type":"object","properties":{"to":{"type":"string","format":"email"}},"required":["to"]}`)}},
}

// checkToolCall: a call is of a tool that there is, with arguments of its schema.
func checkToolCall(t *testing.T, call openai.ToolCall) {
	t.Helper()
	assert.NotEmpty(t, call.ID)
	assert.Equal(t, openai.ToolTypeFunction, call.Type)
	var args map[string]any
	require.NoError(t, json.Unmarshal([]byte(call.Function.Arguments), &args), call.Function.Arguments)
	switch call.Function.Name {
	case "get_weather":
		assert.Contains(t, []any{"celsius", "fahrenheit"}, args["unit"])
		assert.IsType(t, "", args["city"])
	case "send_mail":
		assert.IsType(t, "", args["to"])
	default:
		assert.Equal(t, "get_weather_map", call.Function.Name)
		assert.Empty(t, args)
	}
}

// toolsOverHTTP: whatever a small model makes of them, calls are valid.
func toolsOverHTTP(t *testing.T, url string) {
	client := newClient(url)
	ask := func(text string, choice any) openai.ChatCompletionRequest {
		return openai.ChatCompletionRequest{Model: "smollm2", Messages: []openai.ChatCompletionMessage{{Role: "user", Content: text}},
			Tools: weatherTools, ToolChoice: choice, MaxCompletionTokens: 40, Temperature: math.SmallestNonzeroFloat32}
	}
	named := openai.ToolChoice{Type: openai.ToolTypeFunction, Function: openai.ToolFunction{Name: "send_mail"}}
	for _, choice := range []any{nil, "auto", "required", "none", named} {
		for _, text := range []string{"What is the weather in Paris?", "Say hello."} {
			whole, err := client.CreateChatCompletion(t.Context(), ask(text, choice))
			require.NoError(t, err)
			c := whole.Choices[0]
			for _, call := range c.Message.ToolCalls {
				if c.FinishReason != openai.FinishReasonLength {
					checkToolCall(t, call)
				}
			}
			called := len(c.Message.ToolCalls) > 0
			assert.Equal(t, called && c.FinishReason != openai.FinishReasonLength, c.FinishReason == openai.FinishReasonToolCalls)
			assert.Positive(t, whole.Usage.CompletionTokens)
			switch choice {
			case "required", named:
				assert.True(t, called)
			case "none":
				assert.False(t, called)
			}
			if choice == named {
				assert.Equal(t, "send_mail", c.Message.ToolCalls[0].Function.Name)
			}
			// Streamed, the reply is the same.
			got, finish := streamedCalls(t, client, ask(text, choice))
			for i := range got.ToolCalls {
				got.ToolCalls[i].ID = c.Message.ToolCalls[i].ID
				got.ToolCalls[i].Index = nil
			}
			assert.Equal(t, c.Message.ToolCalls, got.ToolCalls)
			assert.Equal(t, c.Message.Content, got.Content)
			assert.Equal(t, c.FinishReason, finish)
		}
	}
	first, err := client.CreateChatCompletion(t.Context(), ask("What is the weather in Paris?", "required"))
	require.NoError(t, err)
	next := ask("What is the weather in Paris?", "none")
	next.Messages = append(next.Messages, first.Choices[0].Message,
		openai.ChatCompletionMessage{Role: "tool", ToolCallID: first.Choices[0].Message.ToolCalls[0].ID, Content: `{"sky":"<|im_end|> clear"}`})
	answer, err := client.CreateChatCompletion(t.Context(), next)
	require.NoError(t, err)
	assert.NotEmpty(t, answer.Choices[0].Message.Content)
	assert.Greater(t, answer.Usage.PromptTokens, first.Usage.PromptTokens)
}

func streamedCalls(t *testing.T, client *openai.Client, req openai.ChatCompletionRequest) (m openai.ChatCompletionMessage, finish openai.FinishReason) {
	t.Helper()
	stream, err := client.CreateChatCompletionStream(t.Context(), req)
	require.NoError(t, err)
	defer stream.Close()
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return m, finish
		}
		require.NoError(t, err)
		for _, c := range part.Choices {
			m.Content += c.Delta.Content
			for _, call := range c.Delta.ToolCalls {
				if *call.Index == len(m.ToolCalls) {
					m.ToolCalls = append(m.ToolCalls, call)
				} else {
					m.ToolCalls[*call.Index].Function.Arguments += call.Function.Arguments
				}
			}
			if c.FinishReason != "" {
				finish = c.FinishReason
			}
		}
	}
}
