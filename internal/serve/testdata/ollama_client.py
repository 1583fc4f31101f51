"""Drives a server of Ollama's wire with the official client: URL KEY MODEL [REPLY].

REPLY is what the model says where it calls no tool; without it only the form is checked.
"""

import sys

import ollama

url, key, model = sys.argv[1:4]
reply = sys.argv[4] if len(sys.argv) > 4 else None
client = ollama.Client(host=url, headers={"Authorization": "Bearer " + key}, timeout=300)
few = {"temperature": 0, "num_predict": 40 if reply else 12, "num_ctx": 2048, "seed": 1}
user = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the weather in Paris?"},
]


def get_weather(city: str) -> str:
    """Get the weather of a city.

    Args:
      city: its name
    """
    return "sunny in " + city


def step(name):
    print("ok:", name, flush=True)


listed = [m.model for m in client.list().models]
assert listed == [model + ":latest"], listed
shown = client.show(listed[0])
assert "completion" in shown.capabilities and shown.modelinfo["agent.context_length"] > 0, shown
assert client.ps().models[0].name == listed[0]
step("list, show, ps")

whole = client.chat(model=listed[0], messages=user, options=few, keep_alive="5m", think=False)
assert (
    whole.message.role == "assistant" and whole.done and whole.done_reason in ("stop", "length")
), whole
assert whole.prompt_eval_count > 0 and whole.eval_count > 0 and whole.total_duration > 0
assert reply is None or whole.message.content == reply, whole.message.content
parts = list(client.chat(model=model, messages=user, options=few, stream=True))
assert "".join(p.message.content for p in parts) == whole.message.content
assert (
    [p.done for p in parts].count(True) == 1
    and parts[-1].done
    and parts[-1].eval_count == whole.eval_count
)
step("chat, whole and streamed")

schema = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
}
import json

made = json.loads(
    client.chat(
        model=model, messages=user, format=schema, options={"temperature": 0}
    ).message.content
)
assert isinstance(made["city"], str), made
json.loads(
    client.generate(
        model=model, prompt="Say something.", format=schema, options={"temperature": 0}
    ).response
)
step("format")

if "tools" in shown.capabilities:
    called = client.chat(
        model=model,
        messages=user,
        tools=[get_weather],
        options={"temperature": 0, "num_predict": 60},
    )
    streamed = list(
        client.chat(
            model=model,
            messages=user,
            tools=[get_weather],
            options={"temperature": 0, "num_predict": 60},
            stream=True,
        )
    )
    calls = [c for p in streamed for c in p.message.tool_calls or []]
    assert [(c.function.name, c.function.arguments) for c in called.message.tool_calls or []] == [
        (c.function.name, c.function.arguments) for c in calls
    ]
    for call in calls:
        assert call.function.name == "get_weather" and isinstance(
            call.function.arguments["city"], str
        ), call
    assert reply is None or calls, called
    history = [
        *user,
        called.message,
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
    ]
    assert client.chat(model=model, messages=history, options=few).message.content
    step(f"tools: {len(calls)} calls")

once = client.generate(model=model, prompt="Hello.", system="Be brief.", options=few)
assert once.response and once.done and once.prompt_eval_count > 0
assert (
    "".join(
        p.response
        for p in client.generate(
            model=model, prompt="Hello.", system="Be brief.", options=few, stream=True
        )
    )
    == once.response
)
assert client.generate(model=model, prompt="Hello", raw=True, options=few).response
assert client.generate(model=model).done_reason == "load"
step("generate")

if "embedding" in shown.capabilities:
    vectors = client.embed(model=model, input=["one", "two"]).embeddings
    assert len(vectors) == 2 and len(vectors[0]) == len(vectors[1]) > 1
    assert list(client.embeddings(model=model, prompt="one").embedding) == list(vectors[0])
    step("embed")


def refused(status, call):
    try:
        call()
    except ollama.ResponseError as e:
        assert e.status_code == status and e.error, (e.status_code, e.error)
        return e.error
    raise AssertionError(f"not refused: {status}")


assert "huge" in refused(404, lambda: client.chat(model="huge", messages=user))
assert "mirostat" in refused(
    400, lambda: client.chat(model=model, messages=user, options={"mirostat": 2})
)
assert "images" in refused(400, lambda: client.generate(model=model, prompt="x", images=["aGk="]))
refused(404, lambda: client.pull(model))
refused(
    401 if key != "none" else 404, lambda: ollama.Client(host=url).chat(model="huge", messages=user)
)
step("errors")
