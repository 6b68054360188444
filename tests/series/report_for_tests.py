"""A report of a made series of two steps, whose last one has the recorded weights."""

import base64
import io
import json
from pathlib import Path

from bs4 import BeautifulSoup
from nbformat import v4
from PIL import Image

from common.config import ROOT, write_whole
from series.report.html import write_report

RECORDED = ROOT / "outputs" / "html"
PAGES = ["index", "01_first", "02_second", *sorted(path.name for path in RECORDED.glob("*.html"))]
WEIGHTS = next(ROOT.glob("outputs/weights/06_lr_scheduler/*.json"))
README = """# Two steps

Why. ![How many are wrong, by step](outputs/figures/spread.png)

<!-- results: written by anyone -->
| Step | What changes | Accuracy |
|---|---|---:|
| [1 · First](outputs/01_first.ipynb) | `rate` | 98.83% |
<!-- end of results -->
Note on results.
## Start here
Practice.
## What we learned
[Practice](#start-here), [loss](#loss-and-more), ![badge](https://example.org/badge.svg)
## Loss, and more
A loss.

Draw one in [the report](outputs/html/index.html).

## Two digits
<!-- errors: written by anyone -->
![Digits that every run gets wrong](outputs/figures/always-wrong.png)
"""
BLOCK = """## Target / Result / Analysis: ours

98% in step {}, as [before](01_first.ipynb) ([how](../common/train.py)).

**Try it.** An exercise."""


def png(shade: int) -> bytes:
    """A small picture of one shade of grey."""
    Image.new("L", (40, 20), shade).save(buffer := io.BytesIO(), "png")
    return buffer.getvalue()


def executed(number: int, name: str, net: str) -> str:
    """An executed notebook, whose cells have the names that those of the series have."""
    alt = {"image/png": {"alt": "How the training went on"}}
    pictures = [{"image/png": base64.b64encode(png(shade)).decode()} for shade in (9, 99 + number)]
    shown = [v4.new_output("display_data", picture, metadata=alt) for picture in pictures]
    log = [v4.new_output("stream", name="stdout", text=f"epoch {n} <b>\n") for n in (1, 2)]
    intro = f"# Step {number} · {name}\n\n[README](../README.md#loss-and-more), [code](../common/train.py)"
    cells = {
        "links": v4.new_markdown_cell("[Next](02_second.ipynb)"),
        "intro": v4.new_markdown_cell(intro),
        "setup": v4.new_code_cell("# @title Set-up: fetches all\nsys.path", metadata={"cellView": "form"}),
        "parameters": v4.new_code_cell(f"seed = 0  # comment {number}\nrate = 0.{number}"),
        "injected-parameters": v4.new_code_cell("data = 'mnist'"),
        "data": v4.new_code_cell("load()"),
        "net": v4.new_code_cell(f'class Net:\n    """Docstring {number}."""\n    {net}'),
        "fit": v4.new_code_cell("fit()", outputs=log + shown),
        "conclude": v4.new_code_cell("end()", outputs=[v4.new_output("display_data", {"text/markdown": "Yours"})]),
        "recorded": v4.new_markdown_cell(BLOCK.format(number)),
    }
    return json.dumps(v4.new_notebook(cells=[cell | {"id": name} for name, cell in cells.items()]))


def make_series(root: Path) -> Path:
    """Lay out a repository whose series is executed; the folder of its results."""
    first, second = executed(1, "First", "a, b\n    same"), executed(2, "Second", "same\n    a<b>c")
    files = {"README.md": README, "common/train.py": "", "outputs/weights/02_second/seed-0.json": WEIGHTS.read_text()}
    for folder in ("notebooks", "outputs"):
        files |= {f"{folder}/01_first.ipynb": first, f"{folder}/02_second.ipynb": second}
    files |= {"outputs/figures/spread.png": png(50), "outputs/figures/always-wrong.png": png(60)}
    for name, content in files.items():
        write_whole(root / name, content)
    return root / "outputs"


def page_at(base: Path, name: str) -> Path:
    """A page of the recorded report, or of that of a made series, which is written once below `base`."""
    root = base / "a series é"
    if not root.exists():
        write_report(make_series(root), root=root)
    return RECORDED / name if name.endswith(".html") else root / "outputs" / "html" / f"{name}.html"


def read(path: Path) -> BeautifulSoup:
    """A page, taken apart."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
