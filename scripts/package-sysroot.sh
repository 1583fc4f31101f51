#!/usr/bin/env bash
# Puts into DIR what linking with Debian 11's C library (glibc 2.31) needs, for
# amd64 or arm64, so that packages run on systems as old as that. The compiler
# stays this machine's. Instant when it is there.
#
# usage: scripts/package-sysroot.sh ARCH DIR     APT_MIRROR: where apt finds bullseye
set -euo pipefail

arch=$1 dir=$2
suite=bullseye
packages=(libc6 libc6-dev libgcc-s1)
say() { printf 'package: %s\n' "$*" >&2; }

[ ! -f "$dir/.complete" ] || exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { say "no apt-get here"; exit 1; }
mirror=${APT_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Origin: Debian' | head -n 1)}
rm -rf "$dir" "$dir.tmp"
mkdir -p "$dir.tmp/apt/lists/partial" "$dir.tmp/apt/cache/archives/partial"
tmp=$(cd "$dir.tmp" && pwd)
trap 'rm -rf "$tmp"' EXIT
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$suite" >"$tmp/apt/sources.list"
: >"$tmp/apt/status"
options=(-qq -o "Dir::Etc::sourcelist=$tmp/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State=$tmp/apt"
  -o "Dir::State::status=$tmp/apt/status" -o "Dir::Cache=$tmp/apt/cache" -o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
  -o APT::Sandbox::User=root)
apt-get "${options[@]}" update >&2 || { say "$suite can't be reached by apt"; exit 1; }
(cd "$tmp/apt" && apt-get "${options[@]}" download "${packages[@]}" >&2) || { say "no $suite packages for $arch"; exit 1; }
mkdir "$tmp/root"
for deb in "$tmp"/apt/*.deb; do dpkg-deb -x "$deb" "$tmp/root"; done
# Links that name the root are made to name this one.
find "$tmp/root" -type l -lname '/*' | while read -r link; do
  ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$tmp/root$(readlink "$link")")" "$link"
done
touch "$tmp/root/.complete"
mv "$tmp/root" "$dir"
