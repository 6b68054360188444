"""The report for a browser, in `html/`: an index with a section a step, and a page a notebook."""

import json
import os
import re
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from urllib.parse import quote, unquote

from bs4 import BeautifulSoup, Tag
from jinja2 import Environment, FileSystemLoader
from markupsafe import escape
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from nbformat import NotebookNode
from traitlets.config import Config

from common.config import ROOT, write_whole
from common.data import MEAN, STD
from common.inference import load_layers
from series.report.notebooks import heading, read

TEMPLATES = Path(__file__).with_name("templates")
COMPARED = "parameters", "data", "net", "fit"  # the cells that shape a run
COMMENT = re.compile(r' *#.*|\n *""".*?"""')  # in code; docstrings, too
TAGS = {"+": "<ins>{}</ins>", "-": "<del>{}</del>"}
LEFT_OUT = "## Start here", "## What each step"  # sections of the README; the report tells of the steps itself
SCROLL = {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": "Table"}
HERO = "\n\n![The test accuracy of every run, step by step](outputs/figures/spread.png)\n"
EXPORT = {
    "CoalesceStreamsPreprocessor": {"enabled": True},
    "ExtractOutputPreprocessor": {"enabled": True},
    "TagRemovePreprocessor": {"enabled": True, "remove_all_outputs_tags": {"conclude"}},  # the last cell says it again
}


def write_report(folder: Path, readme: str = "", root: Path = ROOT) -> Path | None:
    """Write the report of a folder that holds the whole series, and return the path of its index.

    `readme` is the README with the folder's figures; that of `root`, if left out. Files of an older report are removed.
    """
    report, html = Report(folder.absolute(), root), folder / "html"
    if not report.steps or not all(step.exists() for step in report.steps):
        return None
    files = report.make(readme or (root / "README.md").read_text(encoding="utf-8"))
    for name, content in files.items():
        write_whole(html / name, content)
    for path in {*html.glob("*.*"), *html.glob("figures/*")} - {html / name for name in files}:
        path.unlink()
    return html / "index.html"


class Report:
    """The report of a folder: `files` by name, made of the notebooks that are executed there."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        self.files: dict[str, str | bytes] = {}
        self.steps = [folder / path.name for path in sorted(root.glob("notebooks/[0-9][0-9]_*.ipynb"))]
        self.templates = Environment(loader=FileSystemLoader(TEMPLATES))
        self.templates.filters["markdown"] = markdown2html

    def make(self, readme: str) -> dict[str, str | bytes]:
        """All files by name."""
        self.notebooks = {path: read(path) for path in [*self.steps, *sorted(self.folder.glob("smaller/*.ipynb"))]}
        self.pages = {"index.html": "Overview"}
        self.pages |= {f"{path.stem}.html": heading(notebook) for path, notebook in self.notebooks.items()}
        weights = sorted(self.folder.glob(f"weights/{self.steps[-1].stem}/seed-*.json"))
        if weights:
            network = {"mean": MEAN, "std": STD, "layers": load_layers(weights[0])}
            self.files["weights.js"] = f"const NETWORK = {json.dumps(network)};\n"
            self.files["digit.js"] = (TEMPLATES / "digit.js").read_text(encoding="utf-8")
        self.files["style.css"] = (TEMPLATES / "style.css").read_text(encoding="utf-8")
        self.add_page("index", self.root / "README.md", self.story(readme) | {"weights": weights}, {})
        for path, notebook in self.notebooks.items():
            self.add_page(path.stem, path, *exported(notebook, path.stem))
        return self.files

    def story(self, readme: str) -> dict[str, object]:
        """The parts of the index: what the README says and the report doesn't, and the steps."""
        readme = re.sub(r"<!-- badges:.*?<!-- end of badges -->", "", readme, flags=re.S)
        opening, results, rest = [*re.split(r"<!-- results\b.*?-->|<!-- end of results -->", readme), "", ""][:3]
        paragraphs = re.sub(r"<!--.*?-->", "", rest, flags=re.S).split("\n\n")
        rest = "\n\n".join(part for part in paragraphs if "[the report](" not in part)  # which leads here
        note, *sections = re.split(r"^(?=## )", rest, flags=re.M)
        told = [part for part in sections if not part.startswith(LEFT_OUT)]
        wrong = [part for part in told if "always-wrong.png" in part]
        return {
            "opening": opening if "spread.png" in opening + results else opening + HERO,
            "results": results + note,
            "steps": self.told_steps(),
            "wrong": "".join(wrong),
            "rest": "".join(part for part in told if part not in wrong),
        }

    def told_steps(self) -> Iterator[dict[str, object]]:
        """Of each step its page, its network, what it changes, and the recorded block without its exercises."""
        notebooks = [self.notebooks[step] for step in self.steps]
        for step, before, after in zip(self.steps, notebooks[:1] + notebooks, notebooks, strict=False):
            block = re.sub(r"^(?=#)", "#", after.cells[-1].source.partition("\n**Try it.**")[0], flags=re.M)
            code = {"net": source(after, "net"), "changes": changes(before, after)}
            yield {"page": f"{step.stem}.html", "block": block, **code}

    def add_page(self, stem: str, source: Path, parts: dict[str, object], pictures: dict[str, bytes]) -> None:
        """Add a page: links lead on from there, pictures are files, tables and code can be scrolled by keyboard."""
        template = self.templates.get_template("index.html.j2" if stem == "index" else "page.html.j2")
        text = template.render(here=f"{stem}.html", pages=self.pages, source=self.address("", source), **parts)
        soup = BeautifulSoup(text, "html.parser")
        for mark in soup.find_all(class_="anchor-link"):
            mark.decompose()
        soup.title.string = soup.h1.get_text()
        for line in soup.main.find_all(["h1", "h2", "h3", "h4"]):
            anchor = re.sub(r"[^\w-]", "", line.get_text().lower().replace(" ", "-"))  # as GitHub has it
            line.attrs = {"id": anchor} if line.name in ("h1", "h2") else {}  # those of blocks are alike
        for link in soup.main.find_all("a", href=re.compile(r"^(?!\w+:)")):
            if not soup.find(id=link["href"].removeprefix("#")):
                link["href"] = self.address(link["href"], source)
        for image in soup.find_all("img"):
            self.place(image, source, pictures)
        for table in soup.find_all("table"):
            table.wrap(Tag(name="div", attrs=SCROLL))
        for code in soup.find_all("pre"):
            code["tabindex"] = 0
        self.files[f"{stem}.html"] = str(soup)

    def place(self, image: Tag, source: Path, pictures: dict[str, bytes]) -> None:
        """Put a picture into a file, which those alike share, and link to it; without a file its text is shown."""
        path = self.local(image["src"], source)
        content = pictures.get(image["src"]) or (path.read_bytes() if path.is_file() else b"")
        if not content:  # pages ask the network for nothing
            image.replace_with(image.get("alt", ""))
            return
        alike = (name for name, other in self.files.items() if other == content)
        image["src"] = name = next(alike, f"figures/{path.name}")
        self.files[name] = content
        image.wrap(Tag(name="a", attrs={"class": "figure", "href": name}))

    def address(self, link: str, source: Path) -> str:
        """The address for a link of a file, or for the file itself: a page of the report where it has one."""
        link, mark, anchor = link.partition("#")
        path = self.local(link, source) if link else source
        page = "index.html" if path == self.root / "README.md" else f"{path.stem}.html"
        known = link and page in self.pages and (path.suffix in (".ipynb", ".html") or path.name == "README.md")
        return (page if known else quote(os.path.relpath(path, self.folder / "html"))) + mark + anchor

    def local(self, link: str, source: Path) -> Path:
        """The file that a link leads to; the folder's own in place of a recorded one."""
        outputs, bases = self.root / "outputs", (source.parent, self.folder, self.root / "notebooks")
        paths = [Path(os.path.normpath(base / unquote(link))) for base in bases]
        paths = [self.folder / path.relative_to(outputs) for path in paths if path.is_relative_to(outputs)] + paths
        return next(filter(Path.exists, paths), paths[0])


def exported(notebook: NotebookNode, stem: str) -> tuple[dict[str, object], dict[str, bytes]]:
    """An executed notebook as the body of a page, from its heading on, and its pictures by name."""
    for cell in notebook.cells:
        cell.metadata["tags"] = [cell.id]  # by which EXPORT finds it
    template = str(TEMPLATES / "notebook.html.j2")
    exporter = HTMLExporter(config=Config(EXPORT), template_name="basic", template_file=template)
    body, resources = exporter.from_notebook_node(notebook, {"unique_key": stem, "output_files_dir": "figures"})
    return {"body": body[body.index("<h1") :]}, resources["outputs"]


def source(notebook: NotebookNode, name: str) -> str:
    """The source of the cell with this id."""
    return next(cell.source for cell in notebook.cells if cell.id == name)


def changes(before: NotebookNode, after: NotebookNode) -> str:
    """The code that differs, cell by cell, with a line around it, marked so that it is heard as well as seen."""
    marked = ""
    for cell in COMPARED:
        texts = [COMMENT.sub("", source(notebook, cell)).split("\n") for notebook in (before, after)]
        lines = list(unified_diff(*([line for line in text if line] for text in texts), n=1, lineterm=""))[2:]
        marked += f"<span># {cell}</span>\n" if lines else ""
        marked += "".join(TAGS.get(line[0], "{}\n").format(escape(line)) for line in lines if line[0] != "@")
    return marked
