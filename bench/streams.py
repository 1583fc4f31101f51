#!/usr/bin/env python3
"""Keeps 64 streams with tools running for five minutes, checks each reply, and prints how
much memory the server holds at each minute. Fails on a reply that is neither right nor a
clear error.

    bench/streams.py --model MODEL.gguf
"""

import argparse, collections, http.client, json, random, re, sys, threading, time

import beside

TOOLS = {
    "get_weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "unit": {"enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "unit"],
    },
    "add": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
    "stop_all": {"type": "object", "properties": {}},
}
CITIES = "Paris Rome Lima Oslo Cairo Tokyo Quito Accra Hanoi Delhi Sofia Minsk".split()


def ask(url, rng):
    """What became of one request: a word, and for a wrong one why."""
    choice = rng.choice(
        [
            "auto",
            "required",
            "none",
            {"type": "function", "function": {"name": rng.choice(list(TOOLS))}},
        ]
    )
    body = {
        "messages": [
            {
                "role": "user",
                "content": f"Weather in {rng.choice(CITIES)}, or {rng.randrange(1000)} + {rng.randrange(1000)}?",
            }
        ],
        "stream": True,
        "max_tokens": 40,
        "tool_choice": choice,
        "tools": [
            {"type": "function", "function": {"name": n, "parameters": s}} for n, s in TOOLS.items()
        ],
    }
    c = http.client.HTTPConnection(url.removeprefix("http://"), timeout=900)
    c.request(
        "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    r = c.getresponse()
    if r.status != 200:
        error = json.loads(r.read())["error"]
        return (
            ("refused", error["message"])
            if r.status in (429, 503) and error["message"]
            else ("wrong", f"{r.status} {error}")
        )
    calls, finish, ended = [], None, False
    for line in r:
        if line.startswith(b"data: [DONE]"):
            ended = True
        elif line.startswith(b"data: "):
            event = json.loads(line[6:])
            if "error" in event:
                return (
                    ("refused", event["error"]["message"])
                    if event["error"].get("message")
                    else ("wrong", str(event))
                )
            for part in event["choices"]:
                for call in part["delta"].get("tool_calls") or []:
                    if call["index"] == len(calls):
                        calls.append([call["function"]["name"], ""])
                    calls[call["index"]][1] += call["function"].get("arguments") or ""
                finish = part["finish_reason"] or finish
    if not ended or not finish:
        return "wrong", f"ended {ended}, finish {finish}"
    for i, (name, arguments) in enumerate(calls):
        if finish == "length" and i == len(calls) - 1:
            return "cut by max_tokens", ""
        schema, got = TOOLS.get(name), json.loads(arguments)
        if schema is None or set(schema.get("required", [])) - set(got):
            return "wrong", f"{name} {arguments}"
    if (choice == "none" and calls) or (
        choice not in ("none", "auto") and not calls and finish != "length"
    ):
        return "wrong", f"{choice}: {calls}"
    return ("calls" if calls else "text"), ""


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) / 1024


def main():
    p = beside.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    p.add_argument("--streams", type=int, default=64)
    p.add_argument("--minutes", type=int, default=5)
    p.set_defaults(llama="")
    args = p.parse_args()
    results, wrong = collections.Counter(), []
    with beside.servers(args) as (server, *_):
        until = time.monotonic() + 60 * args.minutes

        def client(seed):
            rng = random.Random(seed)
            while time.monotonic() < until:
                try:
                    kind, why = ask(server.url, rng)
                except Exception as e:
                    kind, why = "wrong", repr(e)
                results[kind] += 1
                if kind == "wrong":
                    wrong.append(why)
                elif kind == "refused":
                    time.sleep(1)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(args.streams)]
        print(f"at start {rss(server.pid):.0f} MiB", flush=True)
        for t in threads:
            t.start()
        for minute in range(1, args.minutes + 1):
            time.sleep(max(0, until - 60 * (args.minutes - minute) - time.monotonic()))
            print(
                f"{minute} min: {rss(server.pid):.0f} MiB, {sum(results.values())} replies",
                flush=True,
            )
        for t in threads:
            t.join()
        print(
            f"at the end {rss(server.pid):.0f} MiB; "
            + ", ".join(f"{n} {kind}" for kind, n in results.most_common())
        )
    sys.exit("\n".join(["wrong:", *wrong[:10]]) if wrong else 0)


if __name__ == "__main__":
    main()
