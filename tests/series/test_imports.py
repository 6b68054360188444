"""Who may import whom: `common` nothing of `series`; what runs notebooks neither PyTorch nor reports."""

import subprocess
import sys

import pytest

from common.config import ROOT


def loaded(module: str) -> set[str]:
    """The modules that an import brings along, in a Python of its own."""
    code = f"import sys, {module}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("common/[a-z]*.py")))
def test_common_imports_nothing_of_series(name: str) -> None:
    assert not any(line.split()[1].startswith("series") for line in imports(ROOT / "common" / f"{name}.py"))


def imports(path) -> list[str]:
    """The lines of a module that import."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip().startswith(("import ", "from "))]


@pytest.mark.parametrize("name", ["plans", "tasks", "resume", "execute", "pool", "dask_pool", "options", "__main__"])
def test_what_runs_notebooks_needs_neither_pytorch_nor_reports(name: str) -> None:
    found = loaded(f"series.{name}")
    assert f"series.{name}" in found and not found & {"torch", "matplotlib", "series.report"}
