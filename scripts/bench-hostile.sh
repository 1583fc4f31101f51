#!/usr/bin/env bash
# How much longer a request takes while another client sends hostile ones: bad
# templates, grammars that swell, prompts of 15 MiB. Needs `make native model`
# and a machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
go test -run '^$' -bench BesideHostile -benchtime "${TIME:-10s}" ./cmd/agent |
  awk '/^Benchmark/ { if ($1 ~ /alone/) alone = $3; printf "%-70s %8.1f ms  %.2fx\n", $1, $3 / 1e6, $3 / alone }'
