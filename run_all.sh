#!/usr/bin/env bash
# Runs the series; ./run_all.sh --help lists the options.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/series/setup.sh" requirements.txt
exec "$python" -m series "$@"
