"""Drives an OpenAI-compatible server with the official client: URL KEY MODEL [REPLY].

REPLY is what the model always says; without it only the form is checked.
"""

import json
import sys

import openai

url, key, model = sys.argv[1:4]
reply = sys.argv[4] if len(sys.argv) > 4 else None
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=300)
user = [{"role": "user", "content": "Tell me about water."}]


def step(name):
    print("ok:", name, flush=True)


def refused(kind, code, call):
    try:
        call()
    except kind as e:
        assert e.code == code, (e.code, code)
        return e
    raise AssertionError(f"not refused: {code}")


assert model in [m.id for m in client.models.list()]
assert client.models.retrieve(model).id == model
step("models")

whole = client.chat.completions.create(
    model=model, messages=user, temperature=0, max_tokens=40, seed=1, stop=["\x01"]
)
text = whole.choices[0].message.content
assert text and whole.choices[0].finish_reason in ("stop", "length")
assert reply is None or text == reply
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
step("chat")

parts, usage = [], None
for chunk in client.chat.completions.create(
    model=model,
    messages=user,
    temperature=0,
    max_tokens=40,
    stream=True,
    stream_options={"include_usage": True},
):
    if chunk.choices:
        parts.append(chunk.choices[0].delta.content or "")
    usage = chunk.usage or usage
assert "".join(parts) == text, ("".join(parts), text)
assert usage.completion_tokens == whole.usage.completion_tokens
step("stream")

likely = client.chat.completions.create(
    model=model, messages=user, temperature=0, max_tokens=5, logprobs=True, top_logprobs=3
)
tokens = likely.choices[0].logprobs.content
assert b"".join(bytes(t.bytes) for t in tokens).decode() == likely.choices[0].message.content
assert all(t.logprob <= 0 for t in tokens)
step("logprobs")

several = client.chat.completions.create(model=model, messages=user, n=2, max_tokens=3, seed=3)
assert [c.index for c in several.choices] == [0, 1]
step("n")

schema = {
    "type": "object",
    "properties": {"wet": {"type": "string", "enum": ["yes", "no"]}},
    "required": ["wet"],
    "additionalProperties": False,
}
formed = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "Is water wet? Answer in JSON."}],
    temperature=0,
    max_tokens=60,
    response_format={
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    },
)
assert json.loads(formed.choices[0].message.content)["wet"] in ("yes", "no")
step("json_schema")

echoed = client.completions.create(
    model=model, prompt="Water is wet", echo=True, logprobs=2, max_tokens=1, temperature=0
)
choice = echoed.choices[0]
assert choice.text.startswith("Water is wet")
assert choice.logprobs.token_logprobs[0] is None
assert all(p is not None and p <= 0 for p in choice.logprobs.token_logprobs[1:])
assert "".join(choice.logprobs.tokens).startswith("Water is wet")
for token, offset in zip(choice.logprobs.tokens, choice.logprobs.text_offset):
    assert choice.text[offset:].startswith(token), (token, offset)
step("completions with echo")

streamed = client.completions.create(
    model=model, prompt="Water is", max_tokens=4, temperature=0, stream=True
)
assert "".join(c.choices[0].text for c in streamed)
step("completions as a stream")

try:
    vectors = client.embeddings.create(model=model, input=["water", "stone"])
    assert (
        len(vectors.data) == 2
        and len(vectors.data[0].embedding) == len(vectors.data[1].embedding) > 0
    )
    step("embeddings")
except openai.BadRequestError as e:
    assert e.code == "unsupported_endpoint", e
    step("embeddings (this model makes none)")

if hasattr(client, "decisions"):
    decided = (
        client.decisions.create(
            model=model,
            input="The water is boiling.",
            questions=[
                {
                    "type": "choice",
                    "name": "heat",
                    "instructions": "How warm is it?",
                    "choices": [{"value": "hot"}, {"value": "cold"}],
                }
            ],
        )
        if reply is None
        else None
    )
    assert decided is None or decided.answers[0].choice in ("hot", "cold")
    step("decisions")

e = refused(
    openai.BadRequestError,
    "context_length_exceeded",
    lambda: client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "seven green bottles " * 20000}]
    ),
)
assert "maximum context length is" in str(e)
refused(
    openai.NotFoundError,
    "model_not_found",
    lambda: client.chat.completions.create(model="none", messages=user),
)
refused(
    openai.BadRequestError,
    "unsupported_parameter",
    lambda: client.chat.completions.create(
        model=model,
        messages=user,
        modalities=["text", "audio"],
        audio={"voice": "ash", "format": "wav"},
    ),
)
refused(
    openai.BadRequestError,
    "unknown_parameter",
    lambda: client.chat.completions.create(
        model=model, messages=user, extra_body={"temprature": 1}
    ),
)
if key != "none":
    refused(
        openai.AuthenticationError,
        "invalid_api_key",
        lambda: client.with_options(api_key="wrong").models.list(),
    )
step("errors")

tool = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {
            "type": "object",
            "properties": {"place": {"enum": ["here", "there"]}},
            "required": ["place"],
        },
    },
}
try:
    called = client.chat.completions.create(
        model=model, messages=user, tools=[tool], tool_choice="required"
    ).choices[0]
    assert (
        called.finish_reason == "tool_calls"
        and called.message.tool_calls[0].function.name == "look"
    ), called
    assert json.loads(called.message.tool_calls[0].function.arguments)["place"] in (
        "here",
        "there",
    ), called
    answer = client.responses.create(model=model, input="hello", max_output_tokens=8)
    assert answer.output_text and answer.usage.output_tokens <= 8, answer
    step("tools and responses")
except openai.BadRequestError as e:
    assert e.param == "tools", e
    step("tools (this backend has none)")

with client.chat.completions.create(model=model, messages=user, stream=True) as stream:
    next(iter(stream))
step("a stream that is broken off")
