"""The report for a browser: an index page that tells the whole story, and the notebooks as pages, in `html/`."""

import base64
import html
import json
import os
import re
from itertools import pairwise
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

from common import REPOSITORY, smaller, summary, tables
from common.batches import MEAN, STD
from common.changes import code_changes
from common.files import write_whole
from common.notebooks import NOTEBOOKS, SERIES
from common.runs import ROOT, Runs
from common.weights import read_layers

SITE = Path(__file__).resolve().parent / "site"
# Sections of the README that are no part of the story.
PRACTICE = ("Run it", "Change a stage, or add one", "Contribute", "Layout")
Figures = dict[bytes, str]  # the file of each picture: stages share those that are alike


def write_report(folder: Path) -> None:
    """Write the report of `folder`, where it holds the whole series; files of an older one go."""
    results = summary.read_results(folder)
    whole = [runs.stage for runs in results] == SERIES
    if not (whole and all((folder / f"{stage}.ipynb").exists() for stage in SERIES)):
        return
    report = make_report(folder, results)
    for name, content in report.items():
        write_whole(folder / "html" / name, content)
    for pattern in ("*.html", "*.js", "figures/*.png"):
        for path in (folder / "html").glob(pattern):
            if str(path.relative_to(folder / "html")) not in report:
                path.unlink()


def make_report(folder: Path, results: list[Runs]) -> dict[str, str | bytes]:
    """The files of the report, by their names."""
    notebooks = {stage: nbformat.read(executed(folder, stage), as_version=4) for stage in told_of(folder)}
    figures: Figures = {}
    for stage, notebook in notebooks.items():
        take_figures(stage, notebook, figures)
    report = {f"{stage}.html": stage_page(stage, notebook, folder) for stage, notebook in notebooks.items()}
    weights = sorted((folder / "weights" / results[-1].stage).glob("seed-*.json"))
    if weights:
        network = {"mean": MEAN, "std": STD, "layers": read_layers(weights[0])}
        report["weights.js"] = f"const NETWORK = {json.dumps(network)};\n"
        report["digit.js"] = (SITE / "digit.js").read_text(encoding="utf-8")
    report["index.html"] = index_page(folder, results, [notebooks[runs.stage] for runs in results], bool(weights))
    report["style.css"] = code_colours() + (SITE / "style.css").read_text(encoding="utf-8")
    return report | {name: picture for picture, name in figures.items()}


def told_of(folder: Path) -> list[str]:
    """What has a page: the stages, and the smaller network where it stands beside them."""
    return [*SERIES, *([smaller.STAGE] if executed(folder, smaller.STAGE).exists() else [])]


def executed(folder: Path, stage: str) -> Path:
    """Where the executed copy of a stage is, or that of the smaller network."""
    return folder / smaller.FOLDER.name / f"{stage}.ipynb" if stage == smaller.STAGE else folder / f"{stage}.ipynb"


def title(stage: str) -> str:
    """What a page is called."""
    return "A smaller network" if stage == smaller.STAGE else tables.title(stage)


def take_figures(stage: str, notebook: nbformat.NotebookNode, figures: Figures) -> None:
    """Have the notebook's figures stand in files of their own."""
    for cell in notebook.cells:
        shown = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        for number, output in enumerate(shown, 1):
            picture = base64.b64decode(output.data["image/png"])
            name = figures.setdefault(picture, f"figures/{stage}-{cell.id}-{number}.png")
            output.metadata["filenames"] = {"image/png": name}


def stage_page(stage: str, notebook: nbformat.NotebookNode, folder: Path) -> str:
    """An executed notebook as a page."""
    intro = notebook.cells[0]
    intro.source = intro.source[intro.source.index("# ") :]  # the page has a navigation of its own
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    body, _ = exporter.from_notebook_node(notebook)
    source = ROOT / smaller.NOTEBOOK if stage == smaller.STAGE else NOTEBOOKS / f"{stage}.ipynb"
    address = f"blob/main/{source.relative_to(ROOT).as_posix()}"
    links = {
        f"{REPOSITORY}/{address}": "This notebook in the repository",
        f"{tables.COLAB}/{address}": "Open it in Colab",
    }
    return page(f"{stage}.html", title(stage), relink(body, source.parent, folder), links, told_of(folder))


