"""Nothing that comes from outside is executed, unpickled, or put into a shell."""

import ast
import json
import re
from pathlib import Path

import pytest

from common.config import ROOT

# What runs code that it is given, or hands a line to a shell.
DANGEROUS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.loads"),
    *("subprocess.call", "subprocess.check_call", "subprocess.getoutput", "shelve.open", "joblib.load", "torch.load"),
    *("yaml.load", "tempfile.mktemp", "tarfile.open", "zipfile.ZipFile", "shutil.unpack_archive"),
}
ALLOWED = {
    "common/analysis.py": {"eval"},  # of the words in notebooks/analysis and series/report/words, which are ours
    "series/report/notebooks.py": {"compile", "exec"},  # of the cell with the network, in our own notebooks
    "series/contenders.py": {"compile", "exec"},  # of cells of our own notebooks
    "series/dask_pool.py": {"zipfile.ZipFile"},  # of the code that the runner has sent
}


def code_of(path: Path) -> str:
    """The Python of a module or a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = re.sub(r"(?m)^(\s*)(?:\w+ = )?[!%].*", r"\1pass", "\n".join("".join(cell["source"]) for cell in cells))
    return text


FILES = [path for pattern in ("common/*.py", "series/**/*.py", "notebooks/*.ipynb") for path in ROOT.glob(pattern)]
SOURCES = {path.relative_to(ROOT).as_posix(): code_of(path) for path in sorted(FILES)}


def dangers(source: str) -> set[str]:
    """The calls in a source that run what they are given."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    shells = {"shell" for call in calls for word in call.keywords if word.arg == "shell"}
    return ({ast.unparse(call.func) for call in calls} & DANGEROUS) | shells


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(name: str) -> None:
    assert dangers(SOURCES[name]) <= ALLOWED.get(name, set())
    assert not re.search(
        r"^\s*(?:import|from) (?:pickle|marshal|shelve|dill|joblib|cloudpickle)\b", SOURCES[name], re.M
    )


def test_the_scan_finds_what_it_looks_for() -> None:
    bad = "import os, torch\nos.system('ls ' + name)\nweights = torch.load(path)\nsubprocess.run(line, shell=True)"
    assert dangers(bad) == {"os.system", "torch.load", "shell"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: path.name)
def test_every_requirement_is_bounded_below_and_above_and_comes_from_the_index(path: Path) -> None:
    for line in filter(None, (line.partition("#")[0].strip() for line in path.read_text().splitlines())):
        assert re.fullmatch(r'[\w.-]+>=[\d.]+,<[\d.]+(; python_version < "3.11")?', line)


@pytest.mark.parametrize("name", ["run_all.sh", "run_tests.sh", "series/setup.sh"])
def test_words_that_the_scripts_take_from_outside_are_quoted(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"\beval\b|\bsh -c\b|curl|wget", text)
    assert '"$@"' in text and not re.search(r'(?<!")\$@(?!")', text)
