"""The scripts find a Python that has the requirements, or make one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.config import ROOT

# A Python whose pip has nothing to install once the file `met` is there; `install` fails while the file `broken` is.
PIP = """\
case "$*" in
  *--dry-run*) test -e {met} ;;
  "-m pip --version") ;;
  *"pip install"*) echo "$*" >> asked; test ! -e broken && touch {met} ;;
  *) exec {python} "$@" ;;
esac
"""
VENV = f"""\
if [ "$2" = venv ]; then
  mkdir -p .venv/bin && cp {{there}} .venv/bin/python
else
  {PIP}
fi
"""


def script(path: Path, text: str) -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}")
    path.chmod(0o755)
    return path


def call(command: list[Path | str], path: Path, cwd: Path) -> subprocess.CompletedProcess:
    """A script's run, with a folder put first on the PATH."""
    environment = os.environ | {"PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder with a set-up, and a Python that has no packages and can make environments."""
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "setup.sh").write_text((ROOT / "series" / "setup.sh").read_text())
    (tmp_path / "requirements.txt").write_text("pytest>=7\n")
    there = script(tmp_path / "made", PIP.format(met="met-there", python=sys.executable))
    script(tmp_path / "bin" / "python3", VENV.format(there=there, met="met-here", python=sys.executable))
    script(tmp_path / "run.sh", "set -e; source series/setup.sh requirements.txt; echo $python")
    return tmp_path


def test_an_environment_is_made_once_and_filled_again_where_that_was_cut_short(repository: Path) -> None:
    (repository / "broken").touch()
    cut_short = call(["./run.sh"], repository / "bin", repository)
    assert cut_short.returncode == 2 and "the next call takes it up again" in cut_short.stderr
    (repository / "broken").unlink()
    filled = call(["./run.sh"], repository / "bin", repository)
    assert (filled.stdout, filled.returncode) == (".venv/bin/python\n", 0)
    assert "about 6 GB" in filled.stderr and "Without a GPU" in filled.stderr  # said before the download
    assert len((repository / "asked").read_text().splitlines()) == 2
    assert call(["./run.sh"], repository / "bin", repository).stderr == ""


def test_the_active_python_is_taken_where_it_has_all(repository: Path) -> None:
    (repository / "met-here").touch()
    assert call(["./run.sh"], repository / "bin", repository).stdout == "python3\n"


def test_a_python_that_is_too_old_is_named(repository: Path) -> None:
    script(repository / "bin" / "python3", 'test "$1" = --version && echo Python 3.9.1')
    told = call(["./run.sh"], repository / "bin", repository)
    assert told.returncode == 2 and "Python 3.9.1 is too old: put Python 3.10 or newer first" in told.stderr


def test_run_all_passes_its_options_on_from_any_folder(tmp_path: Path) -> None:
    told = call([ROOT / "run_all.sh", "--epochs", "0"], Path(sys.executable).parent, tmp_path)
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].startswith("run_all: argument --epochs: '0' is not a whole number")


def test_pip_finds_nothing_to_do_where_requirements_are_met(tmp_path: Path) -> None:
    for name, line, met in ("one", "pytest>=7", True), ("two", "pytest>=999", False), ("three", "no-such-thing", False):
        (tmp_path / name).write_text(line)
        code = (
            f"cd {tmp_path}; source <(sed -n '/^meets/,/^}}/p' {ROOT}/series/setup.sh); meets {sys.executable} {name}"
        )
        assert (subprocess.run(["bash", "-c", code]).returncode == 0) is met, line
