# Sourced by run_all.sh and run_tests.sh, with the requirements files that must be met: sets $python to a Python
# that meets them, the active one if it does, else that of .venv, which is made and filled if need be.

fail() {
  echo "$(basename "$0"): $1" >&2
  exit 2
}

export CALLED_FROM=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v python3 >/dev/null || fail "there is no python3: install Python 3.10 or newer"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  fail "$(python3 --version) is too old: put Python 3.10 or newer first on the PATH, as python3"

python=python3
if ! python3 -m common.requirements "$@"; then
  python=.venv/bin/python
  # Written last, so that an installation that was interrupted is taken up again.
  installed=.venv/installed-$(cat "$@" | cksum | cut -d ' ' -f 1)
  if ! { [ -e "$installed" ] && $python -m common.requirements "$@"; } 2>/dev/null; then
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
      fail "python3 can't make environments: install its venv module (Debian, Ubuntu: apt install python3-venv)"
    echo "Installing $* into .venv, which takes some minutes the first time ..." >&2
    $python -m pip --version >/dev/null 2>&1 || python3 -m venv --clear .venv
    # shellcheck disable=SC2046  # a word an option is what is wanted
    $python -m pip install --quiet --disable-pip-version-check $(printf -- '-r %s ' "$@") ||
      fail "the installation failed, see above; the next call takes it up again"
    touch "$installed"
  fi
fi
