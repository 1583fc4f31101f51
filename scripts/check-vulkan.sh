#!/usr/bin/env bash
# By hand, after `make agent model ACCEL=vulkan`: does the Vulkan build decide as
# the CPU does? Fifty choices on both, and one run. Without a GPU it takes Mesa's
# lavapipe, a CPU in disguise, and first sees that nothing takes it unasked.
#
#   AGENT=PATH      the binary (bin/agent)
#   DEVICE=NAME     the device, as `agent doctor` names it (Vulkan0)
#   MODEL=REF       another model than the default one
#   REAL=1          take the real GPU: none of the settings for lavapipe
set -euo pipefail
cd "$(dirname "$0")/.."
agent=${AGENT:-bin/agent}
device=${DEVICE:-Vulkan0}
model=(--model "${MODEL:-smollm2-135m-instruct}")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

say() { printf 'check-vulkan: %s\n' "$*" >&2; }
die() { say "error: $1"; exit 1; }

[ -x "$agent" ] || die "$agent is missing; run \`make agent model ACCEL=vulkan\`"
command -v python3 >/dev/null || die "python3 is missing"

if [ -z "${REAL:-}" ]; then
  unset GGML_VK_VISIBLE_DEVICES
  "$agent" doctor 2>/dev/null >"$dir/unasked" || true
  ! grep -q "device Vulkan" "$dir/unasked" || ! grep -qi "llvmpipe\|lavapipe\|swiftshader" "$dir/unasked" ||
    die "a CPU in disguise was taken unasked: $(grep 'device Vulkan' "$dir/unasked")"
  say "unasked: $(grep -o 'this build is for Vulkan.*' "$dir/unasked" || grep 'device Vulkan' "$dir/unasked")"
  # As llama.cpp's own tests do: lavapipe is asked for by its number, and is slow or wrong in half precision.
  export GGML_VK_VISIBLE_DEVICES=${GGML_VK_VISIBLE_DEVICES:-0} GGML_VK_DISABLE_F16=1 GGML_VK_DISABLE_COOPMAT=1
fi
"$agent" doctor 2>/dev/null | grep "device $device" >&2 || die "there is no device $device"

python3 - >"$dir/questions" <<'PY'
import json
places = """France Paris,Spain Madrid,Italy Rome,Germany Berlin,Portugal Lisbon,Greece Athens,Austria Vienna,Poland Warsaw,
Norway Oslo,Sweden Stockholm,Finland Helsinki,Denmark Copenhagen,Ireland Dublin,Hungary Budapest,Russia Moscow,Japan Tokyo,
China Beijing,India Delhi,Egypt Cairo,Kenya Nairobi,Cuba Havana,Peru Lima,Chile Santiago,Canada Ottawa,Turkey Ankara"""
pairs = [p.split() for p in places.replace("\n", "").split(",")]
for i, (country, _) in enumerate(pairs):
    near = [pairs[(i + n) % len(pairs)][1] for n in range(4)]
    print(json.dumps({"prompt": f"What is the capital of {country}?", "options": sorted(near)}))
for i in range(25):
    a, b = 2 + i, 3 + i * 7 % 11
    print(json.dumps({"prompt": f"What is {a} plus {b}?", "options": [str(a + b), str(a + b + 1), str(a * b + 5)]}))
PY

choose() { "$agent" choose --batch --json "${model[@]}" "llm.devices=[$1]" <"$dir/questions" 2>"$dir/err" || { cat "$dir/err" >&2; die "choosing on $1 failed"; }; }
say "50 choices on the CPU"
choose CPU >"$dir/cpu"
say "50 choices on $device"
start=$(date +%s)
choose "$device" >"$dir/gpu"
say "took $(($(date +%s) - start)) s"

# A winner may differ only where the CPU's own margin is less than what the two differ by in a log-probability.
python3 - "$dir/cpu" "$dir/gpu" <<'PY'
import json, sys
cpu, gpu = ([json.loads(line) for line in open(name)] for name in sys.argv[1:])
assert len(cpu) == len(gpu) == 50, (len(cpu), len(gpu))
gaps, other, bad = [], [], 0
for c, g in zip(cpu, gpu):
    by_text = {o["text"]: o["logprob"] for o in g["options"]}
    gaps += (here := [abs(o["logprob"] - by_text[o["text"]]) for o in c["options"]])
    if c["text"] != g["text"]:
        other.append(f'  choice {c["index"] + 1}: "{c["text"]}" on the CPU by {c["margin"]:.3f} nats, "{g["text"]}" here by {g["margin"]:.3f}')
        bad += c["margin"] > 2 * max(here)
print(f"{50 - len(other)} of 50 winners are the same; log-probabilities differ by {sum(gaps) / len(gaps):.3f} nats on average, {max(gaps):.3f} at most")
print(*other, sep="\n", end="\n" if other else "")
sys.exit(bad > 0 or len(other) > 5)
PY

say "one run on $device"
"$agent" run "When does the train leave? Read travel.txt." --workdir examples/files --approve never --temperature 0 "${model[@]}" \
  "llm.devices=[$device]" >"$dir/run" 2>&1 || { tail -n 5 "$dir/run" >&2; die "the run failed"; }
tail -n 3 "$dir/run"
grep -q "$device" "$dir/run" || die "the run was not on $device"
