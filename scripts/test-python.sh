#!/usr/bin/env bash
# Makes the Python environments with the originals that tests compare with
# (Hugging Face's tokenizers and hub, Hydra, clients of OpenAI's,
# Anthropic's and Ollama's wires, FastChat), in
# build/python, and prints the shell lines that name them to the tests:
#
#   eval "$(scripts/test-python.sh)"
#
# Quick when they are there. The program itself needs no Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly DIR=$PWD/build/python

# environment NAME STEP…: one venv; each step is the arguments of one pip install
environment() {
  local name=$1 dir=$DIR/$1 packages
  shift
  if [ "$(cat "$dir/installed" 2>/dev/null)" = "$*" ]; then return; fi
  echo "test-python: installing $name" >&2
  rm -rf "$dir"
  python3 -m venv "$dir" >&2
  for packages in "$@"; do
    # shellcheck disable=SC2086 # a list of arguments
    "$dir/bin/python" -m pip install --quiet --no-input --disable-pip-version-check $packages >&2
  done
  printf '%s' "$*" >"$dir/installed"
}

environment reference 'tokenizers==0.22.1 hydra-core==1.3.8 openai anthropic ollama'
# FastChat asks for much that its servers do without, and for the pydantic of its time.
environment fastchat 'uvicorn requests numpy aiohttp httpx shortuuid tiktoken rich pydantic<2 fastapi<0.112' \
  '--no-deps fschat==0.2.36'

for name in AGENT_PYTHON AGENT_TEST_PYTHON AGENT_HYDRA_PYTHON AGENT_OPENAI_PYTHON AGENT_ANTHROPIC_PYTHON AGENT_OLLAMA_PYTHON; do
  printf 'export %s=%q\n' "$name" "$DIR/reference/bin/python"
done
printf 'export AGENT_FASTCHAT_PYTHON=%q\n' "$DIR/fastchat/bin/python"
