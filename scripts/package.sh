#!/usr/bin/env bash
# Writes dist/agent-VERSION-linux-ARCH.tar.gz, the .deb beside it and
# dist/SHA256SUMS: the program for every machine of an architecture, with no
# model in it. See docs/dev/packaging.md.
#
# usage: scripts/package.sh [ARCH…]     amd64, arm64; default: this machine's
#   VERSION=…   what it is called (default: git describe)
#   GLIBC=host  link with this machine's C library instead of Debian 11's
#   JOBS=N      compilers at a time
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
jobs=${JOBS:-2}
host=$(go env GOHOSTARCH)

say() { printf 'package: %s\n' "$*" >&2; }
die() { say "error: $1"; [ -z "${2:-}" ] || say "hint: $2"; exit 1; }

# logged WHAT COMMAND…: its output goes to the log, and its end here when it fails
logged() {
  local what=$1
  shift
  "$@" >>"$log" 2>&1 || { say "the end of $log:"; tail -n 25 "$log" >&2; die "$what failed"; }
}

# toolchain sets what differs between architectures.
toolchain() {
  cross=()
  case $arch in
    amd64) triple=x86_64-linux-gnu machine=x86_64 rust=x86_64-unknown-linux-gnu ;;
    arm64) triple=aarch64-linux-gnu machine=aarch64 rust=aarch64-unknown-linux-gnu ;;
    *) die "unknown architecture $arch" "known are amd64 and arm64" ;;
  esac
  if [ "$arch" = "$host" ]; then
    cc=${CC:-cc} cxx=${CXX:-c++} bin="" tokenizers=build/lib rust=""
  else
    cc=$triple-gcc cxx=$triple-g++ bin=$triple- tokenizers=build/lib/package-$arch
    cross=(-DCMAKE_SYSTEM_NAME=Linux "-DCMAKE_SYSTEM_PROCESSOR=$machine" "-DCMAKE_C_COMPILER=$cc" "-DCMAKE_CXX_COMPILER=$cxx")
  fi
  command -v "$cxx" >/dev/null || die "$cxx is needed" "on Debian: apt-get install g++-${triple/_/-}"
}

# c_library sets the flags that link with the older C library.
c_library() {
  local root=$PWD/build/sysroot/$arch
  link="" headers=""
  [ "${GLIBC:-}" != host ] || return 0
  scripts/package-sysroot.sh "$arch" "$root" ||
    die "Debian 11's C library could not be had" "GLIBC=host links with this machine's; the package then needs systems as new as this"
  link="-B$root/usr/lib/$triple -L$root/usr/lib/$triple -L$root/lib/$triple -Wl,--sysroot=$root"
  headers="-isystem $root/usr/include/$triple -isystem $root/usr/include" # they name the resolver's functions
}

