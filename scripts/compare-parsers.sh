#!/usr/bin/env bash
# Compares salvage.Parse with other programs that mend JSON, on the real replies
# of the shared fixtures and on the same replies damaged in 19 ways, and prints
# the table of docs/dev/experiments.md. Needs Python 3, npm and the fixtures
# (AGENT_SHARED, or ../shared). What it fetches stays in build/parsers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly DIR=$PWD/build/parsers
readonly JSON_REPAIR=0.64.5 JSONREPAIR=3.15.0
export AGENT_TEST_PARSERS=$DIR

mkdir -p "$DIR"
if [ ! -x "$DIR/python/bin/python" ]; then
  python3 -m venv "$DIR/python"
  "$DIR/python/bin/python" -m pip install --quiet --no-input --disable-pip-version-check "json_repair==$JSON_REPAIR"
fi
if [ ! -d "$DIR/node_modules/jsonrepair" ]; then
  npm install --silent --no-fund --no-audit --prefix "$DIR" "jsonrepair@$JSONREPAIR"
fi

compare() { go test -count=1 -run 'TestCompareParsers$' ./command/salvage "$@"; }

AGENT_TEST_PARSERS_WRITE=1 compare >/dev/null

"$DIR/python/bin/python" - "$DIR" <<'PY'
import json, sys, time
import json_repair
with open(sys.argv[1] + "/replies.jsonl") as rows, open(sys.argv[1] + "/json_repair.jsonl", "w") as out:
    for row in rows:
        text, start = json.loads(row)["reply"], time.perf_counter()
        value = json_repair.loads(text)
        print(json.dumps({"Value": value, "MS": (time.perf_counter() - start) * 1000}), file=out)
PY

cat >"$DIR/read.cjs" <<'JS'
const fs = require('fs')
const { jsonrepair } = require('jsonrepair')
const dir = process.argv[2]
const out = fs.readFileSync(dir + '/replies.jsonl', 'utf8').trim().split('\n').map((row) => {
  const text = JSON.parse(row).reply
  const start = performance.now()
  let value = null
  try { value = JSON.parse(jsonrepair(text)) } catch {}
  return JSON.stringify({ Value: value, MS: performance.now() - start })
})
fs.writeFileSync(dir + '/jsonrepair.jsonl', out.join('\n') + '\n')
JS
node "$DIR/read.cjs" "$DIR"

compare -v | grep '^|'
