#!/usr/bin/env bash
# Measures the house: lines and files per package, the largest types, what is too
# long, arrows up between rooms, and in how many places built-in commands and
# backends are listed. internal/archtest does the counting.
set -euo pipefail
cd "$(dirname "$0")/.."
AGENT_HOUSE=1 CGO_ENABLED=0 go test ./internal/archtest -run '^TestHouse$' -count=1 -v | sed '/^=== RUN/d; /^--- PASS/d; /^PASS$/d; /^ok /d'