def index_page(folder: Path, results: list[Runs], notebooks: list[nbformat.NotebookNode], weights: bool) -> str:
    """The whole story: the README's, with the folder's own figures, the changes of code, and digits to try."""
    readme = summary.filled((ROOT / "README.md").read_text(encoding="utf-8"), summary.readme_parts(folder, results))
    readme = re.sub(r"<!--.*?-->", "", readme)
    start, *sections = re.split(r"^## ", readme, flags=re.M)
    board = (SITE / "digit.html").read_text(encoding="utf-8") if weights else ""
    additions = {
        "The six steps": changes(notebooks, [runs.stage for runs in results]),
        "Inference": pictures(notebooks[-1]) + board,
        "The published systems": tables_of(folder / "published"),
    }
    overview = summary.overview(results).replace("# ", "## ", 1)
    body = [as_html(start, ROOT, folder), as_html(overview, folder, folder)]
    for section in sections:
        name = section.partition("\n")[0]
        if name not in PRACTICE:
            body += [as_html(f"## {section}", ROOT, folder), additions.pop(name, "")]
    name = start.strip().partition("\n")[0].removeprefix("# ")
    body += additions.values()
    return page("index.html", name, "\n".join(body), {REPOSITORY: "The repository"}, told_of(folder))


def as_html(text: str, base: Path, folder: Path) -> str:
    """Markdown that was written in `base`, as a part of a page; headings without links to themselves."""
    body = re.sub(r'<a class="anchor-link".*?</a>', "", markdown2html(text))
    body = re.sub(r'(<h\d id=")([^"]*)', lambda match: match[1] + github_anchor(html.unescape(match[2])), body)
    return relink(body, base, folder)


def github_anchor(heading: str) -> str:
    """What GitHub calls a heading, and the texts' links within a page do, too."""
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))


def tables_of(folder: Path) -> str:
    """What the README of a folder beside the series says, from its first table on; nothing where there is none."""
    path = folder / "README.md"
    if not path.exists():
        return ""
    _, *parts = re.split(r"<!--.*?-->", path.read_text(encoding="utf-8"))  # what stands above, the series' README says
    return as_html(re.sub(r"^##", "###", "".join(parts), flags=re.M), folder, folder.parent)


def changes(notebooks: list[nbformat.NotebookNode], stages: list[str]) -> str:
    """The code that differs between neighbouring notebooks."""
    parts = ["<h2>What each stage changes, in code</h2>"]
    parts.append("<p>In parameters, data, network and training: − is the stage before, + is this one.</p>")
    for stage, (before, after) in zip(stages[1:], pairwise(notebooks), strict=True):
        parts.append(f'<h3><a href="{stage}.html">{html.escape(title(stage))}</a></h3>')
        parts.append(f'<pre class="diff" tabindex="0"><code>{code_changes(before, after)}</code></pre>')
    return "\n".join(parts)


def pictures(notebook: nbformat.NotebookNode) -> str:
    """What the last stage's notebook shows of its answers."""
    outputs = [output for cell in notebook.cells if cell.id in ("inference", "wrong") for output in cell.outputs]
    shown = [output.metadata for output in outputs if "filenames" in output.get("metadata", {})]
    figures = [
        f'<img src="{metadata.filenames["image/png"]}" alt="{html.escape(metadata["image/png"]["alt"])}">'
        for metadata in shown
    ]
    return "\n".join(["<p>A run of the last stage: what it gets wrong, and what it answers.</p>", *figures])


def page(here: str, name: str, body: str, links: dict[str, str], stages: list[str]) -> str:
    """A page with the navigation that all have."""
    pages = {"index.html": "Overview"} | {f"{stage}.html": title(stage) for stage in stages}
    # What is wider than a phone is moved by itself, by keyboard as well.
    body = body.replace("<table", '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table')
    body = re.sub(r"<pre(?=>)", '<pre tabindex="0"', body.replace("</table>", "</table></div>"))
    body = re.sub(r'<img[^>]*?src="([^"]*)"[^>]*>', r'<a class="figure" href="\1">\g<0></a>', body, flags=re.S)
    template = Environment(loader=FileSystemLoader(SITE), keep_trailing_newline=True).get_template("page.html.j2")
    return template.render(here=here, title=name, body=body, pages=pages, links=links)


def relink(text: str, base: Path, folder: Path) -> str:
    """Links and pictures that were told from `base` as the pages need them: stages as pages, other files from here."""

    def point(match: re.Match) -> str:
        attribute, address = match.groups()
        target = Path(address)
        if re.match(r"[a-z]+:|#", address) or (attribute == "src" and base.is_relative_to(NOTEBOOKS)):
            return match[0]
        if target.suffix == ".ipynb" and target.stem in told_of(folder):
            return f'{attribute}="{target.stem}.html"'
        return f'{attribute}="{Path(os.path.relpath(base / target, folder / "html")).as_posix()}"'

    return re.sub(r'\b(href|src)="([^"]*)"', point, text)


def code_colours() -> str:
    """The colours of code, light and dark."""
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return (
        f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n.highlight {{ background: none !important; }}\n"
    )
