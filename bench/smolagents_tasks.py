#!/usr/bin/env python3
"""Has smolagents work on the tasks of bench/tasks that may be looked at, once over
`agent serve` and once over llama-server on the same model, with its ToolCallingAgent and its
CodeAgent; `agentbench judge` tells which are solved.

    pip install 'smolagents[openai]'
    bench/smolagents_tasks.py --model MODEL.gguf [--limit 6] [--agents tools,code]

Tasks with tools of their own are left out. The agents' code runs in a process of its own
with their folder as the current one, without a sandbox: use a machine that may be spoilt.
"""

import argparse, os, pathlib, re, shutil, subprocess, sys, tempfile, time

import beside

TASKS = pathlib.Path(__file__).resolve().parent / "tasks"
RESULT_MAX = 4000  # characters of a tool's result
STEPS, TOKENS = 8, 400


def looked_at(limit):
    out = []
    for folder in sorted(TASKS.iterdir()):
        text = (folder / "task.yaml").read_text()
        if not re.search(r"^(counted: true|tools:)", text, re.M):
            out.append(folder)
    return out[:limit]


def prompt_of(folder):
    import yaml

    return yaml.safe_load((folder / "task.yaml").read_text())["task"]


def tools(work):
    from smolagents import tool

    def inside(path):
        full = (work / path).resolve()
        if not full.is_relative_to(work):
            raise ValueError("the path leads out of the folder")
        return full

    @tool
    def list_files(folder: str) -> str:
        """Lists the files below a folder.

        Args:
            folder: the folder, "." for the whole
        """
        return "\n".join(
            str(p.relative_to(work)) for p in sorted(inside(folder).rglob("*")) if p.is_file()
        )[:RESULT_MAX]

    @tool
    def read_file(path: str) -> str:
        """Gives the text of a file.

        Args:
            path: the file
        """
        return inside(path).read_text()[:RESULT_MAX]

    @tool
    def write_file(path: str, text: str) -> str:
        """Writes a file, in place of what it held.

        Args:
            path: the file
            text: all of its new text
        """
        inside(path).parent.mkdir(parents=True, exist_ok=True)
        inside(path).write_text(text)
        return f"{path} is written"

    @tool
    def run_python(code: str) -> str:
        """Runs a Python program in the folder and gives what it printed.

        Args:
            code: the program
        """
        try:
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=work, capture_output=True, text=True, timeout=30
            )
        except subprocess.TimeoutExpired:
            return "it did not end within 30 s"
        return (done.stdout + done.stderr)[-RESULT_MAX:]

    return [list_files, read_file, write_file, run_python]


def solve(kind, server, folder):
    """Whether the task was solved, unusable replies, steps."""
    import smolagents

    with tempfile.TemporaryDirectory() as place:
        work = pathlib.Path(place).resolve()
        shutil.copytree(folder / "files", work, dirs_exist_ok=True)
        model = smolagents.OpenAIModel(
            model_id="m",
            api_base=server.url + "/v1",
            api_key="none",
            temperature=0,
            max_tokens=TOKENS,
        )
        make = {"tools": smolagents.ToolCallingAgent, "code": smolagents.CodeAgent}[kind]
        agent = make(tools=tools(work), model=model, max_steps=STEPS, verbosity_level=0)
        try:
            answer = str(agent.run(f'{prompt_of(folder)}\nThe files are in the folder ".".'))
        except Exception as e:
            answer = ""
            print(f"    {folder.name}: {type(e).__name__}: {str(e)[:200]}")
        steps = [s for s in agent.memory.steps if hasattr(s, "step_number")]
        unusable = sum(
            type(getattr(s, "error", None)).__name__
            in ("AgentParsingError", "AgentGenerationError", "AgentToolCallError")
            for s in steps
        )
        judged = subprocess.run(
            [os.environ.get("AGENTBENCH", "bin/agentbench"), "judge", "-q", folder.name, str(work)],
            input=answer,
            capture_output=True,
            text=True,
        )
        if judged.returncode not in (0, 1):
            sys.exit(judged.stderr)
        return judged.returncode == 0, unusable, len(steps)


def main():
    p = beside.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    p.add_argument("--limit", type=int)
    p.add_argument("--agents", default="tools,code")
    args = p.parse_args()
    tasks = looked_at(args.limit)
    with beside.servers(args) as served:
        for kind in args.agents.split(","):
            for server in served:
                start, results = time.monotonic(), []
                for folder in tasks:
                    results.append(solve(kind, server, folder))
                    print(
                        f"  {kind:6} {server.name[-24:]:24} {folder.name:20} solved {results[-1][0]}, {results[-1][1]} unusable of {results[-1][2]} steps",
                        flush=True,
                    )
                print(
                    f"{kind:6} {server.name[-24:]:24} {sum(r[0] for r in results)} of {len(tasks)} solved, {sum(r[1] for r in results)} unusable replies in "
                    f"{sum(r[2] for r in results)} steps, {time.monotonic() - start:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
