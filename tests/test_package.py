"""How the modules of the package hang together."""

import ast
import re
from pathlib import Path

import pytest

import common

FOLDER = Path(common.__file__).parent
# Those that put the others together; the others stand on their own.
COMPOSING = {"choices", "notebooks", "pages", "summary", "systems", "smaller", "sweep"}
# And these, each on what lies right below it.
ALLOWED = {
    "data": {"mnist", "rendered"},  # falls back from the one to the other
    "canvas": {"files"},  # saves figures, whole
    "plots": {"canvas"},  # draws on it
    "landscape": {"canvas"},  # and so does this
    "effects": {"canvas"},  # and this
    "runs": {"files", "metrics"},  # writes metrics, whole, and reads none that are not
    "runtime": {"parameters"},  # refuses what breaks their rules
    "inference": {"batches", "canvas"},  # scales images as training does, and draws
    "intervals": {"runs"},  # tells two sets of them apart
    "recipes": {"batches", "blocks"},  # what they are made of
    "report": {"runs", "intervals", "choices"},  # tells of a run and those beside it
    "speed": {"canvas"},  # draws on it
    "tables": {"runs", "intervals"},  # shows their figures
    "verdicts": {"runs", "intervals", "tables", "published"},  # and holds them against those of others
    "weights": {"files", "runs"},  # writes them beside the metrics
}
MODULES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")


def siblings_of(path: Path) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ("common." if node.level else "") + (node.module or "")
            found |= {base, *(f"{base.rstrip('.')}.{alias.name}" for alias in node.names)}
    names = {name.split(".")[1] for name in found if name.startswith("common.")}
    return names & {module.stem for module in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_no_sibling_unless_composing_is_its_task(path):
    if path.stem not in COMPOSING:
        assert siblings_of(path) <= ALLOWED.get(path.stem, set())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_imports_what_runs_it(path):
    assert not re.search(r"^\s*(from|import) series\b", path.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_says_what_it_is_for_and_so_do_its_public_functions_and_classes(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_imports_are_found_in_every_form(tmp_path):
    path = tmp_path / "module.py"
    forms = ["import common.data", "from common import mnist", "from common.plots import show", "from . import train"]
    path.write_text("\n".join([*forms, "def f():\n    from .report import block", "import torch, common"]))
    assert siblings_of(path) == {"data", "mnist", "plots", "train", "report"}
