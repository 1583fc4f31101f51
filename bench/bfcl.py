#!/usr/bin/env python3
"""Tool calls of the Berkeley Function Calling Leaderboard (v4) over HTTP: `agent serve` and
llama-server on the same model.

    pip install --no-deps bfcl-eval
    bench/bfcl.py --model MODEL.gguf [--limit 60] [CATEGORY…]

Data and checker are those of the package. Counted are right replies, calls of tools that
there are not, calls that the checker can't take (arguments that are no object, calls that
stand in the text), and the time. Tools are given to both servers alike, as JSON schemas and
with "_" for "." in names, as the leaderboard does it for OpenAI's models.
"""

import argparse, collections, importlib.util, json, pathlib, re, sys, time, types

import beside

TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
CATEGORIES = ["multiple", "parallel", "irrelevance", "simple_python"]


def checker():
    """The package's AST checker, without the clients of all models that it would import."""
    stub = types.ModuleType("bfcl_eval.constants.model_config")
    stub.MODEL_CONFIG_MAPPING = collections.defaultdict(
        lambda: types.SimpleNamespace(underscore_to_dot=True)
    )
    sys.modules[stub.__name__] = stub
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    return lambda *args: ast_checker(*args[:3], Language.PYTHON, args[3], "m")


def items(category, limit):
    data = pathlib.Path(importlib.util.find_spec("bfcl_eval").submodule_search_locations[0], "data")

    def read(path):
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]

    rows = read(data / f"BFCL_v4_{category}.json")[:limit]
    answers = data / "possible_answer" / f"BFCL_v4_{category}.json"
    truth = {a["id"]: a["ground_truth"] for a in read(answers)} if answers.exists() else {}
    return [(row, truth.get(row["id"])) for row in rows]


def schema(value):
    """A schema as the data has it, with JSON Schema's types."""
    if isinstance(value, list):
        return [schema(v) for v in value]
    if not isinstance(value, dict):
        return value
    out = {k: schema(v) for k, v in value.items() if k != "optional" or not isinstance(v, bool)}
    if isinstance(out.get("type"), str):
        out["type"] = TYPES.get(out["type"], out["type"])
    return out


def tools(row):
    return [
        {
            "type": "function",
            "function": {
                "name": f["name"].replace(".", "_"),
                "description": f["description"],
                "parameters": schema(f["parameters"]),
            },
        }
        for f in row["function"]
    ]


def judge(check, category, row, truth, message):
    """right, and what is wrong in kind: unknown name, unusable arguments, a call as text."""
    names = {f["name"].replace(".", "_") for f in row["function"]}
    calls, bad = [], None
    for call in message.get("tool_calls") or []:
        name, text = call["function"]["name"], call["function"]["arguments"]
        try:
            arguments = json.loads(text)
        except ValueError:
            arguments = None
        if name not in names:
            bad = "unknown name"
        elif not isinstance(arguments, dict):
            bad = "unusable"
        else:
            calls.append({name: arguments})
    content = message.get("content") or ""
    if not message.get("tool_calls") and any(
        re.search(r'"name"\s*:\s*"' + re.escape(n) + '"', content) for n in names
    ):
        bad = "as text"
    if category == "irrelevance":
        return not message.get("tool_calls") and not bad, bad, ""
    if bad or not calls:
        return False, bad, "no call"
    try:
        verdict = check(row["function"], calls, truth, category)
    except Exception as e:  # the checker takes no value that it did not expect
        return False, bad, repr(e)
    return (
        verdict["valid"],
        bad,
        str(verdict.get("error_type") or "") + " " + str(verdict["error"])[:200],
    )


def run(server, check, category, rows, out):
    score = collections.Counter()
    start = time.monotonic()
    for row, truth in rows:
        body = {
            "model": "m",
            "messages": row["question"][0],
            "tools": tools(row),
            "temperature": 0,
            "max_tokens": 400,
        }
        try:
            reply = server.post("/v1/chat/completions", body)["choices"][0]
        except ValueError as e:
            reply = {"message": {}, "finish_reason": str(e)}
            score["refused"] += 1
        right, bad, why = judge(check, category, row, truth, reply["message"])
        score["right"] += right
        score[bad or "usable"] += 1
        print(
            json.dumps(
                {
                    "server": server.name,
                    "id": row["id"],
                    "right": right,
                    "bad": bad,
                    "why": why,
                    "finish": reply["finish_reason"],
                    "message": reply["message"],
                }
            ),
            file=out,
            flush=True,
        )
    took = time.monotonic() - start
    print(
        f"{category:14} {server.name[-32:]:32} {score['right']:3} of {len(rows)} right ({100 * score['right'] / len(rows):.1f} %), {score['unknown name']} unknown names, "
        f"{score['unusable']} unusable, {score['as text']} as text, {score['refused']} refused, {took:.0f} s",
        flush=True,
    )


def main():
    p = beside.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    p.add_argument("categories", nargs="*", default=CATEGORIES)
    p.add_argument("--limit", type=int, help="of the items of each category")
    p.add_argument(
        "--out", default="/dev/null", help="a file for each reply and its verdict, as lines of JSON"
    )
    args = p.parse_args()
    check = checker()
    with beside.servers(args) as served, open(args.out, "a") as out:
        for category in args.categories:
            for server in served:
                run(server, check, category, items(category, args.limit), out)


if __name__ == "__main__":
    main()
