#!/usr/bin/env bash
# Shows whether the native code computes rightly on this machine, and fails where even the
# plain buffers of the processor do not. The verdict is kept: it takes a second once.
set -euo pipefail
cd "$(dirname "$0")/.."

verdict=$(bin/agent doctor | grep -E 'computing in|self-test|native engine' || true)
while read -r status what; do
  case $status in ok | hint:) ;; *) printf 'native: %s: %s\n' "$status" "$what" >&2 ;; esac
done <<<"$verdict"
if ! grep -q '^ok .*computing in CPU ' <<<"$verdict"; then
  echo "native: error: the native code does not compute on this machine; \`bin/agent doctor --selftest\` tells more" >&2
  exit 1
fi
