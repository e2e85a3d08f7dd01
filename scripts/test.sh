#!/usr/bin/env bash
# Environment, lint, types, tests: all of them on two cores, or what is given, such as tests/metrics -k recall.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
ruff check .
ruff format --check .
mypy > .venv/types.log 2>&1 &  # beside the tests, which wait for one another at times
types=$!
trap 'kill $types 2>/dev/null || true' EXIT
if [ $# -eq 0 ]; then
  # a file's tests share what it trained; in the order of tests/conftest.py
  set -- --numprocesses 2 --dist loadfile --no-loadscope-reorder
fi
status=0
python -m pytest "$@" || status=$?
wait $types || status=$?
cat .venv/types.log
exit $status
