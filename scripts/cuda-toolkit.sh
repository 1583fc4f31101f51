#!/usr/bin/env bash
# Assembles a CUDA toolkit in DIR from NVIDIA's wheels on PyPI, for machines on which none is installed. It is enough for
# `make ACCEL=cuda`: nvcc, the headers, the static runtime, cuBLAS. No GPU and no driver are needed for it.
# The wheels are pinned by SHA-256; their licence is NVIDIA's (DIR/LICENSE.txt).
#
# usage: cuda-toolkit.sh DIR     then: PATH=DIR/bin:$PATH make agent ACCEL=cuda CUDA_ARCH=90
set -euo pipefail

wheels='
nvidia-cuda-nvcc==13.5.37      --hash=sha256:f5c4f7ead5d964fb4af42bbf1e6d3ec3c1e6e9d83b53749f691d387e7fcaa3a7
nvidia-cuda-crt==13.5.37       --hash=sha256:e898b7f73d3035fa89915a3f7bf3b54a73e90249746111aed295822c4729bb29
nvidia-nvvm==13.5.37           --hash=sha256:c41bfa362e407405163f103c2229f0765f8cc2ed7d148b754dc77f228bf7e070
nvidia-cuda-runtime==13.5.37   --hash=sha256:df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d
nvidia-cuda-cccl==13.3.5.0.6   --hash=sha256:d5230098fa2df5021e1a00c0c4eee41797671a91119d31e892463e5ccf3ee326
nvidia-cublas==13.10.0.20      --hash=sha256:dcc6d63884c53d07e267ce7e6feac17b2538cebaafec5db865736c3e28e4dc84
'
megabytes=2600 # of disk while it works; the result has 1,300

say() { printf 'cuda-toolkit: %s\n' "$*" >&2; }
die() { say "error: $1"; [ -z "${2:-}" ] || say "hint: $2"; exit 1; }

[ $# -eq 1 ] || die "no folder was named" "cuda-toolkit.sh DIR"
[ "$(uname -sm)" = "Linux x86_64" ] || die "the pinned wheels are for Linux on x86-64" \
  "install NVIDIA's toolkit: https://developer.nvidia.com/cuda-downloads"
[ ! -x "$1/bin/nvcc" ] || { say "$1 is a toolkit already"; exit 0; }
[ ! -e "$1" ] || die "$1 exists and is no CUDA toolkit" "name a folder that does not exist"
python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is missing" "sudo apt-get install python3-pip"

mkdir -p "$(dirname "$1")"
parent=$(cd "$(dirname "$1")" && pwd)
free=$(df -Pk "$parent" | awk 'NR==2 {print $4}')
[ -z "$free" ] || [ $((free / 1024)) -ge $megabytes ] || die "not enough disk space in $parent" "$megabytes MB are needed"
tmp=$(mktemp -d "$parent/.cuda.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

say "fetching six wheels (570 MB)"
printf '%s' "$wheels" >"$tmp/wheels.txt"
TMPDIR=$tmp python3 -m pip download --quiet --no-input --no-deps --only-binary=:all: --no-cache-dir \
  --disable-pip-version-check --require-hashes --dest "$tmp/wheels" --requirement "$tmp/wheels.txt" >&2 ||
  die "PyPI did not deliver the pinned wheels" "check the network, or install NVIDIA's toolkit"

for wheel in "$tmp"/wheels/*.whl; do
  python3 -m zipfile -e "$wheel" "$tmp/x"
  rm "$wheel"
done
root=$tmp/x/nvidia/cu13
cp "$tmp"/x/nvidia_cuda_nvcc-*/licenses/License.txt "$root/LICENSE.txt"

# What an installed toolkit has and wheels have not: programs that may run, lib64, names without a version, and the
# stub of the driver, which is only looked for: the program opens the driver itself (inference/shim/cuda_driver.c).
chmod +x "$root"/bin/* "$root"/nvvm/bin/* 2>/dev/null || true
ln -s lib "$root/lib64"
for lib in "$root"/lib/*.so.*; do ln -s "$(basename "$lib")" "${lib%%.so.*}.so"; done
mkdir "$root/lib/stubs"
c++ -shared -x c /dev/null -o "$root/lib/stubs/libcuda.so" -Wl,-soname,libcuda.so.1

"$root/bin/nvcc" --version | grep -q release || die "the nvcc of the wheels does not run here"
mv "$root" "$1"
say "ready: $1 ($("$1/bin/nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/CUDA \1/p'); put $1/bin into PATH)"
