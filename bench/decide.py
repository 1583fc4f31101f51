#!/usr/bin/env python3
"""Labels product reviews in three ways: decide, a served model asked in text, and
`agent chat` for each. Run by hand, on a machine that does nothing else:

    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    bench/decide.py --agent bin/agent --model MODEL.gguf vaderSentiment-3.3.2.tar.gz

The reviews are those of the package that people rated at 1.5 or more, or -1.5 or
less, of 4: as many of each, in an order that a fixed seed gives.
"""

import argparse, csv, html, io, json, pathlib, random, resource, subprocess, tarfile, tempfile, time, urllib.request

QUESTION = "Is this product review positive or negative?"
LABELS = ["positive", "negative"]
ASKED = QUESTION + " Answer with the one word positive or negative.\n\n"
PORT = 8377


def reviews(archive, count):
    outer = tarfile.open(archive)
    inner = next(m for m in outer if m.name.endswith("hutto_ICWSM_2014.tar.gz"))
    data = tarfile.open(fileobj=io.BytesIO(outer.extractfile(inner).read()))
    name = next(m for m in data if m.name.endswith("amazonReviewSnippets_GroundTruth.txt"))
    by_label = {label: [] for label in LABELS}
    for line in data.extractfile(name).read().decode("utf-8", "replace").splitlines():
        _, rating, text = line.split("\t", 2)
        text = html.unescape(text).strip()
        if abs(float(rating)) >= 1.5 and 20 <= len(text) <= 160:
            by_label[LABELS[float(rating) < 0]].append((text, LABELS[float(rating) < 0]))
    random.seed(7)
    out = []
    for label in LABELS:
        random.shuffle(by_label[label])
        out += by_label[label][: count // 2]
    random.shuffle(out)
    return out


def by_decide(args, rows, folder):
    table = pathlib.Path(folder, "reviews.csv")
    with table.open("w", newline="") as f:
        csv.writer(f).writerows([("text",)] + [(text,) for text, _ in rows])
    options = [x for label in LABELS for x in ("--option", label)]
    labels = pathlib.Path(folder, "labels.txt")
    subprocess.run(
        [
            args.agent,
            "choose",
            "-q",
            "--model",
            args.model,
            "--each",
            table,
            "--out",
            labels,
            QUESTION,
            *options,
        ],
        check=True,
    )
    return labels.read_text().splitlines()


def label_of(reply):
    said = [label for label in LABELS if label in reply.lower()]
    return said[0] if len(said) == 1 else ""


def by_server(args, rows, _):
    server = subprocess.Popen(
        [args.agent, "serve", "--port", str(PORT), "--model", args.model],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{PORT}"
    try:
        while True:
            try:
                urllib.request.urlopen(address + "/health")
                break
            except OSError:
                time.sleep(0.2)
        out = []
        for text, _ in rows:
            body = {
                "messages": [{"role": "user", "content": ASKED + text}],
                "temperature": 0,
                "max_tokens": args.tokens,
            }
            reply = json.load(
                urllib.request.urlopen(address + "/v1/chat/completions", json.dumps(body).encode())
            )
            out.append(label_of(reply["choices"][0]["message"]["content"]))
        return out
    finally:
        server.terminate()
        server.wait()


def by_chat(args, rows, _):
    command = [
        args.agent,
        "chat",
        "-q",
        "--model",
        args.model,
        "--temperature",
        "0",
        "--max-tokens",
        str(args.tokens),
    ]
    return [
        label_of(
            subprocess.run(
                command + ["--", ASKED + text], check=True, capture_output=True, text=True
            ).stdout
        )
        for text, _ in rows
    ]


def processor():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("archive")
    p.add_argument("--agent", default="bin/agent")
    p.add_argument("--model", required=True)
    p.add_argument("--count", type=int, default=200)
    p.add_argument(
        "--chats", type=int, default=20, help="of them asked by agent chat, a process each"
    )
    p.add_argument("--tokens", type=int, default=16, help="most tokens of a reply in text")
    args = p.parse_args()
    rows = reviews(args.archive, args.count)
    for name, way, some in [
        ("decide", by_decide, rows),
        ("served, in text", by_server, rows),
        ("agent chat each", by_chat, rows[: args.chats]),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            start, before = time.monotonic(), processor()
            labels = way(args, some, folder)
            took, used = time.monotonic() - start, processor() - before
        right = sum(label == truth for label, (_, truth) in zip(labels, some))
        print(
            f"{name:16} {right} of {len(some)} right, {labels.count('')} without a label, {took:.1f} s, {took / len(some) * 1000:.0f} ms each, {used / len(some) * 1000:.0f} ms of a processor",
            flush=True,
        )


if __name__ == "__main__":
    main()
