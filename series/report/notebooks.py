"""Notebooks: read and written, with the block of their runs, the words of their sources, and links."""

import ast
import inspect
import os
import re
import subprocess
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from torch import nn

import common
from common.analysis import block
from common.config import ROOT, InputError, literals, write_whole
from common.runs import OUTPUTS, Run

NOTEBOOKS = ROOT / "notebooks"
SERIES = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
COLAB = "https://colab.research.google.com/github"
BY_HAND = "Colab: *File → Open notebook → GitHub*"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
READ = "common", "notebooks/analysis", "notebooks/*.png", "notebooks/*.toml", "outputs/**.json"  # by notebooks
NOISE = {"papermill", "execution", "widgets"}


def read(path: Path) -> NotebookNode:
    """A notebook; InputError for what is none."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception as problem:  # nbformat raises many kinds
        reason = " ".join(str(problem).split())[:100]
        raise InputError(f"{path} is no notebook ({reason}): delete it, or run it again") from None


def write(path: Path, notebook: NotebookNode) -> None:
    """The notebook as Jupyter writes it."""
    write_whole(path, nbformat.writes(notebook) + "\n")


def title(stage: str) -> str:
    """The number and the name of a step."""
    return heading(read(NOTEBOOKS / f"{stage}.ipynb"))


def heading(notebook: NotebookNode) -> str:
    """The number and the name in the first heading of a notebook."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.search(r"^# (?:Step )?([^:\n]+)", text, re.M)[1]


def network(stage: str) -> nn.Module:
    """The network of a notebook: its class Net, made with the notebook's parameters."""
    cells = {cell.id: cell.source for cell in read(NOTEBOOKS / f"{stage}.ipynb").cells}
    code = next(node for node in ast.parse(cells["net"]).body if getattr(node, "name", "") == "Net")
    names = {"nn": nn, "conv_block": common.conv_block, "GlobalAveragePool": common.GlobalAveragePool}
    exec(compile(ast.Module([code], []), stage, "exec"), names)
    parameters = literals(cells["parameters"])
    return names["Net"](*(parameters[name] for name in inspect.signature(names["Net"]).parameters))


def write_block(run: Run, folder: Path, source: Path) -> None:
    """Write the block of a run into the executed copy in its folder; of a recorded run, into the source as well."""
    notebook, copy = read(source), folder / f"{run.stage}.ipynb"
    notebook.cells[-1].source = block(run, folder)
    if folder.resolve() in (OUTPUTS, OUTPUTS / "smaller"):
        write(source, notebook)
    if copy.exists():
        write(copy, tidied(updated(read(copy), notebook, folder)))


def updated(copy: NotebookNode, source: NotebookNode, folder: Path) -> NotebookNode:
    """An executed copy with today's words of its source; the block is shown once, in the last cell."""
    code = {cell.id: cell for cell in copy.cells if cell.cell_type == "code"}
    injected = [cell for cell in code.values() if "injected-parameters" in tags(cell)]
    if not code.keys() <= {cell.id for cell in [*source.cells, *injected]}:  # run before its source got other cells
        copy.cells[-1].source = moved(source.cells[-1].source, folder)
        return copy
    copy.cells = []
    for cell in source.cells:
        if cell.cell_type == "markdown":
            words = cell.source.replace("[Executed](../outputs/", "[Run it](../notebooks/")
            copy.cells.append(NotebookNode(cell | {"source": moved(words, folder)}))
        elif ran := code.get(cell.id):
            copy.cells += [ran, *injected] if "parameters" in tags(cell) else [ran]
            ran.source = cell.source if cell.id == "setup" else ran.source
            ran.outputs = [] if "conclude(config" in cell.source else ran.outputs
    return copy


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def tidied(notebook: NotebookNode) -> NotebookNode:
    """An executed notebook without papermill's notes, the pieces of its log joined."""
    for part in (notebook, *notebook.cells):
        part.metadata = NotebookNode({key: value for key, value in part.metadata.items() if key not in NOISE})
    for number, cell in enumerate(notebook.cells):
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, number)
    return notebook


def moved(text: str, folder: Path) -> str:
    """Words of a source with their relative links adapted to another folder."""

    def point(match: re.Match) -> str:
        beside = [] if match[1].startswith("../") else [folder, OUTPUTS]  # executed neighbours, if there are any
        home = next((place for place in beside if (place / match[1].partition("#")[0]).exists()), NOTEBOOKS)
        return f"]({os.path.relpath(home / match[1], folder)})"

    return re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", point, text)


def publish_links(address: str, folder: Path = NOTEBOOKS) -> None:
    """Write the repository's address ("" if nobody knows it) into the notebooks of a folder: links, badge, set-up."""
    origin = f"https://github.com/{address} {pin(folder.parent)}".strip() if address else "https://github.com/"
    for path in sorted(folder.glob("*.ipynb")):
        notebook = read(path)
        for cell in notebook.cells:
            if cell.id == "links":
                cell.source = navigation(path.stem, address)
            elif cell.cell_type == "markdown":
                cell.source = addressed(cell.source, address)
            elif cell.id == "setup":  # which fetches the repository in Colab
                cell.source = re.sub(r'(?m)^repository = "[^"]*"', f'repository = "{origin}"', cell.source)
        write(path, notebook)


def pin(root: Path) -> str:
    """The last commit that changed what notebooks import and read; "" outside a checkout.

    No commit can name itself. This one is older than the notebook's own, and has the same files for it.
    """
    command = ["git", "-C", str(root), "log", "-1", "--format=%H", "--", *READ]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def addressed(text: str, address: str) -> str:
    """A text whose links to pages and code are absolute if the address is known, since Colab lacks the files."""
    text = re.sub(r"\]\(https://github\.com/[\w.-]+/[\w.-]+/blob/main/([^)\s]+)\)", r"](../\1)", text)
    absolute = rf"](https://github.com/{address}/blob/main/\1)"
    return re.sub(r"\]\(\.\./(?![^)]*\.ipynb)([^)\s]+)\)", absolute, text) if address else text


def navigation(stage: str, address: str) -> str:
    """The links from a notebook to its neighbours, its executed copy, the pages, and Colab."""
    links = []
    if stage in SERIES:
        place = SERIES.index(stage)
        links += [f"[← {title(name)}]({name}.ipynb)" for name in SERIES[:place][-1:]]
        links += [f"[{title(name)} →]({name}.ipynb)" for name in SERIES[place + 1 : place + 2]]
        links += [f"[Executed](../outputs/{stage}.ipynb)"]
    links += [addressed("[Overview](../README.md) · [Glossary](../docs/glossary.md)", address)]
    colab = f"[![Open in Colab]({BADGE})]({COLAB}/{address}/blob/main/notebooks/{stage}.ipynb)"
    return " · ".join([*links, colab if address else BY_HAND])
