"""What is written into notebooks: the block of their runs, the words of their sources, links and the address."""

import ast
import inspect
import os
import re
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from torch import nn

import common
from common.analysis import block
from common.config import ROOT, InputError, literals, write_whole
from common.runs import Run

NOTEBOOKS = ROOT / "notebooks"
SERIES = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
COLAB = "https://colab.research.google.com/github"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
BY_HAND = "In Colab: *File → Open notebook → GitHub*, then the address of this repository"
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
    """What a step is called."""
    return heading(read(NOTEBOOKS / f"{stage}.ipynb"))


def heading(notebook: NotebookNode) -> str:
    """The number and the name in the first heading of a notebook."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return re.search(r"^# (?:Step )?([^:\n]+)", "\n".join(texts), re.M)[1]


def network(stage: str) -> nn.Module:
    """The network of a notebook: its class Net, with the parameters that the notebook has."""
    cells = [cell.source for cell in read(NOTEBOOKS / f"{stage}.ipynb").cells if cell.cell_type == "code"]
    body = ast.parse(next(cell for cell in cells if "class Net" in cell)).body
    code = next(node for node in body if getattr(node, "name", "") == "Net")
    names = {"nn": nn, "conv_block": common.conv_block, "GlobalAveragePool": common.GlobalAveragePool}
    exec(compile(ast.Module([code], []), stage, "exec"), names)
    defaults = {name: value for cell in cells for name, value in literals(cell).items()}
    return names["Net"](*(defaults[name] for name in inspect.signature(names["Net"]).parameters))


def write_block(run: Run, folder: Path, source: Path, recorded: bool) -> None:
    """Write the block of a run into the executed copy in its folder; of a recorded run, into the source as well."""
    notebook, copy = read(source), folder / f"{run.stage}.ipynb"
    notebook.cells[-1].source = block(run, folder)
    if recorded:
        write(source, notebook)
    if copy.exists():
        write(copy, tidied(retold(read(copy), notebook, folder)))


def retold(copy: NotebookNode, source: NotebookNode, folder: Path) -> NotebookNode:
    """An executed copy with the words that its source has now; the block is shown once, in the last cell."""
    known = {cell.id for cell in source.cells}
    code = [cell for cell in copy.cells if cell.cell_type == "code"]
    injected = [cell for cell in code if "injected-parameters" in cell.metadata.get("tags", [])]
    ran = {cell.id: cell for cell in code if cell.id in known}
    if len(ran) + len(injected) < len(code):  # run before its source got other cells
        copy.cells[-1].source = moved(source.cells[-1].source, folder)
        return copy
    copy.cells = []
    for cell in source.cells:
        if cell.cell_type == "markdown":
            copy.cells.append(NotebookNode(cell | {"source": moved(cell.source, folder)}))
        elif cell.id in ran:
            copy.cells.append(ran[cell.id])
            copy.cells += injected if "parameters" in cell.metadata.get("tags", []) else []
        if is_setup(cell.source) and cell.id in ran:
            ran[cell.id].source = cell.source
        if "conclude(config" in cell.source and cell.id in ran:
            ran[cell.id].outputs = []
    return copy


def tidied(notebook: NotebookNode) -> NotebookNode:
    """An executed notebook without papermill's notes, the pieces of its log joined."""
    for part in (notebook, *notebook.cells):
        part.metadata = NotebookNode({key: value for key, value in part.metadata.items() if key not in NOISE})
    for number, cell in enumerate(notebook.cells):
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, number)
    return notebook


def moved(text: str, folder: Path) -> str:
    """Words of a source with relative links as they have to be in another folder."""

    def point(match: re.Match) -> str:
        beside = (folder, ROOT / "outputs", NOTEBOOKS)  # where other notebooks lie: executed, if they are
        home = next((place for place in beside if (place / match[1].partition("#")[0]).exists()), NOTEBOOKS)
        return f"]({os.path.relpath((NOTEBOOKS if match[1].startswith('../') else home) / match[1], folder)})"

    return re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", point, text)


def publish_links(address: str, folder: Path = NOTEBOOKS) -> None:
    """Write the repository's address ("" if nobody knows it) into the notebooks of a folder: links, badge, set-up."""
    for path in sorted(folder.glob("*.ipynb")):
        notebook = read(path)
        for cell in notebook.cells:
            if cell.id == "links":
                cell.source = navigation(path.stem, address)
            elif cell.cell_type == "markdown":
                cell.source = addressed(cell.source, address)
            elif is_setup(cell.source):
                home = f"https://github.com/{address}" if address else ""
                cell.source = re.sub(r'(?m)^(\s*repository = )"[^"]*"', rf'\g<1>"{home}"', cell.source)
        write(path, notebook)


def is_setup(code: str) -> bool:
    """Whether this is the cell that fetches the repository in Colab."""
    return "repository = " in code


def addressed(text: str, address: str) -> str:
    """A text whose links to what is no notebook are absolute where the address is known: Colab lacks the files."""
    text = re.sub(r"\]\(https://github\.com/[\w.-]+/[\w.-]+/blob/main/([^)\s]+)\)", r"](../\1)", text)
    absolute = rf"](https://github.com/{address}/blob/main/\1)"
    return re.sub(r"\]\(\.\./(?![^)]*\.ipynb)([^)\s]+)\)", absolute, text) if address else text


def navigation(stage: str, address: str) -> str:
    """Where to go from a notebook, its source or an executed copy."""
    place = SERIES.index(stage) if stage in SERIES else len(SERIES)
    links = [f"[← {title(name)}]({name}.ipynb)" for name in SERIES[max(0, place - 1) : place] if stage in SERIES]
    links += [f"[{title(name)} →]({name}.ipynb)" for name in SERIES[place + 1 : place + 2]]
    links += [f"[Executed](../outputs/{stage}.ipynb)"] if stage in SERIES else []
    colab = f"[![Open in Colab]({BADGE})]({COLAB}/{address}/blob/main/notebooks/{stage}.ipynb)"
    pages = addressed("[Overview](../README.md) · [Glossary](../docs/glossary.md)", address)
    return " · ".join([*links, pages, colab if address else BY_HAND])
