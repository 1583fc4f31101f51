#!/usr/bin/env bash
# Plants faults in ggml's kernels at link time and looks at what a user then sees: the
# self-test names the buffer type, and `agent run` answers without it. Then starts this
# build on a lesser processor (qemu-user, where it is installed). By hand; some minutes.
#
# usage: scripts/check-faults.sh [Q4_0-MODEL.gguf]   a model with repacked weights, to run
#        after the faults; without one, the default model
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { printf 'check-faults: FAILED: %s\n' "$1" >&2; exit 1; }

# build_with NAME: builds the program with $work/NAME.c in front of ggml's own kernels
build_with() {
  cc -O1 -c "$work/$1.c" -o "$work/$1.o"
  CGO_LDFLAGS="$work/$1.o -Wl,-z,muldefs" go build -ldflags "-X agent/inference.BuildID=planted-$1" -o "$work/$1" ./cmd/agent
}

answer() {
  XDG_CACHE_HOME=$work/cache "$1" run "When does the train leave? Read travel.txt." --workdir examples/files --approve never \
    --temperature 0 --model "$model" 2>&1
}

plant() { # NAME BODY EXPECTED
  printf '== a kernel of CPU_REPACK that %s\n' "$1"
  cat >"$work/$1.c" <<C
#include <stddef.h>
void ggml_gemm_q4_0_8x8_q8_0(int n, float *s, size_t bs, const void *x, const void *y, int nr, int nc) { $2 }
C
  build_with "$1"
  XDG_CACHE_HOME=$work/cache "$work/$1" doctor --selftest | grep 'computing in' || true
  answer "$work/$1" >"$work/$1.out" || { cat "$work/$1.out"; fail "agent run with the fault"; }
  grep -E 'switched off|answered' "$work/$1.out"
  grep -q "CPU_REPACK is switched off on this machine: .*$3" "$work/$1.out" || fail "the warning does not name the buffer and the fault"
}

plant miscomputes 'for (int i = 0; i < nr; i++) for (int j = 0; j < nc; j++) s[i * bs + j] = 1;' 'wrong results with weights of type q4_0'
plant traps '__builtin_trap();' 'SIGILL'
plant overruns '*(volatile int *)16 = 1;' 'SIGSEGV'

qemu=$(command -v qemu-x86_64 qemu-x86_64-static | head -1 || true)
if [ -z "$qemu" ]; then
  echo "== a lesser processor: skipped, needs qemu-user"
  exit 0
fi
echo "== this build on a lesser processor"
for cpu in Nehalem Haswell; do
  status=0
  "$qemu" -cpu "$cpu" bin/agent choose "Yes or no?" --option yes --option no --model "$model" 2>&1 | grep -v '^qemu-' >"$work/qemu" || status=$?
  printf '%s: exit %d\n%s\n' "$cpu" "$status" "$(cat "$work/qemu")"
  if [ "$status" != 0 ] && { [ "$status" != 5 ] || ! grep -q 'lacks\|more instruction sets' "$work/qemu"; }; then fail "no clear error on $cpu"; fi
done
