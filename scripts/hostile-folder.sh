#!/usr/bin/env bash
# Hostile folders, looked at from outside: every subcommand in each of more than
# 40 of them, on a pipe and on a terminal, with a listener; friendly folders,
# which must work without a question; and two runs in a row, the first of which
# obeys an injection. `go test` alone tries some subcommands in each folder.
#
# usage: scripts/hostile-folder.sh [more arguments of go test, such as -v]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export AGENT_HOSTILE=all
exec go test ./cmd/agent -count=1 -timeout 60m -parallel 8 \
  -run '^Test(HostileFolders|FriendlyFolders|EachKeyOfAFolderIsAskedFor|AFolderIsAllowedOnce|TwoRunsInARow)$' "$@"
