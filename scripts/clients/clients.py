"""Drives a server with official Python clients: URL MODEL. A line for each check: client,
what, and ok or why not, with tabs between. See scripts/check-clients.sh."""

import json, os, subprocess, sys

url, model = sys.argv[1:3]
v1 = url + "/v1"
ASK = "What is the weather in Paris? Use the tool."
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
checks = []


def check(client, what):
    def add(f):
        checks.append((client, what, f))
        return f

    return add


def get_weather(city: str) -> str:
    """Get the weather of a city.

    Args:
        city: its name
    """
    return f"sunny in {city}"


def function(strict=None):
    return {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather of a city.",
            "parameters": SCHEMA,
            "strict": strict,
        },
    }


def called(calls):
    """calls: pairs of a name and arguments, as text or an object."""
    calls = [(n, json.loads(a) if isinstance(a, str) else a) for n, a in calls]
    assert calls, "no call"
    for name, arguments in calls:
        assert name == "get_weather" and isinstance(arguments.get("city"), str), calls
    return f"{len(calls)} call(s)"


# ---- OpenAI


def client():
    import openai

    return openai.OpenAI(base_url=v1, api_key="none", max_retries=0, timeout=600)


def user(text="Name a colour."):
    return [{"role": "user", "content": text}]


@check("openai-python", "chat")
def _():
    r = client().chat.completions.create(model=model, messages=user(), temperature=0, max_tokens=12)
    assert r.choices[0].message.content and r.usage.completion_tokens


@check("openai-python", "chat, streamed")
def _():
    with client().chat.completions.stream(
        model=model,
        messages=user("Answer in one word: what colour is the sky?"),
        temperature=0,
        max_tokens=200,
    ) as s:
        for _ in s:
            pass
        assert s.get_final_completion().choices[0].message.content


@check("openai-python", "chat, a tool required")
def _():
    r = client().chat.completions.create(
        model=model,
        messages=user(ASK),
        tools=[function()],
        tool_choice="required",
        temperature=0,
        max_tokens=80,
    )
    assert r.choices[0].finish_reason == "tool_calls", r.choices[0]
    return called(
        [(c.function.name, c.function.arguments) for c in r.choices[0].message.tool_calls]
    )


@check("openai-python", "chat, tools in auto")
def _():
    r = client().chat.completions.create(
        model=model, messages=user(ASK), tools=[function()], temperature=0, max_tokens=80
    )
    return called(
        [(c.function.name, c.function.arguments) for c in r.choices[0].message.tool_calls or []]
    )


@check("openai-python", "chat, tools streamed and answered")
def _():
    with client().chat.completions.stream(
        model=model,
        messages=user(ASK),
        tools=[function(True)],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
        max_tokens=80,
    ) as s:
        for _ in s:
            pass
        m = s.get_final_completion().choices[0].message
    said = called(
        [
            (c.function.name, c.function.parsed_arguments or c.function.arguments)
            for c in m.tool_calls or []
        ]
    )
    history = [
        *user(ASK),
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": c.id,
                    "type": "function",
                    "function": {"name": c.function.name, "arguments": c.function.arguments},
                }
                for c in m.tool_calls
            ],
        },
    ]
    history += [{"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in m.tool_calls]
    assert (
        client()
        .chat.completions.create(
            model=model, messages=history, tools=[function()], tool_choice="none", max_tokens=20
        )
        .choices[0]
        .message.content
    )
    return said


@check("openai-python", ".parse")
def _():
    r = client().chat.completions.parse(
        model=model,
        messages=user(ASK),
        response_format=weather_class(),
        temperature=0,
        max_tokens=60,
    )
    assert r.choices[0].message.parsed.city


def weather_class():
    import pydantic

    class Weather(pydantic.BaseModel):
        city: str
        celsius: int

    return Weather


@check("openai-python", "responses")
def _():
    first = client().responses.create(
        model=model, input="Name a colour.", instructions="Be brief.", max_output_tokens=16
    )
    assert first.output_text and first.usage.output_tokens
    return (
        "continued"
        if client()
        .responses.create(
            model=model, input="Another.", previous_response_id=first.id, max_output_tokens=16
        )
        .output_text
        else ""
    )


@check("openai-python", "responses, streamed with a tool")
def _():
    tool = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}
    with client().responses.stream(
        model=model, input=ASK, tools=[tool], tool_choice="required", max_output_tokens=80
    ) as s:
        kinds = [e.type for e in s]
        r = s.get_final_response()
    assert "response.function_call_arguments.delta" in kinds, kinds
    return called([(o.name, o.arguments) for o in r.output if o.type == "function_call"])


@check("openai-python", "responses.parse")
def _():
    assert (
        client()
        .responses.parse(model=model, input=ASK, text_format=weather_class(), max_output_tokens=60)
        .output_parsed.city
    )


# ---- Anthropic


def claude():
    import anthropic

    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=600)


CLAUDE_TOOL = {
    "name": "get_weather",
    "description": "Get the weather of a city.",
    "input_schema": SCHEMA,
}


@check("anthropic-sdk-python", "messages")
def _():
    assert claude().messages.create(model=model, max_tokens=12, messages=user()).content[0].text


@check("anthropic-sdk-python", "messages, streamed")
def _():
    with claude().messages.stream(model=model, max_tokens=12, messages=user()) as s:
        assert "".join(s.text_stream) == s.get_final_message().content[0].text


@check("anthropic-sdk-python", "tools, whole and streamed")
def _():
    how = dict(
        model=model,
        max_tokens=80,
        messages=user(ASK),
        tools=[CLAUDE_TOOL],
        tool_choice={"type": "any"},
    )
    r = claude().messages.create(**how)
    assert r.stop_reason == "tool_use", r
    with claude().messages.stream(**how) as s:
        streamed = s.get_final_message()
    return called(
        [(b.name, b.input) for m in (r, streamed) for b in m.content if b.type == "tool_use"]
    )


