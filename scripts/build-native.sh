#!/usr/bin/env bash
# Compiles llama.cpp, ggml and the shim into build/lib/$ACCEL/libagent_llama.a, and
# writes the archive's hash beside it. Does nothing when nothing changed.
#
#   ACCEL=cpu|cuda|metal|rpc|vulkan   which backends are compiled in
#   PORTABLE=1                 no -march=native: runs on any machine of this architecture
#   BENCH_TOOLS=1              also llama-bench, llama-batched-bench and llama-server
#   OPENMP=OFF                 ggml's own thread pool instead of OpenMP
set -euo pipefail
cd "$(dirname "$0")/.."

accel=${ACCEL:-cpu}
jobs=${JOBS:-2}
dir=build/$accel
lib=build/lib/$accel
log=$dir/build.log

say() { printf 'native: %s\n' "$*" >&2; }

# build/cpu and build/portable are different trees, so that switching costs nothing twice.
native=ON
if [ -n "${PORTABLE:-}" ]; then native=OFF; dir=build/$accel-portable; log=$dir/build.log; fi

options=(-DCMAKE_BUILD_TYPE=Release "-DGGML_NATIVE=$native" "-DGGML_OPENMP=${OPENMP:-ON}")
case $accel in
  cpu) options+=(-DGGML_METAL=OFF) ;;
  cuda) options+=(-DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF "-DCMAKE_CUDA_ARCHITECTURES=${CUDA_ARCH:-native}") ;;
  metal) options+=(-DGGML_METAL=ON -DGGML_METAL_EMBED_LIBRARY=ON) ;;
  vulkan) options+=(-DGGML_VULKAN=ON) ;;
  rpc) options+=(-DGGML_RPC=ON) ;;
  *) say "error: unknown ACCEL=$accel; known are cpu, cuda, metal, rpc, vulkan"; exit 1 ;;
esac
[ -z "${BENCH_TOOLS:-}" ] || options+=(-DAGENT_BENCH_TOOLS=ON)

mkdir -p "$dir" "$lib"
if [ ! -f "$dir/CMakeCache.txt" ] && command -v ninja >/dev/null 2>&1; then options+=(-G Ninja); fi

fail() {
  say "error: $1; the end of $log:"
  tail -n 25 "$log" >&2
  exit 1
}

# Configure only when the options differ from last time, or a first time.
wanted="${options[*]}"
if [ "$(cat "$dir/options" 2>/dev/null)" != "$wanted" ] || [ ! -f "$dir/CMakeCache.txt" ]; then
  [ -f "$lib/id" ] || say "compiling llama.cpp for $accel with $jobs jobs (some two minutes on 2 cores)"
  rm -f "$dir/options"
  cmake -S . -B "$dir" "${options[@]}" >"$log" 2>&1 || fail "cmake could not configure"
  printf '%s' "$wanted" >"$dir/options"
fi

targets=(agent_llama)
[ -z "${BENCH_TOOLS:-}" ] || targets+=(llama-bench llama-batched-bench llama-server)
for target in "${targets[@]}"; do
  if [ -t 2 ]; then
    cmake --build "$dir" --target "$target" -j "$jobs" 2>&1 | tee -a "$log" | sed -un 's/^\[ *\([0-9]*[/%][^]]*\)\].*/\1/p' |
      while read -r step; do printf '\rnative: %s   ' "$step" >&2; done || fail "compiling failed"
    printf '\r\033[K' >&2
  else
    cmake --build "$dir" --target "$target" -j "$jobs" >>"$log" 2>&1 || fail "compiling failed"
  fi
done

if ! cmp -s "$dir/libagent_llama.a" "$lib/libagent_llama.a"; then
  cp "$dir/libagent_llama.a" "$lib/.new.a"
  mv "$lib/.new.a" "$lib/libagent_llama.a"
  { sha256sum "$lib/libagent_llama.a" 2>/dev/null || shasum -a 256 "$lib/libagent_llama.a"; } | cut -c1-16 >"$lib/id"
  say "ready: $lib/libagent_llama.a ($(cat "$lib/id"))"
fi
