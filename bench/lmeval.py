#!/usr/bin/env python3
"""Scores 200 questions of four options with lm-evaluation-harness over HTTP, and compares
each option's log-probability with that of `agent choose`; llama-server beside it.

    pip install lm-eval tenacity requests   # without torch or transformers
    bench/lmeval.py --model MODEL.gguf --kv bf16
    bench/lmeval.py score http://127.0.0.1:8080/v1 MODEL-NAME 20   # a server that runs
"""

import argparse, json, logging, os, pathlib, subprocess, sys, tempfile, time

import beside

os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", OPENAI_API_KEY="none", TQDM_DISABLE="1"
)
EQUAL_NATS = 1e-3
CAPITALS = dict(
    pair.split(":")
    for pair in (
        "France:Paris Spain:Madrid Italy:Rome Japan:Tokyo Egypt:Cairo Peru:Lima Kenya:Nairobi Norway:Oslo Greece:Athens Cuba:Havana Chile:Santiago "
        "Poland:Warsaw Austria:Vienna Sweden:Stockholm Portugal:Lisbon Finland:Helsinki Ireland:Dublin Denmark:Copenhagen Hungary:Budapest Thailand:Bangkok"
    ).split()
)
FORMS = [
    "The capital of {} is",
    "What is the capital of {}?",
    "Name the capital of {}.",
    "{}'s capital city is called",
    "Which city is the capital of {}?",
    "The seat of the government of {} is in",
    "Where would you find the parliament of {}?",
    "Complete: the capital of {} is",
    "In which city does the president of {} live?",
    "A guide to {} begins in its capital, which is",
]


def questions(count):
    """(text, options, index of the right one) of each."""
    out, cities = [], list(CAPITALS.values())
    for n, form in enumerate(FORMS):
        for i, (country, city) in enumerate(CAPITALS.items()):
            options = [cities[(i + k * (2 * n + 1)) % len(cities)] for k in range(4)]
            options[0], options[(i + n) % 4] = options[(i + n) % 4], options[0]
            out.append((form.format(country), options, options.index(city)))
    return out[:count]


def evaluate(v1, model, rows, remote):
    """rows: (context, continuations, index of the right one). The score, log-probabilities
    of each row, and the seconds that it took."""
    import lm_eval

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "items.jsonl")
        data.write_text(
            "".join(json.dumps({"ctx": c, "opts": o, "gold": g}) + "\n" for c, o, g in rows)
        )
        task = {
            "task": "capitals",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": folder},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{ctx}}",
            "doc_to_choice": "{{opts}}",
            "doc_to_target": "{{gold}}",
            "target_delimiter": "",
            "metric_list": [{"metric": "acc"}],
        }
        arguments = f"base_url={v1}/completions,model={model},max_retries=1" + (
            ",tokenizer_backend=remote" if remote else ",tokenizer_backend=None"
        )
        start = time.monotonic()
        got = lm_eval.simple_evaluate(
            model="local-completions",
            model_args=arguments,
            tasks=[task],
            log_samples=True,
            bootstrap_iters=0,
        )
    samples = sorted(got["samples"]["capitals"], key=lambda s: s["doc_id"])
    return (
        got["results"]["capitals"]["acc,none"],
        [[float(r[0][0]) for r in s["resps"]] for s in samples],
        time.monotonic() - start,
    )


def moved(server, text):
    """Log-probability of the white space at the end of a prompt: the harness counts it with
    what follows."""
    got = server.post(
        "/v1/completions",
        {
            "model": "m",
            "prompt": text,
            "max_tokens": 1,
            "logprobs": 1,
            "echo": True,
            "temperature": 0,
        },
    )["choices"][0]["logprobs"]
    start = len(text.rstrip())
    return sum(
        p for at, p in zip(got["text_offset"], got["token_logprobs"]) if start <= at < len(text)
    )


def score(v1, model, count):
    rows = [(text, [" " + o for o in options], gold) for text, options, gold in questions(count)]
    acc, logprobs, took = evaluate(v1, model, rows, True)
    assert all(p < 0 for row in logprobs for p in row), logprobs
    print(f"{acc:.2f} right, {4 * len(rows) / took:.0f} requests/s")


def chosen(args, rows):
    """Log-probabilities by `agent choose`, in a process of its own: of the options alone, which
    "mean" scores, without the end of the reply."""
    lines = "".join(
        json.dumps({"messages": [{"role": "user", "content": text}], "options": options}) + "\n"
        for text, options, _ in rows
    )
    command = [
        (args.agent or ["bin/agent"])[0],
        "choose",
        "-q",
        "--batch",
        "--json",
        "--method",
        "mean",
        "--model",
        args.model,
        f"llm.kv_type={args.kv}",
        f"llm.threads={args.threads}",
        f"llm.context_length={args.context}",
    ]
    out = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [
        [o["logprob"] * o["tokens"] for o in json.loads(line)["options"]]
        for line in out.splitlines()
    ]


def main():
    if sys.argv[1:2] == ["score"]:
        return score(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    p = beside.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    p.add_argument("--count", type=int, default=len(FORMS) * len(CAPITALS))
    args = p.parse_args()
    rows = questions(args.count)
    with beside.servers(args) as served:
        ours = served[0]
        rendered = []
        for text, options, gold in rows:  # as the model's own template has it
            ids = ours.post("/tokenize", {"messages": [{"role": "user", "content": text}]})[
                "tokens"
            ]
            rendered.append((ours.post("/detokenize", {"tokens": ids})["prompt"], options, gold))
        acc, logprobs, took = evaluate(ours.url + "/v1", "m", rendered, True)
        over_http = [
            [p - moved(ours, text) for p in row] for row, (text, _, _) in zip(logprobs, rendered)
        ]
        print(
            f"agent serve   {acc:.3f} right, {4 * len(rows)} requests in {took:.0f} s ({4 * len(rows) / took:.1f}/s)",
            flush=True,
        )
        for other in served[1:]:
            for remote in (True, False):
                try:
                    acc, _, took = evaluate(other.url + "/v1", "m", rendered, remote)
                    print(f"{other.name}  {acc:.3f} right in {took:.0f} s", flush=True)
                except BaseException as e:  # the harness exits in some cases
                    print(
                        f"{other.name}, tokenizer_backend={'remote' if remote else 'None'}: {type(e).__name__}: {' '.join(str(e).split())[:200]}",
                        flush=True,
                    )
    apart = [abs(a - b) for x, y in zip(over_http, chosen(args, rows)) for a, b in zip(x, y)]
    print(
        f"agent choose  {len(apart)} options, at most {max(apart):.2e} nats apart, {sum(a > EQUAL_NATS for a in apart)} by more than {EQUAL_NATS}"
    )
    sys.exit(max(apart) > EQUAL_NATS)


if __name__ == "__main__":
    main()
