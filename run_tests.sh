#!/usr/bin/env bash
# Lints, then runs the tests, the smoke chain among them; arguments go to pytest (-m "not chain and not slow" is quick).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/series/setup.sh" requirements.txt requirements-cluster.txt requirements-dev.txt
"$python" -m ruff check
"$python" -m ruff format --check
exec "$python" -m pytest "$@"
