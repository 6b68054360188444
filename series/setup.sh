# Sourced by run_all.sh and run_tests.sh, with the requirements files that must be met: sets $python to a Python
# that meets them, the active one if it does, else that of .venv, which is made and filled if need be.

fail() {
  echo "$(basename "$0"): $1" >&2
  exit 2
}

# Whether a Python has all of it: pip would have nothing to install, and is told of nowhere to get it from.
meets() {
  local python=$1
  shift
  # shellcheck disable=SC2046  # a word an option is what is wanted
  "$python" -m pip --isolated install --quiet --disable-pip-version-check --no-index --no-deps --dry-run \
    $(printf -- '-r %s ' "$@") >/dev/null 2>&1
}

export CALLED_FROM=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v python3 >/dev/null || fail "there is no python3: install Python 3.10 or newer"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  fail "$(python3 --version) is too old: put Python 3.10 or newer first on the PATH, as python3"

python=python3
if ! meets python3 "$@"; then
  python=.venv/bin/python
  if ! meets $python "$@"; then
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
      fail "python3 can't make environments: install its venv module (Debian, Ubuntu: apt install python3-venv)"
    $python -m pip show --quiet torch 2>/dev/null || cat >&2 <<END
Installing $* into .venv, once: a download of 3 GB, 6 GB on the disk, two minutes or more.
On Linux without a GPU, stop here (Ctrl-C), and first get PyTorch for the CPU, a tenth of that:
python3 -m venv .venv && .venv/bin/pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu
END
    $python -m pip --version >/dev/null 2>&1 || python3 -m venv --clear .venv
    # shellcheck disable=SC2046
    $python -m pip install --quiet --disable-pip-version-check $(printf -- '-r %s ' "$@") ||
      fail "the installation failed, see above; the next call takes it up again"
  fi
fi
