"""The pages: their marks are filled from the runs, no figure goes unchecked, and every link leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from common.analysis import WORDS as ANALYSIS
from common.config import ROOT, InputError
from common.runs import OUTPUTS
from series.plans import read_plan
from series.report import PAGES, questions, read_results, tables
from series.report.notebooks import addressed, read
from series.report.pages import WORDS, badges, clone, fill, filled, parts, repository, site

README = (ROOT / "README.md").read_text(encoding="utf-8")
FILLED = [path for pattern in PAGES for path in ROOT.glob(pattern)]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
CHOICES, HELD_OUT = (OUTPUTS / name / "README.md" for name in ("choices", "held_out"))
TEXTS = {path: path.read_text(encoding="utf-8") for path in [*FILLED, CHOICES, ROOT / "CONTRIBUTING.md"]}
TEXTS |= {path: path.read_text(encoding="utf-8") for path in OUTPUTS.glob("*/README.md")}
for path in NOTEBOOKS:
    TEXTS[path] = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
# Figures, and nothing claimed of them.
TABLES = {"setting", "digits", "conventional", "fast", "growth", "gpu", "cuda", "ten"}


@pytest.fixture(scope="module")
def part():
    """What the pages are filled with, for the address that they have: GitHub writes it after the first push."""
    found = re.search(r"github\.com/([\w.-]+/[\w.-]+)/actions", README)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_REPOSITORY", found[1] if found else "unknown")
        yield parts(read_results(OUTPUTS))


@pytest.mark.parametrize("path", FILLED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_recorded_pages_are_what_the_runs_make_of_them(path: Path, part) -> None:
    assert filled(TEXTS[path], part) == TEXTS[path]


def test_pages_of_a_part_of_the_series_leave_out_what_the_other_steps_would_tell() -> None:
    found = filled(README, parts(read_results(OUTPUTS)[-1:]))
    assert "_Left out: no run of 1 is recorded._" in found and "Wrong digits fall from" not in found
    part = parts(read_results(OUTPUTS)[:2])
    assert "_Left out: no run of 6 is recorded._" in part("loss") and "**1 · A bare" in part("lessons")


def test_the_pages_of_the_choices_are_what_the_runs_make_of_them() -> None:
    plans = [read_plan(path, ROOT) for path in sorted(ROOT.glob("series/plans/choices/**/*.toml"))]
    assert filled(TEXTS[CHOICES], tables.choices(plans, OUTPUTS).__getitem__) == TEXTS[CHOICES]
    assert filled(TEXTS[HELD_OUT], questions().__getitem__) == TEXTS[HELD_OUT]


def test_every_paragraph_with_a_figure_has_a_check() -> None:
    for path in [*ANALYSIS.glob("*.md"), *WORDS.glob("*.md")]:
        for paragraph in path.read_text(encoding="utf-8").strip().split("\n\n"):
            if re.search(r"\{(?!result\})", paragraph) and path.stem not in TABLES:
                assert paragraph.startswith("<!-- "), f"{path.name}: {paragraph}"


def test_the_readme_is_short_and_in_order() -> None:
    words = re.sub(r"<!--.*?-->|\]\([^)]*\)|^[|: -]+$|\|", " ", README, flags=re.S | re.M).split()
    assert len(words) <= 900
    heads = [
        "spread.png",
        "| Step",
        "## Start here",
        "## The network",
        "## What each",
        "## What we",
        "## Can you",
        "## Go",
    ]
    assert sorted(heads, key=README.index) == heads


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_sentence_is_struck_out_or_left_out_and_links_lead_somewhere(path: Path) -> None:
    assert "Not borne out" not in TEXTS[path] and "_Left out" not in TEXTS[path]
    for link in re.findall(r"\]\(([^)\s]+)\)", addressed(TEXTS[path], "")):
        if re.match(r"[a-z]+:", link):
            continue
        address, _, anchor = link.partition("#")
        target = path.parent / unquote(address) if address else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor and target.suffix == ".md":
            heads = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}, link


def test_spelling() -> None:
    paths = [path for path in [*TEXTS, ROOT / "common", ROOT / "series", ROOT / "tests"] if path.exists()]
    check = [sys.executable, "-m", "codespell_lib", "--ignore-words-list", "nin,rin", "--skip", "*.pyc", *paths]
    assert subprocess.run(check, capture_output=True, text=True).stdout == ""


def test_badges_and_links_have_the_address_where_it_is_known() -> None:
    assert badges("") == "" and "github" not in (clone("") + site("")).lower().replace("→ github*", "")
    assert badges("Me/mine").count("(https://github.com/Me/mine/actions/workflows/publish.yml") == 2
    assert "git clone https://github.com/Me/mine`" in clone("Me/mine")
    assert "(https://me.github.io/mine/)" in site("Me/mine") and "outputs" not in site("Me/mine")
    for name in re.findall(r"workflows/([\w.]+)", badges("Me/mine")):
        assert (ROOT / ".github" / "workflows" / name).exists()


@pytest.mark.parametrize(
    ("known", "origin", "found"),
    [
        ("me/mine", "https://github.com/you/yours", "me/mine"),
        ('me/mine"; rm -rf', "", ""),
        ("", "https://github.com/me/mine.git", "me/mine"),
        ("", "git@github.com:me/my.series.git", "me/my.series"),
        ("", "ssh://git:token@github.com/me/mine/", "me/mine"),
        ("", "https://github.com.evil.example/me/mine", ""),
        ("", "/srv/github.com/me/mine", ""),
        ("", "", ""),
    ],
)
def test_the_address_is_that_of_github_or_none(
    known: str, origin: str, found: str, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", known)
    subprocess.run(["git", "-C", tmp_path, "init", "-q"], check=True)
    if origin:
        subprocess.run(["git", "-C", tmp_path, "config", "remote.origin.url", origin], check=True)
    assert repository(tmp_path) == found


def test_marks_are_filled_again_and_again_and_what_is_around_them_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- a: written by ./run_all.sh publish -->\n<!-- end of a -->\n\nAfter.\n")
    fill(page, lambda name: f"{name}: \\1 {{x}}")
    once = page.read_text()
    assert once.startswith("Before.\n\n<!-- a: written") and "\n\na: \\1 {x}\n\n" in once and once.endswith("After.\n")
    fill(page, lambda name: f"{name}: \\1 {{x}}")
    assert page.read_text() == once
    page.write_text(once.replace("<!-- end of a -->", ""))
    with pytest.raises(InputError, match="needs a line <!-- end of"):
        fill(page, str)