@check("anthropic-sdk-python", "count_tokens")
def _():
    n = (
        claude()
        .messages.count_tokens(model=model, messages=user(ASK), tools=[CLAUDE_TOOL])
        .input_tokens
    )
    u = (
        claude()
        .messages.create(model=model, max_tokens=1, messages=user(ASK), tools=[CLAUDE_TOOL])
        .usage
    )
    used = u.input_tokens + (u.cache_read_input_tokens or 0) + (u.cache_creation_input_tokens or 0)
    assert n == used, f"{n} counted, {used} used"


# ---- libraries on them


def langchain():
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        base_url=v1, api_key="none", model=model, temperature=0, max_tokens=80, max_retries=0
    )


@check("langchain-openai", "bind_tools")
def _():
    return called(
        [
            (c["name"], c["args"])
            for c in langchain().bind_tools([get_weather], tool_choice="any").invoke(ASK).tool_calls
        ]
    )


@check("langchain-openai", "bind_tools, streamed")
def _():
    whole = None
    for part in langchain().bind_tools([get_weather], tool_choice="get_weather").stream(ASK):
        whole = part if whole is None else whole + part
    return called([(c["name"], c["args"]) for c in whole.tool_calls])


@check("langchain-openai", "with_structured_output")
def _():
    return f"{len([langchain().with_structured_output(weather_class(), method=m).invoke(ASK).city for m in ('json_schema', 'function_calling')])} ways"


def pydantic_agent(**how):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return Agent(
        OpenAIChatModel(model, provider=OpenAIProvider(base_url=v1, api_key="none")),
        model_settings={"temperature": 0, "max_tokens": 120},
        **how,
    )


@check("pydantic-ai", "tools")
def _():
    seen = []
    agent = pydantic_agent()

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        seen.append(("get_weather", {"city": city}))
        return "sunny" if len(seen) < 3 else "sunny. That is all."

    from pydantic_ai import UsageLimits

    try:
        assert agent.run_sync(ASK, usage_limits=UsageLimits(request_limit=5)).output
    except Exception as e:
        if "request_limit" not in str(e):
            raise
    return called(seen)


@check("pydantic-ai", "output_type")
def _():
    assert (
        pydantic_agent(output_type=weather_class())
        .run_sync("The weather in Paris: 21 degrees.")
        .output.city
    )


@check("litellm", "completion with tools")
def _():
    import litellm

    r = litellm.completion(
        model="openai/" + model,
        api_base=v1,
        api_key="none",
        messages=user(ASK),
        tools=[function()],
        tool_choice="required",
        temperature=0,
        max_tokens=80,
    )
    return called(
        [(c.function.name, c.function.arguments) for c in r.choices[0].message.tool_calls or []]
    )


@check("litellm", "streamed, and Anthropic's wire")
def _():
    import litellm

    parts = list(
        litellm.completion(
            model="openai/" + model,
            api_base=v1,
            api_key="none",
            messages=user(),
            stream=True,
            max_tokens=12,
        )
    )
    assert "".join(p.choices[0].delta.content or "" for p in parts)
    assert (
        litellm.completion(
            model="anthropic/" + model, api_base=url, api_key="none", messages=user(), max_tokens=12
        )
        .choices[0]
        .message.content
    )


def llm_model():
    from llm.default_plugins.openai_models import Chat

    return Chat("m", model_name=model, api_base=v1, supports_tools=True, supports_schema=True)


@check("llm", "prompt, schema and tools")
def _():
    m = llm_model()
    assert m.prompt("Name a colour.", key="none", max_tokens=12).text()
    assert json.loads(
        m.prompt(ASK, key="none", schema=weather_class(), max_tokens=60, stream=False).text()
    )["city"]
    r = m.prompt(ASK, key="none", tools=[get_weather], max_tokens=80, temperature=0, stream=False)
    r.text()
    return called([(c.name, c.arguments) for c in r.tool_calls()])


@check("smolagents", "ToolCallingAgent")
def _():
    from smolagents import OpenAIModel, ToolCallingAgent, tool

    seen = []

    @tool
    def get_weather(city: str) -> str:
        """Get the weather of a city.

        Args:
            city: its name
        """
        seen.append(("get_weather", {"city": city}))
        return "sunny"

    agent = ToolCallingAgent(
        tools=[get_weather],
        model=OpenAIModel(
            model_id=model, api_base=v1, api_key="none", temperature=0, max_tokens=120
        ),
        max_steps=2,
        verbosity_level=0,
    )
    agent.run("What is the weather in Paris?")
    errors = [
        str(s.error)
        for s in agent.memory.steps
        if getattr(s, "error", None) and "max steps" not in str(s.error).lower()
    ]
    assert not errors, errors
    calls = [c.name for s in agent.memory.steps for c in getattr(s, "tool_calls", None) or []]
    assert calls, "no call"
    return f"{len(calls)} call(s)"


@check("lm-eval", "local-completions, 20 items")
def _():
    here = os.path.dirname(os.path.abspath(__file__))
    out = subprocess.run(
        [
            sys.executable,
            os.path.join(here, "..", "..", "bench", "lmeval.py"),
            "score",
            v1,
            model,
            "20",
        ],
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr.strip().splitlines()[-1]
    return out.stdout.strip().splitlines()[-1]


def main():
    for client, what, f in checks:
        try:
            said = "ok" + (f" ({note})" if (note := f()) else "")
        except Exception as e:
            said = "FAILS: " + " ".join(f"{type(e).__name__}: {e}".split())[:160]
        print(client, what, said, sep="\t", flush=True)


main()
