#!/usr/bin/env bash
# Drives `agent serve`, and llama-server beside it, with the official clients of their
# protocols, and prints one table. Fails where ours fails. Installs the clients into
# build/clients.
#
#   scripts/check-clients.sh MODEL.gguf
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
model=${1:?usage: scripts/check-clients.sh MODEL.gguf}
readonly DIR=$PWD/build/clients HERE=scripts/clients
readonly PYTHON_PACKAGES='openai anthropic langchain-openai pydantic-ai-slim[openai] litellm llm smolagents[openai] lm-eval tenacity requests'
readonly NODE_PACKAGES='openai ai @ai-sdk/openai-compatible'

mkdir -p "$DIR/node"
if [ "$(cat "$DIR/python/installed" 2>/dev/null)" != "$PYTHON_PACKAGES" ]; then
  python3 -m venv "$DIR/python"
  # shellcheck disable=SC2086 # a list of arguments
  "$DIR/python/bin/python" -m pip install --quiet --disable-pip-version-check $PYTHON_PACKAGES >&2
  printf '%s' "$PYTHON_PACKAGES" >"$DIR/python/installed"
fi
if [ "$(cat "$DIR/node/installed" 2>/dev/null)" != "$NODE_PACKAGES" ]; then
  # shellcheck disable=SC2086 # a list of arguments
  npm install --prefix "$DIR/node" --no-audit --no-fund --silent $NODE_PACKAGES >&2
  printf '%s' "$NODE_PACKAGES" >"$DIR/node/installed"
fi
# Node finds packages beside the script alone.
cp "$HERE/clients.mjs" "$DIR/node/"
(cd "$HERE/openai-go" && GOFLAGS=-mod=mod CGO_ENABLED=0 go build -o "$DIR/openai-go" .)

export HOME=$DIR/home LLM_USER_PATH=$DIR/home/llm LITELLM_LOCAL_MODEL_COST_MAP=True
mkdir -p "$LLM_USER_PATH"
exec python3 "$HERE/table.py" --model "$model" --threads "${THREADS:-2}" --context 8192
