#!/usr/bin/env bash
# Builds build/lib/libtokenizers.a, the Hugging Face tokenizers library that the
# Go package tokenizer/ links, from the Rust crate inside the Go module
# github.com/daulet/tokenizers. The version is the one go.mod requires.
#
# Quiet and instant when the archive is up to date. May be interrupted at any
# point and run again: the archive appears by a rename, after it is complete, and
# cargo continues a half-done build.
#
# usage: scripts/build-tokenizers.sh [--force]
#   CARGO  the cargo to use (default: cargo)
#   OUT    where the archive and its stamp go (default: build/lib)
#   TRIPLE another machine, as Rust names it, to build for (default: this one)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly MODULE=github.com/daulet/tokenizers
readonly CARGO=${CARGO:-cargo}
readonly OUT=${OUT:-build/lib}
readonly SRC=build/tokenizers-src
readonly TRIPLE=${TRIPLE:-}
readonly TARGET=build/tokenizers-target${TRIPLE:+-$TRIPLE}
readonly ARCHIVE=$OUT/libtokenizers.a
readonly STAMP=$OUT/libtokenizers.stamp

say() { printf 'tokenizers: %s\n' "$*"; }
die() { # message, hint
	printf 'tokenizers: error: %s\n' "$1" >&2
	printf 'tokenizers: hint: %s\n' "$2" >&2
	exit 1
}

need() { # tool, how to get it
	command -v "$1" >/dev/null 2>&1 || die "$1 is needed and was not found" "$2"
}

# sha256 prints "HEX  NAME" lines, as Linux and macOS both can.
sha256() {
	if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"; else shasum -a 256 "$@"; fi
}

# module_version prints the version that go.mod requires.
module_version() {
	awk -v m="$MODULE" '$1 == m { print $2; exit } $1 == "require" && $2 == m { print $3; exit }' go.mod
}

# expected_sum prints the module's hash as go.sum has it.
expected_sum() {
	awk -v m="$MODULE" -v v="$1" '$1 == m && $2 == v { print $3; exit }' go.sum
}

# tree_sum prints the Go module hash (h1, see golang.org/x/mod/sumdb/dirhash) of
# the files under a directory: the check that `go mod verify` makes, applied to
# the very copy that will be compiled.
tree_sum() { # dir, version
	local prefix="$MODULE@$2/"
	printf 'h1:%s\n' "$(
		cd "$1" && find . -type f | sed 's|^\./||' | LC_ALL=C sort | tr '\n' '\0' |
			xargs -0 bash -c "$(declare -f sha256); sha256 \"\$@\"" sha256 |
			awk -v p="$prefix" '{ h = $1; sub(/^[^ ]+ [ *]/, ""); print h "  " p $0 }' |
			sha256 | cut -d' ' -f1 | hex_to_base64
	)"
}

hex_to_base64() {
	local hex
	read -r hex
	printf '%b' "$(printf '%s' "$hex" | sed 's/../\\x&/g')" | base64 | tr -d '\n'
}

# fetch_source puts the verified sources of the module at $SRC.
fetch_source() { # version
	local sum info dir got
	sum=$(expected_sum "$1")
	[ -n "$sum" ] || die "go.sum has no hash of $MODULE $1" "run: go mod download $MODULE@$1, and commit go.sum"
	if [ -d "$SRC" ] && [ "$(tree_sum "$SRC" "$1")" = "$sum" ]; then return; fi

	say "fetching $MODULE $1"
	info=$(go mod download -json "$MODULE@$1") ||
		die "could not download $MODULE $1" "check the network and GOPROXY, then run this again"
	dir=$(printf '%s\n' "$info" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",\{0,1\}$/\1/p')
	[ -d "$dir" ] || die "the go command reported no directory for $MODULE $1" "run: go mod download $MODULE@$1"

	rm -rf "$SRC.tmp" "$SRC"
	cp -R "$dir" "$SRC.tmp"
	chmod -R u+w "$SRC.tmp"
	got=$(tree_sum "$SRC.tmp" "$1")
	if [ "$got" != "$sum" ]; then
		rm -rf "$SRC.tmp"
		die "$MODULE $1 has hash $got, go.sum says $sum" "the module cache was changed; run: go clean -modcache"
	fi
	mv "$SRC.tmp" "$SRC"
}

main() {
	local version rustc want
	need "$CARGO" "install Rust from https://rustup.rs (or: apt-get install cargo)"
	need rustc "install Rust from https://rustup.rs (or: apt-get install rustc)"
	version=$(module_version)
	[ -n "$version" ] || die "go.mod does not require $MODULE" "run: go get $MODULE"
	rustc=$(rustc --version)
	want="$MODULE $version $(expected_sum "$version"), $rustc, flags '${RUSTFLAGS:-}'${TRIPLE:+, for $TRIPLE}"

	if [ "${1:-}" != --force ] && [ -f "$ARCHIVE" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$want" ]; then
		return
	fi
	need go "install Go from https://go.dev/dl"
	need cc "install a C compiler (for example: apt-get install build-essential)"

	mkdir -p "$OUT" build
	fetch_source "$version"

	say "compiling with $rustc (about 3 minutes on 2 cores)"
	CARGO_TARGET_DIR=$PWD/$TARGET "$CARGO" build --release --locked --lib ${TRIPLE:+--target "$TRIPLE"} \
		--manifest-path "$SRC/Cargo.toml" ||
		die "cargo could not build the tokenizers library" "the first error above says why; without network, run once with it: cargo keeps what it fetched"

	cp "$TARGET/${TRIPLE:+$TRIPLE/}release/libtokenizers.a" "$ARCHIVE.tmp"
	rm -f "$STAMP"
	mv "$ARCHIVE.tmp" "$ARCHIVE"
	printf '%s\n' "$want" >"$STAMP.tmp"
	mv "$STAMP.tmp" "$STAMP"
	rm -rf "$TARGET" # half a gigabyte that is not needed again
	say "built $ARCHIVE"
}

main "$@"
