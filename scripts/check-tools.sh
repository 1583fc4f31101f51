#!/usr/bin/env bash
# Names every missing tool with its install line, before anything long starts.
set -euo pipefail
accel=${1:-cpu}
missing=()

# need COMMAND DEBIAN-PACKAGE HOMEBREW-PACKAGE WHAT-FOR
need() {
  command -v "$1" >/dev/null 2>&1 && return
  if [ "$(uname)" = Darwin ]; then how="brew install $3"; else how="sudo apt-get install $2"; fi
  missing+=("  $1 ($4): $how")
}

need go golang go "the program; 1.26 or newer, else https://go.dev/dl"
need git git git "fetching llama.cpp"
need cmake cmake cmake "building llama.cpp"
need cargo cargo rust "building the tokenizers; or https://rustup.rs"
if ! command -v c++ >/dev/null 2>&1 && ! command -v g++ >/dev/null 2>&1 && ! command -v clang++ >/dev/null 2>&1; then
  need c++ build-essential gcc "building llama.cpp"
fi
if ! command -v ninja >/dev/null 2>&1; then need make make make "building llama.cpp"; fi
if [ "$accel" = cuda ]; then
  need nvcc nvidia-cuda-toolkit cuda "the CUDA build; or put CUDA's bin folder into PATH; or scripts/cuda-toolkit.sh DIR, then PATH=DIR/bin:\$PATH"
fi
if [ "$accel" = vulkan ]; then
  # One of LunarG's SDK comes before the system's, as for CMake.
  glslc=${VULKAN_SDK:+$VULKAN_SDK/bin/}glslc
  need "$glslc" "libvulkan-dev glslc spirv-headers" "shaderc vulkan-headers vulkan-loader spirv-headers" "the Vulkan build"
  if command -v "$glslc" >/dev/null 2>&1 && ! printf '%s\n' '#version 450' '#extension GL_KHR_cooperative_matrix : require' 'void main() {}' |
    "$glslc" -fshader-stage=compute --target-env=vulkan1.3 -o /dev/null - >/dev/null 2>&1; then
    missing+=("  a newer glslc (the Vulkan build; this one does not know cooperative matrices): that of Debian 13, Ubuntu 24.04, or the SDK of https://vulkan.lunarg.com with VULKAN_SDK set")
  fi
fi

if [ ${#missing[@]} -gt 0 ]; then
  echo "make: these tools are missing:" >&2
  printf '%s\n' "${missing[@]}" >&2
  exit 1
fi

version=$(go env GOVERSION 2>/dev/null | sed 's/^go//')
if [ "$(printf '%s\n1.21\n' "$version" | sort -V | head -n 1)" != 1.21 ]; then
  echo "make: Go $version is too old: 1.26 is needed (1.21 and newer fetch it themselves): https://go.dev/dl" >&2
  exit 1
fi
