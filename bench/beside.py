"""Starts `agent serve` and llama-server on the same model, for the scripts beside this one.

with beside.servers(args) as served:   # args of a parser that beside.arguments() extended
    for server in served: …            # server.name, server.url, server.pid
"""

import contextlib, json, os, socket, subprocess, sys, time, urllib.error, urllib.request
from dataclasses import dataclass

READY_SECONDS = 120


@dataclass
class Server:
    name: str
    url: str
    pid: int

    def post(self, path, body, timeout=1200):
        """The reply as JSON; of an error, its status and text in ValueError."""
        req = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            return json.load(urllib.request.urlopen(req, timeout=timeout))
        except urllib.error.HTTPError as e:
            raise ValueError(f"{e.code} {e.read()[:500].decode(errors='replace')}") from None


def arguments(parser):
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument(
        "--agent",
        action="append",
        help="agent serve's program; several compare builds (default bin/agent)",
    )
    parser.add_argument(
        "--llama",
        default="build/cpu/bin/llama-server",
        help="llama-server's program; empty: without it",
    )
    parser.add_argument("--threads", type=int, default=2, help="0: as each server chooses")
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--kv", default="f16", help="type of the KV cache")
    return parser


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def commands(args):
    """Name, port and command line of each server."""
    for agent in args.agent or ["bin/agent"]:
        port = free_port()
        threads = [f"llm.threads={args.threads}"] if args.threads else []
        yield (
            agent,
            port,
            [
                agent,
                "serve",
                "-q",
                "--port",
                port,
                "--model",
                args.model,
                "--model-names",
                "m",
                f"llm.parallel={args.parallel}",
                f"llm.context_length={args.context}",
                f"llm.kv_type={args.kv}",
                *threads,
            ],
        )
    if args.llama:
        port = free_port()
        threads = ["-t", str(args.threads), "-tb", str(args.threads)] if args.threads else []
        yield (
            "llama-server",
            port,
            [
                args.llama,
                "--jinja",
                "--port",
                port,
                "-m",
                args.model,
                "-a",
                "m",
                "-np",
                str(args.parallel),
                "-c",
                str(args.context),
                "-kvu",
                "-ctk",
                args.kv,
                "-ctv",
                args.kv,
                "--cache-ram",
                "0",
                "--no-webui",
                "-lv",
                "1",
                *threads,
            ],
        )


def ready(process, url, log):
    for _ in range(READY_SECONDS * 5):
        try:
            return urllib.request.urlopen(url + "/health", timeout=5)
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)
    with open(log) as f:
        sys.exit(f"beside: {process.args[0]} did not start:\n{f.read()[-2000:]}")


@contextlib.contextmanager
def servers(args, logs=os.devnull):
    started, out = [], []
    try:
        for name, port, command in commands(args):
            log = (
                logs if logs == os.devnull else os.path.join(logs, os.path.basename(name) + ".log")
            )
            with open(log, "w") as f:
                p = subprocess.Popen(command, stdout=f, stderr=f)
            started.append(p)
            out.append(Server(name, "http://127.0.0.1:" + port, p.pid))
            ready(p, out[-1].url, log)
        yield out
    finally:
        for p in started:
            p.terminate()
        for p in started:
            p.wait()
