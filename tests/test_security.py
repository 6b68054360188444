"""Nothing that comes from outside is executed, unpickled, or put into a shell."""

import ast
import json
import re
from pathlib import Path

import pytest

import common
from common import InputError, notebooks, summary

ROOT = Path(common.__file__).resolve().parent.parent
PATHS = sorted([*ROOT.glob("common/*.py"), *ROOT.glob("series/**/*.py")])
MODULES = {f"{path.parent.name}/{path.name}": path.read_text(encoding="utf-8") for path in PATHS}
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
# What runs code that it is given, or hands a line to a shell.
DANGEROUS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv", "marshal.loads"),
    *("subprocess.call", "subprocess.check_call", "subprocess.check_output", "subprocess.getoutput"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "shelve.open", "joblib.load", "torch.load", "torch.hub.load"),
    *("pandas.read_pickle", "yaml.load", "tempfile.mktemp", "tarfile.open", "zipfile.ZipFile", "shutil.unpack_archive"),
}


def code_of(notebook: Path) -> str:
    """The code of a notebook, in one piece."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


SOURCES = MODULES | {path.name: code_of(path) for path in NOTEBOOKS}


def calls(source: str) -> list[tuple[str, ast.Call]]:
    """Every call in a source, by the name that is called."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), node) for node in nodes]


def keywords(call: ast.Call) -> dict[str, str]:
    """The keyword arguments of a call, as they are written."""
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg}


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_unpickled_or_evaluated(name):
    """The series saves no checkpoint, so it loads none; one cell of its own notebooks is executed, for the block."""
    found = {called for called, _ in calls(SOURCES[name])} & DANGEROUS
    allowed = {"common/notebooks.py": {"exec", "compile"}, "series/dask_pool.py": {"zipfile.ZipFile"}}
    assert found == allowed.get(name, set())
    for called, call in calls(SOURCES[name]):
        if called.endswith("np.load"):
            assert keywords(call)["allow_pickle"] == "False"


@pytest.mark.parametrize("name", SOURCES)
def test_no_module_that_unpickles_is_imported(name):
    imports = re.findall(r"^\s*(?:import|from) ([\w.]+)", SOURCES[name], re.M)
    packages = {word.split(".")[0] for word in imports}
    found = packages & {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    assert not found


@pytest.mark.parametrize("name", SOURCES)
def test_no_shell_is_given_a_line(name):
    """Commands are lists of words, so that nothing in a word can become another command."""
    assert not re.search(r"^\s*[!%]", SOURCES[name], re.M), "neither in a notebook's own way"
    for called, call in calls(SOURCES[name]):
        assert keywords(call).get("shell", "False") == "False"
        if called in ("subprocess.run", "subprocess.Popen", "Popen"):
            words = call.args[0]
            given = [line for line in ast.walk(ast.parse(SOURCES[name])) if isinstance(line, ast.Assign)]
            lists = {ast.unparse(line.targets[0]) for line in given if isinstance(line.value, ast.List)}
            assert isinstance(words, ast.List) or ast.unparse(words) in lists


def test_the_scan_finds_what_it_looks_for():
    bad = "import os, torch\nos.system('ls ' + name)\nweights = torch.load(path)\nsubprocess.run(line, shell=True)"
    assert {called for called, _ in calls(bad)} & DANGEROUS == {"os.system", "torch.load"}
    assert keywords(calls(bad)[-1][1]) == {"shell": "True"}


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt", "requirements-cluster.txt"])
def test_every_requirement_is_bounded_below_and_above_and_comes_from_the_index(file):
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    for line in filter(None, lines):
        assert re.fullmatch(r"[\w.-]+>=[\d.]+,<[\d.]+", line)


def test_words_that_the_scripts_take_from_outside_are_quoted():
    for script in (ROOT / "run_all.sh", ROOT / "run_tests.sh", ROOT / "common" / "setup.sh"):
        text = script.read_text()
        assert not re.search(r"\beval\b|\bsh -c\b|curl|wget", text)
        assert '"$@"' in text and not re.search(r'(?<!")\$@(?!")|\$\*(?! into)', text)


# A notebook handed over by a stranger


BAD_TABLE = "| Operation | nin |\n| --- | ---: |\n| <script>alert(1)</script> | 28 |"


def copy_of(code: str, output: str) -> str:
    """An executed copy with this code in the cell that makes the block, and this table of receptive fields."""
    shown = {"output_type": "execute_result", "data": {"text/markdown": output}}
    cells = [
        {"id": "shape", "cell_type": "code", "metadata": {}, "outputs": [shown], "source": ""},
        {"id": "block", "cell_type": "code", "metadata": {"tags": ["block"]}, "outputs": [], "source": code},
        {"id": "recorded", "cell_type": "markdown", "metadata": {"tags": ["recorded"]}, "source": ""},
    ]
    return json.dumps({"cells": cells, "metadata": {}})


def test_the_code_of_a_copy_is_not_executed_to_tell_of_its_run(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    notebooks.NOTEBOOKS.mkdir()
    (notebooks.NOTEBOOKS / "01_a.ipynb").write_text(copy_of("block = 'ours'", ""))
    copy = tmp_path / "01_a.ipynb"
    copy.write_text(copy_of("raise SystemExit('executed')", ""))
    notebooks.render_block(copy, tmp_path, {"stage": "01_a"})
    written = json.loads(copy.read_text())["cells"]
    assert "".join(written[-1]["source"]) == "ours" and "executed" not in copy.read_text()


@pytest.mark.parametrize("table", [BAD_TABLE, BAD_TABLE.replace("<script>", "![](https://example.org/x.png)")])
def test_markup_in_a_copys_table_does_not_reach_the_readme(table, tmp_path):
    path = tmp_path / "06_lr_scheduler.ipynb"
    path.write_text(copy_of("", table))
    with pytest.raises(InputError, match=re.escape(str(path))):
        summary.field_table(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cells": [1]}', '{"cells": [{"id": "shape"}]}', "\xff"])
def test_a_copy_that_is_no_notebook_is_refused_in_a_line(content, tmp_path):
    path = tmp_path / "01_skeleton.ipynb"
    path.write_bytes(content.encode("latin-1"))
    for use in (summary.field_table, lambda path: notebooks.render_block(path, tmp_path, {"stage": "01_skeleton"})):
        with pytest.raises(InputError, match="is no notebook of this series"):
            use(path)


def test_the_table_of_a_copy_that_is_ours_passes():
    assert summary.field_table(ROOT / "outputs" / "06_lr_scheduler.ipynb")[0].startswith("| Operation |")
