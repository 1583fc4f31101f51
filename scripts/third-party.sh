#!/usr/bin/env bash
# Writes THIRD_PARTY.md: every work of others that bin/agent contains, read from
# the very sources that are compiled. Run it after go.mod, llama.cpp or the
# tokenizers changed, and commit the result; a test names what is missing.
#
# usage: scripts/third-party.sh        after `make native`, which fetches the sources
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly OUT=THIRD_PARTY.md
readonly LLAMA=third_party/llama.cpp
readonly CRATE=build/tokenizers-src
readonly SYSTEMS=(linux darwin windows)
readonly TARGETS=({x86_64,aarch64}-unknown-linux-gnu {x86_64,aarch64}-apple-darwin)

say() { printf 'third-party: %s\n' "$*" >&2; }
die() { say "error: $1"; say "hint: $2"; exit 1; }

# licence_files DIR: the files in which a work states its terms
licence_files() { find "$1" -maxdepth 1 -type f -iregex '.*/\(un\)?\(licen[cs]e\|copying\|notice\)[^/]*' | LC_ALL=C sort; }

# spdx FILE…: the SPDX names of the licences whose texts are in them
spdx() {
  local all names=()
  all=$(cat "$@" /dev/null | tr -s ' \t\n*/' ' ')
  has() { case $all in *"$1"*) return 0 ;; esac; return 1; }
  ! has 'Permission is hereby granted, free of charge' || names+=(MIT)
  ! has 'Apache License Version 2.0' && ! has 'Licensed under the Apache License, Version 2.0' || names+=(Apache-2.0)
  ! has 'Mozilla Public License' || names+=(MPL-2.0)
  if has 'Redistribution and use in source and binary forms'; then
    if has 'Neither the name'; then names+=(BSD-3-Clause); else names+=(BSD-2-Clause); fi
  fi
  [ ${#names[@]} -gt 0 ] || return 1
  local IFS=+
  printf '%s\n' "${names[*]}" | sed 's/+/ and /g'
}

# copyright FILE…: who holds the rights, as the files say it
copyright() {
  cat "$@" /dev/null | sed -nE 's/\r$//; s/^[[:space:]*\/#]*(Copyright[: ]+(\([cC]\)|©|[0-9]{4}|The ).*)$/\1/p' |
    sed -E 's/[[:space:]]*[Aa]ll [Rr]ights [Rr]eserved\.?//; s/^Copyright:? *(\([cC]\)|©)? */© /; s/[ .]+$//; s/<?https?:[^ ]*>?//; s/\|/\\|/g; s/ *<[^>]*>//g' |
    grep -vE '\[yyyy\]|\{yyyy\}' | awk '!seen[$0]++' | paste -sd ';' - | sed 's/;/; /g'
}

row() { printf '| %s | %s | %s | %s |\n' "$@"; }
head_row() { row "$1" version licence 'copyright'; row --- --- --- ---; }

# modules ARG…: "PATH VERSION DIR" of each Go module that `go list ARG…` needs, on any system
modules() {
  local system
  for system in "${SYSTEMS[@]}"; do
    GOOS=$system CGO_ENABLED=1 go list -e -deps -f '{{with .Module}}{{if .Version}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' "$@"
  done | LC_ALL=C sort -u
}

module_rows() {
  local path version dir files
  while read -r path version dir; do
    [ -d "$dir" ] || die "the sources of $path $version are not here" "run: go mod download $path@$version"
    mapfile -t files < <(licence_files "$dir")
    row "[$path](https://pkg.go.dev/$path@$version)" "$version" \
      "$(spdx "${files[@]}" || die "no licence recognised in $dir" "extend spdx() in this script")" "$(copyright "${files[@]}")"
  done
}

# crates: "NAME vVERSION|LICENCE" of what libtokenizers.a is compiled from, on any
# system. Procedural macros run while compiling and leave nothing of their own behind.
crates() {
  local target
  for target in "${TARGETS[@]}"; do
    cargo tree --quiet --locked --manifest-path "$CRATE/Cargo.toml" --target "$target" \
      -e normal,no-proc-macro --prefix none --format '{p}|{l}'
  done | sed 's/ (\*)$//' | grep -v "$CRATE" | LC_ALL=C sort -u
}

crate_rows() {
  local name version licence dir files who
  crates | while IFS='|' read -r name licence; do
    version=${name##* v}
    name=${name% v*}
    dir=$(crate_dir "$name-$version")
    mapfile -t files < <(licence_files "$dir")
    who=$(copyright "${files[@]}")
    row "[$name](https://crates.io/crates/$name/$version)" "$version" "${licence//\// OR }" "${who:-$(authors "$dir/Cargo.toml")}"
  done
}

crate_dir() {
  local dir
  for dir in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1"; do
    if [ -d "$dir" ]; then printf '%s\n' "$dir"; return; fi
  done
  die "the sources of the crate $1 are not here" "run: cargo fetch --locked --manifest-path $CRATE/Cargo.toml"
}

# authors CARGO-TOML: for crates that carry no copyright line
authors() { awk '/^authors/ { on = 1 } on { print } on && /\]/ { exit }' "$1" | grep -oE '"[^"]+"' | sed -E 's/"//g; s/ *<[^>]*>//' | paste -sd ';' - | sed 's/;/; /g'; }

json_version() { awk '/#define NLOHMANN_JSON_VERSION_(MAJOR|MINOR|PATCH)/ { v = v s $3; s = "." } END { print v }' "$1"; }

crate_version() { awk '$1 == "github.com/daulet/tokenizers" { print $2 }' go.mod; }

# text FILE: a licence's wording, the same for all works under it; whose rights they are stands in the tables
text() { printf '\n### %s\n\n```text\n' "$1"; sed -E 's/\r$//; /^[[:space:]]*Copyright/d; /^[[:space:]]*All rights reserved/d' "$2" | sed -e '/./,$!d' | cat -s; printf '```\n'; }

write() {
  cat <<'TOP'
# Third-party works

`agent` is under the Apache License 2.0 (see LICENSE). The program that `make agent` builds contains the works below, each under its
own licence; where a choice is offered with OR, either may be taken. This file is written by `scripts/third-party.sh`.

## Go modules in bin/agent

TOP
  head_row module
  modules ./cmd/agent | module_rows
  row "[Go's standard library and runtime](https://go.dev)" "$(go env GOVERSION)" BSD-3-Clause "$(copyright "$(go env GOROOT)/LICENSE")"

  printf '\n## Go modules used by tests only\n\n'
  head_row module
  comm -13 <(modules ./cmd/agent) <(modules -test ./...) | module_rows

  printf '\n## Native code in libagent_llama.a\n\n'
  head_row work
  local tag
  tag=$(sed -n 's/^tag=//p' scripts/fetch-llama.sh)
  row '[llama.cpp and ggml](https://github.com/ggml-org/llama.cpp)' "$tag" MIT "$(copyright $LLAMA/LICENSE)"
  row "llamafile's matrix kernels, in ggml" "$tag" MIT "$(copyright <(head -n 5 $LLAMA/ggml/src/ggml-cpu/llamafile/sgemm.cpp))"
  row '[JSON for Modern C++](https://github.com/nlohmann/json)' "$(json_version $LLAMA/vendor/nlohmann/json.hpp)" MIT "$(copyright $LLAMA/licenses/LICENSE-jsonhpp)"
  row '[libgomp](https://gcc.gnu.org/onlinedocs/libgomp), where GCC compiles' 'of the compiler' 'GPL-3.0 WITH GCC-exception-3.1' '© Free Software Foundation, Inc.'
  row '[libstdc++](https://gcc.gnu.org/onlinedocs/libstdc++), in packages' 'of the compiler' 'GPL-3.0 WITH GCC-exception-3.1' '© Free Software Foundation, Inc.'

  printf '\n## Rust crates in libtokenizers.a\n\n'
  printf 'The archive is compiled from the crate inside github.com/daulet/tokenizers %s (MIT, above).\n\n' "$(crate_version)"
  head_row crate
  crate_rows
  row '[Oniguruma](https://github.com/kkos/oniguruma), in onig_sys' 6.9 BSD-2-Clause "$(copyright "$(crate_dir onig_sys-"$(locked onig_sys)")/oniguruma/COPYING")"
  row "sais.hxx and esa.hxx, in esaxx-rs" "$(locked esaxx-rs)" MIT "$(copyright "$(crate_dir esaxx-rs-"$(locked esaxx-rs)")"/src/*.hxx)"
  row "[Rust's standard library](https://www.rust-lang.org)" "$(rustc --version | cut -d' ' -f2)" 'MIT OR Apache-2.0' 'The Rust Project contributors'

  cat <<'MODELS'

## Models

Fetched on request, verified by SHA-256, never part of the program or of this repository. models/catalog.yaml has the sources.

MODELS
  row model parameters licence file
  row --- --- --- ---
  awk '/^  - name:/ { name = $3 } /^    file:/ { file = $2 } /^    license:/ { l = $2 } /^    params:/ { p = $2 }
    /^    sources:/ { print "| " name " | " p " | " l " | " file " |" }' models/catalog.yaml

  cat <<'TEXTS'

## The licences' words

The Apache License 2.0 stands in LICENSE. The Mozilla Public License 2.0 is at <https://www.mozilla.org/MPL/2.0/>; the sources of the
modules under it are those that the tables link to, unchanged. The Unlicense, the Zlib and the Boost licence are offered only beside
MIT or Apache-2.0, which are the ones taken.
TEXTS
  text MIT $LLAMA/LICENSE
  text BSD-3-Clause "$(go env GOROOT)/LICENSE"
  text BSD-2-Clause "$(crate_dir onig_sys-"$(locked onig_sys)")/oniguruma/COPYING"
}

# locked CRATE: its version in the lock file
locked() { awk -v n="\"$1\"" '$1 == "name" { hit = $3 == n } hit && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' "$CRATE/Cargo.lock"; }

[ -f "$LLAMA/LICENSE" ] && [ -f "$CRATE/Cargo.toml" ] || die "the native sources are not here" "run: make native"
write >"$OUT.tmp" || { rm -f "$OUT.tmp"; exit 1; }
mv "$OUT.tmp" "$OUT"
say "wrote $OUT"
