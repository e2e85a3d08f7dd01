#!/usr/bin/env bash
# Environment, lint, types, tests.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
ruff check .
ruff format --check .
mypy
python -m pytest "$@"
