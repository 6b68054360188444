"""The scripts find a Python that has the requirements, or make one."""

import os
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from common.config import ROOT

LOCK = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(encoding="utf-8")))
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A Python whose pip has nothing to install once the file `met` is there; `install` fails while the file `broken` is.
PIP = """\
case "$*" in
  *--dry-run*) test -e {met} ;;
  "-m pip --version") ;;
  "-m pip show"*) false ;;
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
    assert "download of 3 GB" in filled.stderr and filled.stderr.splitlines()[2] in README  # said before it starts
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


def unmet(lines: list[str], by: str) -> list[str]:
    """The requirements, among some of `by`, that the lock does not meet; torch itself pins what it needs for CUDA."""
    wanted = [line for line in map(Requirement, lines) if not line.marker or line.marker.evaluate({"extra": ""})]
    wanted = [line for line in wanted if not re.match("nvidia|cuda|triton", line.name)]
    return [f"{by}: {line}" for line in wanted if LOCK.get(canonicalize_name(line.name), "0") not in line.specifier]


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: path.name)
def test_the_lock_has_all_requirements_within_their_bounds(path: Path) -> None:
    lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [line.partition(";")[0] for line in lines if line and "3.11" not in line]
    assert lines and unmet(lines, path.name) == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lock is of Python 3.11")
def test_what_is_locked_goes_together() -> None:
    found = {canonicalize_name(each.name): each for each in distributions()}
    locked = {name: found[name] for name, version in LOCK.items() if name in found and found[name].version == version}
    assert [line for name, each in locked.items() for line in unmet(each.requires or [], name)] == []
