#!/usr/bin/env bash
# Proves a package of dist/ where nothing of this machine can help it: in a bare
# Debian 11 (glibc 2.31, no compiler, no Python, no network), and on emulated
# processors. It must give the native answers on each of them.
#
# usage: scripts/check-package.sh TARBALL [CPU…]     as root
#   CPU   what QEMU may emulate (default for amd64: Nehalem SandyBridge Haswell EPYC; for arm64: cortex-a72 max)
#   RUN=0 leaves out `agent run` on emulated processors, which takes minutes on each
#
# Needs mmdebstrap and qemu-user-static, and Linux 6.7: there a namespace has its
# own binfmt_misc, so that this machine's stays as it is.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tarball=$1
shift
name=$(basename "$tarball" .tar.gz)
arch=${name##*-}
model=SmolLM2-135M-Instruct.Q4_1.gguf
task="When does the train leave? Read travel.txt."
question="What is the capital of France?"

say() { printf 'check-package: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

[ "$(id -u)" = 0 ] || die "run it as root: it makes a root file system"
case $arch in
  amd64) qemu=qemu-x86_64-static cpus=(Nehalem SandyBridge Haswell EPYC) ;;
  arm64) qemu=qemu-aarch64-static cpus=(cortex-a72 max) ;;
  *) die "$tarball: no architecture that is known" ;;
esac
[ $# = 0 ] || cpus=("$@")
for tool in mmdebstrap "$qemu" unshare; do command -v "$tool" >/dev/null || die "$tool is needed: apt-get install mmdebstrap qemu-user-static"; done

root=build/check-package-$arch
if [ ! -f "$root/.complete" ]; then
  mirror=${APT_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Origin: Debian' | head -n 1)}
  rm -rf "$root"
  # extract: nothing of the root runs, so that another architecture needs no emulator yet
  mmdebstrap --quiet --mode=root --variant=extract --architectures="$arch" --include=libc6,libgcc-s1,dash,coreutils \
    bullseye "$root" "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bullseye main"
  touch "$root/.complete"
fi
for tool in cc gcc c++ python3 git curl; do [ ! -e "$root/usr/bin/$tool" ] || die "the root is not bare: it has $tool"; done
rm -rf "$root/opt" "$root/srv" "$root/home"
mkdir -p "$root/opt" "$root/srv" "$root/home" "$root/proc" "$root/dev"
tar -C "$root/opt" -xzf "$tarball"
cp examples/files/travel.txt "$root/srv/"
cp -L "models/$model" "$root/srv/"
# The emulator takes programs by this ending; the program starts itself again
# by its own name, for the first look at a model and for confined programs.
ln "$root/opt/$name/bin/agent" "$root/opt/$name/bin/agent.emulated"

# bare COMMAND…: in the root, in namespaces of its own. EMULATE is a processor.
bare() {
  unshare --user --map-root-user --mount --pid --net --fork -- bash -euc '
    root=$1 qemu=$2 arch=$3
    shift 3
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    if [ -n "${EMULATE:-}" ]; then
      mount -t binfmt_misc binfmt_misc "$root/proc/sys/fs/binfmt_misc"
      magic="E::emulated:"
      [ "$arch" = amd64 ] || magic="M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
      echo ":emulated:$magic:$(command -v "$qemu"):F" >"$root/proc/sys/fs/binfmt_misc/register"
      export QEMU_CPU=$EMULATE
    fi
    exec chroot "$root" "$@"' bare "$PWD/$root" "$qemu" "$arch" \
    /usr/bin/env -i HOME="/home/${EMULATE:-native}" PATH=/usr/bin:/bin ${EMULATE:+"QEMU_CPU=$EMULATE"} "$@"
}

# agent ARGUMENT…
agent() { bare "/opt/$name/bin/agent${EMULATE:+.emulated}" "$@"; }

# answers WHAT: chooses, and runs unless told not to; one line each
answers() {
  local features chosen answer
  features=$(agent doctor 2>/dev/null | sed -n 's/^ok *features *//p')
  printf '%s: code    %s\n' "$1" "$features"
  chosen=$(agent choose "$question" --model "/srv/$model" --option Paris --option Rome --option Madrid 2>/dev/null | grep '^\*') ||
    die "$1: choose failed"
  printf '%s: choose  %s\n' "$1" "$chosen"
  [ "${2:-1}" != 0 ] || return 0
  answer=$(agent run "$task" --model "/srv/$model" --workdir /srv --approve never --temperature 0 2>/dev/null | tail -n 1) ||
    die "$1: run failed"
  printf '%s: run     %s\n' "$1" "$answer"
}

failed=0
# same WHAT WANTED GOT COMMAND: the winner of choose, the text of run
same() {
  local want got key
  for key in choose run; do
    [ "$key" = choose ] || [ "${RUN:-1}" != 0 ] || continue
    want=$(sed -n "s/^[^:]*: $key *\(\* \"[^\"]*\"\|.*\).*/\1/p" <<<"$2")
    got=$(sed -n "s/^[^:]*: $key *\(\* \"[^\"]*\"\|.*\).*/\1/p" <<<"$3")
    [ -n "$got" ] && [ "$want" = "$got" ] || { say "$1: $key differs: $got; expected $want"; failed=1; }
  done
}

say "$name ($(($(wc -c <"$tarball") / 1000000)) MB) in a bare Debian 11, $(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)"
expected=""
if [ "$arch" = "$(go env GOHOSTARCH 2>/dev/null || dpkg --print-architecture)" ]; then
  expected=$(answers native | tee -a /dev/stderr)
fi
for cpu in "${cpus[@]}"; do
  got=$(EMULATE=$cpu answers "$cpu" "${RUN:-1}" | tee -a /dev/stderr)
  [ -n "$expected" ] || expected=$got
  same "$cpu" "$expected" "$got"
done
[ "$failed" = 0 ] || die "answers differ"
say "the same answers everywhere"
