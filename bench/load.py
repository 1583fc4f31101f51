#!/usr/bin/env python3
"""Times running streams of a server while new prompts arrive, side by side with other
servers on the same model: time between tokens, time to the first one, and tokens per second
of the same work, in rounds that take turns.

    bench/load.py --model MODEL.gguf [--agent bin/agent]…
"""

import argparse, http.client, json, pathlib, random, statistics, threading, time

import beside

WORDS = pathlib.Path(__file__).with_name("decide.py").read_text().split()


def stream(url, words, tokens, rng, times):
    """Asks once; times gets the moments of the request and of each piece of text."""
    text = "Tell a long story with these words: " + " ".join(rng.choices(WORDS, k=words))
    body = {
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "temperature": 0,
        "max_tokens": tokens,
        "stream_options": {"include_usage": True},
    }
    c = http.client.HTTPConnection(url.removeprefix("http://"), timeout=600)
    times.append(time.monotonic())
    c.request(
        "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    r = c.getresponse()
    if r.status != 200:
        raise SystemExit(f"load: {r.status} {r.read()[:300]}")
    used = 0
    for line in r:
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if event.get("choices") and event["choices"][0]["delta"].get("content"):
                times.append(time.monotonic())
            used = (event.get("usage") or {}).get("total_tokens", used)
    return used


def client(url, words, tokens, requests, pause, seed, out):
    rng = random.Random(seed)
    for _ in range(requests):
        times = []
        used = stream(url, words, tokens, rng, times)
        out.append((times, used))
        time.sleep(pause)


def round_of(url, args, seed):
    running, arriving = [], []
    threads = [
        threading.Thread(target=client, args=(url, 20, args.tokens, 2, 0, f"{seed} s {i}", running))
        for i in range(args.streams)
    ]
    threads += [
        threading.Thread(
            target=client, args=(url, args.words, 8, args.prompts, 0.3, f"{seed} a {i}", arriving)
        )
        for i in range(args.arriving)
    ]
    start = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    wall = time.monotonic() - start
    gaps = [b - a for times, _ in running for a, b in zip(times[1:], times[2:])]
    first = [times[1] - times[0] for times, _ in arriving or running if len(times) > 1]
    return gaps, first, sum(used for _, used in running + arriving) / wall


def report(results):
    print(f"{'server':40} gap p50   gap p95   gap max   first token p50   tokens/s")
    for program, rounds in results.items():

        def mid(f):
            return statistics.median(f(*r) for r in rounds)

        cut = lambda gaps, q: sorted(gaps)[min(len(gaps) - 1, int(q * len(gaps)))] * 1000
        print(
            f"{program[-40:]:40} {mid(lambda g, f, t: cut(g, 0.5)):5.0f} ms  {mid(lambda g, f, t: cut(g, 0.95)):5.0f} ms  {mid(lambda g, f, t: max(g) * 1000):5.0f} ms"
            f"  {mid(lambda g, f, t: statistics.median(f)):9.2f} s       {mid(lambda g, f, t: t):6.1f}"
        )


def main():
    p = beside.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    p.add_argument(
        "--streams", type=int, default=4, help="clients with short prompts and long replies"
    )
    p.add_argument("--tokens", type=int, default=96, help="of each of their replies")
    p.add_argument(
        "--arriving", type=int, default=1, help="clients with long prompts and short replies"
    )
    p.add_argument("--words", type=int, default=100, help="of each of their prompts")
    p.add_argument("--prompts", type=int, default=6, help="that each of them sends")
    p.add_argument("--rounds", type=int, default=4)
    args = p.parse_args()
    args.parallel = args.streams + args.arriving
    with beside.servers(args) as served:
        results = {s.name: [] for s in served}
        for n in range(args.rounds + 1):
            for server in served:
                got = round_of(server.url, args, n)
                if n:  # the first one warms up
                    results[server.name].append(got)
    report(results)


if __name__ == "__main__":
    main()
