"""A notebook in Colab: a bare folder, a stand-in of `google.colab`, and a git server in place of GitHub."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import papermill
import pytest

from common.config import ROOT
from series.execute import kernel_class, own_folder
from series.report.notebooks import NOTEBOOKS, publish_links, read, write

SMALL = {"epochs": 1, "limit": 100, "data": "rendered", "device": "cpu"}
PIP = "#!/bin/sh\necho $* >> asked-of-pip\n"
SITE = {"google/colab.py": "", "sitecustomize.py": "import google.colab", "pip": PIP}
LINE = "Results go to series/outputs/scratch/by-hand: download those that you want to keep\n"


def commit(repository: Path, message: str) -> str:
    """Commit all that there is; the commit."""
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in ["add", "-A"], ["commit", "-qm", message]:
        subprocess.run([*git, *command], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def run(path: Path, github: Path) -> str:
    """Run a notebook in the folder `content` beside it, with a folder as GitHub; what its set-up prints."""
    site = path.parent / "site"
    for name, text in SITE.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (site / "pip").chmod(0o755)
    (path.parent / "content").mkdir(exist_ok=True)
    environment = {"PYTHONPATH": str(site), "PATH": f"{site}:{os.environ['PATH']}", "GIT_CONFIG_COUNT": "1"}
    environment |= {"GIT_CONFIG_KEY_0": f"url.file://{github}/.insteadOf", "GIT_CONFIG_VALUE_0": "https://github.com/"}
    folder = {"metadata": {"path": str(path.parent / "content")}}
    with own_folder() as sockets:
        kernel = {"kernel_manager_class": kernel_class(sockets, environment)}
        done = papermill.execute_notebook(str(path), None, SMALL, progress_bar=False, resources=folder, **kernel)
    outputs = next(cell.outputs for cell in done.cells if cell.id == "setup")
    return "".join(output.text for output in outputs if output.name == "stdout")  # old versions of IPython warn


@pytest.mark.slow
def test_a_notebook_fetches_what_it_was_written_for_and_does_so_again_after_a_restart(tmp_path: Path) -> None:
    mine = tmp_path / "github/me/mine"
    for name in ("common", "notebooks", "outputs/metrics"):
        shutil.copytree(ROOT / name, mine / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q", mine], check=True)
    first = commit(mine, "What notebooks need")
    publish_links("me/mine", mine / "notebooks")
    commit(mine, "The address")
    published = (mine / "notebooks/01_skeleton.ipynb").read_text()
    publish_links("me/mine", mine / "notebooks")
    assert (mine / "notebooks/01_skeleton.ipynb").read_text() == published
    shutil.copy(mine / "notebooks/01_skeleton.ipynb", tmp_path)
    (mine / "common/config.py").write_text("raise RuntimeError('out of step')")
    commit(mine, "Another `common`")

    assert run(tmp_path / "01_skeleton.ipynb", tmp_path / "github") == LINE
    (found,) = tmp_path.glob("content/series/outputs/scratch/by-hand/*/metrics/01_skeleton/seed-0.json")
    assert json.loads(found.read_text())["commit"] == first[:12]
    begun = read(tmp_path / "01_skeleton.ipynb")
    begun.cells = begun.cells[:6]  # as far as `begin`, which needs what was fetched
    write(tmp_path / "begun.ipynb", begun)
    assert run(tmp_path / "begun.ipynb", tmp_path / "github") == LINE
    assert (tmp_path / "content/asked-of-pip").read_text() == 2 * "install -q torchsummary\n"


@pytest.mark.parametrize("address", ["me/none", ""])
def test_what_keeps_the_series_from_being_fetched_is_said_in_one_line(address: str, tmp_path: Path) -> None:
    shutil.copy(NOTEBOOKS / "01_skeleton.ipynb", tmp_path)
    publish_links(address, tmp_path)
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        run(tmp_path / "01_skeleton.ipynb", tmp_path / "github")
    said = caught.value.evalue
    assert said.startswith("The series can't be fetched, set `repository` above: fatal: ") and "\n" not in said
