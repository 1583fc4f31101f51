"""Drives a server of Anthropic's wire with the official client: URL KEY MODEL [REPLY].

REPLY is what the model says where it calls no tool; without it only the form is checked.
"""

import sys

import anthropic
import pydantic

url, key, model = sys.argv[1:4]
reply = sys.argv[4] if len(sys.argv) > 4 else None
client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=300)
greedy = {"temperature": 0}
user = [{"role": "user", "content": "What is the weather in Paris?"}]
tool = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def step(name):
    print("ok:", name, flush=True)


def refused(kind, type, call):
    try:
        call()
    except kind as e:
        assert e.type == type, (e.type, type)
        return e
    raise AssertionError(f"not refused: {type}")


card = client.models.retrieve(model)
assert model in [m.id for m in client.models.list()] and card.display_name and card.created_at
step("models")

whole = client.messages.create(
    model=model,
    max_tokens=40,
    extra_body=greedy,
    system="Be brief.",
    messages=user,
    stop_sequences=["\x01"],
)
text = whole.content[0].text
assert text and whole.stop_reason in ("end_turn", "max_tokens")
assert reply is None or text == reply
usage = whole.usage
assert usage.input_tokens > 0 and usage.output_tokens > 0
step("messages")

with client.messages.stream(
    model=model, max_tokens=40, extra_body=greedy, system="Be brief.", messages=user
) as stream:
    pieces = list(stream.text_stream)
    final = stream.get_final_message()
assert "".join(pieces) == final.content[0].text and final.stop_reason == whole.stop_reason
assert reply is None or final.content[0].text == reply
step("stream")

count = client.messages.count_tokens(model=model, system="Be brief.", messages=user).input_tokens
for u in (usage, final.usage):
    assert u.input_tokens + u.cache_read_input_tokens + u.cache_creation_input_tokens == count, (
        u,
        count,
    )
step("count_tokens")

called = client.messages.create(
    model=model,
    max_tokens=60,
    extra_body=greedy,
    messages=user,
    tools=[tool],
    tool_choice={"type": "any"},
)
call = called.content[0]
assert (
    called.stop_reason == "tool_use"
    and call.type == "tool_use"
    and call.name == "get_weather"
    and set(call.input) == {"city"}
)
with_tools = client.messages.count_tokens(model=model, messages=user, tools=[tool]).input_tokens
assert called.usage.input_tokens + called.usage.cache_read_input_tokens == with_tools > 0
step("tools")

choice = {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}
with client.messages.stream(
    model=model, max_tokens=60, extra_body=greedy, messages=user, tools=[tool], tool_choice=choice
) as stream:
    partial = [e.partial_json for e in stream if e.type == "input_json"]
    streamed = stream.get_final_message()
assert streamed.stop_reason == "tool_use" and streamed.content[-1].input == call.input and partial
step("stream with tools")

result = {
    "type": "tool_result",
    "tool_use_id": call.id,
    "content": [{"type": "text", "text": "21 degrees"}],
}
history = user + [
    {"role": "assistant", "content": called.content},
    {"role": "user", "content": [result]},
]
answer = client.messages.create(
    model=model,
    max_tokens=40,
    extra_body=greedy,
    messages=history,
    tools=[tool],
    tool_choice={"type": "none"},
)
assert [b.type for b in answer.content] == ["text"] and answer.stop_reason in (
    "end_turn",
    "max_tokens",
)
step("results")


class Weather(pydantic.BaseModel):
    city: str


said = client.messages.parse(
    model=model, max_tokens=60, extra_body=greedy, messages=user, output_format=Weather
)
assert isinstance(said.parsed_output, Weather)
step("parse")

beta = client.beta.messages.create(
    model=model,
    max_tokens=10,
    messages=user,
    betas=["context-management-2025-06-27"],
    context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
)
assert beta.content[0].type == "text"
step("beta")

bad = refused(
    anthropic.BadRequestError,
    "invalid_request_error",
    lambda: client.messages.create(model=model, max_tokens=5, messages=[]),
)
assert "messages" in bad.api_message
refused(
    anthropic.NotFoundError,
    "not_found_error",
    lambda: client.messages.create(model="no-such", max_tokens=5, messages=user),
)
refused(
    anthropic.BadRequestError,
    "invalid_request_error",
    lambda: client.messages.create(
        model=model,
        max_tokens=5,
        messages=user,
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
    ),
)
if key != "none":
    other = anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0)
    refused(
        anthropic.AuthenticationError,
        "authentication_error",
        lambda: other.messages.create(model=model, max_tokens=5, messages=user),
    )
step("refusals")
