"""The scripts find a Python that has the requirements, or make one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common import requirements

ROOT = Path(requirements.__file__).parent.parent


def call(script: Path, *arguments: str, path: Path, cwd: Path) -> subprocess.CompletedProcess:
    """A script's run, with a folder put first on the PATH."""
    environment = os.environ | {"PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run([script, *arguments], env=environment, cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("version", "bound", "below"),
    [
        ("2.4.0", "2.4", False),
        ("2.4", "2.4.1", True),
        ("2.10", "2.9", False),
        ("2.4.1+cpu", "2.4", False),
        ("3.0.0rc1", "3", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version, bound, below):
    assert requirements.is_below(version, bound) is below


@pytest.mark.parametrize(
    ("line", "met"),
    [
        ("pytest", True),
        ("pytest>=7", True),
        ("pytest >= 7, < 999", True),
        ("pytest<7", False),
        ("pytest>=7,<8,>=999", False),
        ("no-such-package", False),
        ("pytest @ file:///somewhere", False),
    ],
)
def test_a_requirement_is_met_by_what_is_installed(line, met):
    assert requirements.is_met(line) is met


def test_comments_and_empty_lines_ask_for_nothing(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("# all there is\n\npytest>=7  # why\n")
    assert requirements.main([str(file)]) == 0


def test_run_all_takes_the_active_python_from_any_folder_and_passes_its_options_on(tmp_path):
    told = call(ROOT / "run_all.sh", "--epochs", "0", path=Path(sys.executable).parent, cwd=tmp_path)
    assert told.returncode == 2
    assert told.stderr.splitlines() == [
        "run_all: argument --epochs: 0 is not at least 1; ./run_all.sh --help lists the options"
    ]


# A Python without packages; `-m venv` makes one that has them, and that notes what pip is asked for.
BARE = """\
[ "$2" = venv ] || exec "{python}" -S "$@"
mkdir -p .venv/bin
cat > .venv/bin/python << END
#!/bin/sh
[ "\\$2" = pip ] || exec "{python}" "\\$@"
echo "\\$*" >> asked
END
chmod +x .venv/bin/python
"""


def test_an_environment_is_made_where_requirements_are_missing_and_made_again_where_that_was_cut_short(tmp_path):
    (tmp_path / "common").mkdir()
    for name in ("__init__.py", "requirements.py", "setup.sh"):
        shutil.copy(ROOT / "common" / name, tmp_path / "common" / name)
    (tmp_path / "requirements.txt").write_text("pytest>=7\n")
    bare = script(tmp_path / "bare" / "python3", BARE.format(python=sys.executable))
    setup = script(tmp_path / "setup", "source common/setup.sh requirements.txt; echo $python")

    first = call(setup, path=bare.parent, cwd=tmp_path)
    assert first.stdout == ".venv/bin/python\n"
    assert first.stderr.startswith("Installing requirements.txt into .venv")
    assert "-m pip install" in (tmp_path / "asked").read_text()
    assert call(setup, path=bare.parent, cwd=tmp_path).stderr == ""

    [mark] = tmp_path.glob(".venv/installed-*")
    mark.unlink()
    assert "Installing" in call(setup, path=bare.parent, cwd=tmp_path).stderr
    assert mark.exists()


def script(path: Path, text: str) -> Path:
    """An executable file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\nset -e\n{text}")
    path.chmod(0o755)
    return path
