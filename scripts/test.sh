#!/usr/bin/env bash
# Environment, lint, types, tests: all of them on two cores, or what is given, such as tests/metrics -k recall.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
ruff check .
ruff format --check .
mypy
if [ $# -eq 0 ]; then
  # a file's tests share what it trained; in the order of tests/conftest.py
  set -- --numprocesses 2 --dist loadfile --no-loadscope-reorder
fi
python -m pytest "$@"
