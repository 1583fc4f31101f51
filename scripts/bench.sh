#!/usr/bin/env bash
# Compares this program with llama.cpp's own benchmark tools, built from the same
# sources, in alternating rounds, and prints a table with targets. `make bench`
# builds what it needs and runs it.
#
#   ACCEL=cpu|cuda|metal|rpc|vulkan   which build
#   PORTABLE=1                 that of build-native.sh
#   ROUNDS=N                   rounds that count (default 7)
#   MODEL=REF                  another model than the default one
#
# Arguments go to `agentbench compare`: --json, --threads N, key=value …
# Only a measurement that could not be made is an error; a missed target is not.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=build/${ACCEL:-cpu}
if [ -n "${PORTABLE:-}" ]; then dir=$dir-portable; fi

if [ ! -x bin/agentbench ]; then
  echo "bench: error: bin/agentbench is missing" >&2
  echo "bench: hint: run \`make bench\`, which builds it" >&2
  exit 1
fi

args=(--tools "$dir/bin" --rounds "${ROUNDS:-7}")
if [ -n "${MODEL:-}" ]; then args+=(--model "$MODEL"); fi
exec bin/agentbench compare "${args[@]}" "$@"
