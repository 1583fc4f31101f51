"""Runs the checks of each language against both servers and prints one table. See
scripts/check-clients.sh."""

import argparse, pathlib, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parent
BUILT = HERE.parent.parent / "build" / "clients"
sys.path.insert(0, str(HERE.parent.parent / "bench"))
import beside

PROGRAMS = [
    [BUILT / "python/bin/python", HERE / "clients.py"],
    ["node", BUILT / "node/clients.mjs"],
    [BUILT / "openai-go"],
]


def main():
    args = beside.arguments(
        argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ).parse_args()
    failed = 0
    with beside.servers(args) as served:
        print(f"{'client':21} {'what':36} {'agent serve':60} llama-server")
        for program in PROGRAMS:
            columns = []
            for server in served:
                out = subprocess.run(
                    [*map(str, program), server.url, "m"], stdout=subprocess.PIPE, text=True
                )
                columns.append(
                    [line.split("\t") for line in out.stdout.splitlines() if line.count("\t") == 2]
                )
                if out.returncode:
                    sys.exit(
                        f"check-clients: {program[-1]} ended with {out.returncode} on {server.name}"
                    )
            for ours, *theirs in zip(*columns):
                failed += ours[2].startswith("FAILS")
                print(
                    f"{ours[0]:21} {ours[1]:36} {ours[2]:60} " + " ".join(t[2] for t in theirs),
                    flush=True,
                )
    sys.exit(f"check-clients: {failed} checks of agent serve fail" if failed else 0)


main()