native() {
  local options=(-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DAGENT_PACKAGE=ON "${cross[@]}"
    "-DCMAKE_MODULE_LINKER_FLAGS=$link" "-DCMAKE_SHARED_LINKER_FLAGS=$link")
  mkdir -p "$dir"
  if [ ! -f "$dir/CMakeCache.txt" ] && command -v ninja >/dev/null 2>&1; then options+=(-G Ninja); fi
  if [ "$(cat "$dir/options" 2>/dev/null)" != "${options[*]}" ]; then
    logged "cmake could not configure: it" cmake -S . -B "$dir" "${options[@]}"
    printf '%s' "${options[*]}" >"$dir/options"
  fi
  say "compiling llama.cpp for $arch, once for each kind of processor (some eight minutes on 2 cores, the first time)"
  logged compiling cmake --build "$dir" --target agent_llama -j "$jobs"
  mkdir -p "$stage/lib/agent"
  local m
  for m in $(cat "$dir/modules.txt"); do cp "$dir/modules/lib$m.so" "$stage/lib/agent/"; done
  id=$(cat "$dir/libagent_llama.a" "$stage"/lib/agent/*.so | sha256sum | cut -c1-16)
}

program() {
  env OUT="$tokenizers" TRIPLE="$rust" ${rust:+"CC_${rust//-/_}=$cc" "CXX_${rust//-/_}=$cxx" "AR_${rust//-/_}=${bin}ar"} \
    scripts/build-tokenizers.sh >&2
  # The folder of libstdc++.a comes first: -lstdc++ means the static one.
  local folders="-L$PWD/$dir -L$PWD/$tokenizers"
  local flags="$folders -lagent_llama -lstdc++ -lm -ldl -lpthread -Wl,--dynamic-list=$PWD/inference/shim/exports.txt"
  CGO_ENABLED=1 GOARCH=$arch CC="$cc $headers $link" CXX="$cxx $link" CGO_LDFLAGS=$folders \
    go build -trimpath -tags package -o "$stage/bin/agent" \
    -ldflags "-s -w -X agent/inference.BuildID=$id -X main.version=$version -linkmode external -extldflags '$flags'" ./cmd/agent
}

# complete checks that the program exports all that the modules want of it:
# a module that lacks a symbol would be left out in silence.
complete() {
  local missing
  missing=$(comm -23 \
    <("${bin}nm" -D --undefined-only "$stage"/lib/agent/*.so | awk '$1 == "U" && $2 !~ /@/ { print $2 }' | sort -u) \
    <("${bin}nm" -D --defined-only "$stage/bin/agent" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u))
  [ -z "$missing" ] || die "the modules want what the program does not export: $(echo $missing)" "add it to inference/shim/exports.txt"
}

# needed_glibc prints the newest version of the C library that any file asks for.
needed_glibc() {
  "${bin}objdump" -T "$stage/bin/agent" "$stage"/lib/agent/*.so | grep -o 'GLIBC_2[.0-9]*' | sort -uV | tail -n 1 | cut -d_ -f2
}

deb() {
  local v=${version#v}
  case $v in [0-9]*.*) ;; *) v=0~git.$v ;; esac
  cat >"$dir/nfpm.yaml" <<YAML
name: agent
arch: $arch
version: "$v"
version_schema: none
section: utils
maintainer: the authors of agent
description: language-model agent with the model inside the process
license: Apache-2.0
depends: ["libc6 (>= $glibc)", "libgcc-s1"]
contents:
  - {src: $stage/bin/agent, dst: /usr/bin/agent}
  - {src: $stage/lib/agent, dst: /usr/lib/agent, type: tree}
  - {src: LICENSE, dst: /usr/share/doc/agent/copyright}
  - {src: THIRD_PARTY.md, dst: /usr/share/doc/agent/THIRD_PARTY.md}
  - {src: README.md, dst: /usr/share/doc/agent/README.md}
YAML
  GOARCH=$host go run "$nfpm" package --config "$dir/nfpm.yaml" --packager deb --target "dist/$name.deb" >&2
}

for arch in "${@:-$host}"; do
  dir=build/package-$arch log=build/package-$arch/build.log
  name=agent-$version-linux-$arch stage=build/package-$arch/$name
  toolchain
  c_library
  scripts/fetch-llama.sh
  rm -rf "$dir"/agent-*-linux-"$arch"
  native
  mkdir -p "$stage/bin" dist
  program
  complete
  glibc=$(needed_glibc)
  cp README.md LICENSE THIRD_PARTY.md "$stage/"
  tar -C "$dir" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct 2>/dev/null || date +%s)" \
    -cf - "$name" | gzip -9n >"dist/$name.tar.gz"
  deb
  say "dist/$name.tar.gz and .deb: $(($(wc -c <"dist/$name.tar.gz") / 1000000)) MB; they need glibc $glibc or newer"
done
(cd dist && sha256sum agent-*.tar.gz agent-*.deb >SHA256SUMS)
say "dist/SHA256SUMS"
