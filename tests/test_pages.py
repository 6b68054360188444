"""The report for a browser, as files: whole, without requests, and readable without eyes on it."""

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from helpers import make_run

from common import notebooks, pages, runs, summary
from common.changes import code_changes
from common.runs import write_metrics

ROOT = runs.ROOT
PAGES = [f"{name}.html" for name in ("index", *notebooks.SERIES, "smaller_network")]


class Reader(HTMLParser):
    """The text of a page, and its elements with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.elements = "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, *tags: str) -> list[dict]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_the_network_for_nothing(report, name):
    reader = Reader((report / name).read_text(encoding="utf-8"))
    loaded = [found for found in reader.all("script", "img", "link", "iframe", "source") for found in found.items()]
    assert not [address for key, address in loaded if key in ("src", "href") and re.match(r"(https?:)?//", address)]
    assert "@import" not in (report / "style.css").read_text() and "url(" not in (report / "style.css").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_refers_to_is_there(report, name):
    reader = Reader((report / name).read_text(encoding="utf-8"))
    found = [element.get("href") or element.get("src") for element in reader.all("a", "img", "link", "script")]
    local = [address for address in found if address and not re.match(r"https?:|data:|#", address)]
    assert len(local) > 7
    assert [address for address in local if not (report / address.partition("#")[0]).exists()] == []
    inside = [address for address in found if address and address.startswith("#")]
    page = (report / name).read_text(encoding="utf-8")
    assert [anchor for anchor in inside if f'id="{anchor[1:]}"' not in page] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_heard(report, name):
    reader = Reader((report / name).read_text(encoding="utf-8"))
    assert reader.all("html") == [{"lang": "en"}]
    assert all(len(image.get("alt") or "") > 15 for image in reader.all("img"))
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    [here] = [link["href"] for link in reader.all("a") if link.get("aria-current") == "page"]
    assert here == name
    assert all(attributes.get("tabindex") == "0" for attributes in reader.all("pre"))


def luminance(colour: str) -> float:
    """As the accessibility guidelines define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_every_ground(scheme):
    style = (pages.SITE / "style.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+): (#\w{6})", re.findall(r":root \{(.*?)\}", style, flags=re.S)[scheme]))
    pairs = ["ink paper", "ink panel", "ink added", "ink removed", "quiet paper", "accent paper", "accent panel"]
    for pair in pairs:
        low, high = sorted(luminance(colours[name]) for name in pair.split())
        assert (high + 0.05) / (low + 0.05) >= 4.5, pair


def test_figures_are_files_that_pages_share_and_all_of_it_is_small(report):
    used = [Reader((report / name).read_text(encoding="utf-8")).all("img") for name in PAGES]
    sources = [{image["src"] for image in images} for images in used]
    assert sources[1] & sources[2], "the sample of the data is the same in all stages"
    contents = [path.read_bytes() for path in report.glob("figures/*")]
    assert len(contents) == len(set(contents))
    assert not any("base64" in (report / name).read_text(encoding="utf-8") for name in PAGES)
    assert sum(path.stat().st_size for path in report.rglob("*.*")) < 10_000_000


def test_the_index_tells_the_whole_story(report):
    text = Reader((report / "index.html").read_text(encoding="utf-8")).text
    for part in (
        "Results on MNIST",
        "What each stage changes, in code",
        "Receptive field",
        "Loss",
        "Inference",
        "Try a digit",
    ):
        assert part in text
    assert "written by run_all.sh" not in text and "Run it" not in text


def test_the_change_of_a_stage_is_the_lines_that_its_notebook_adds():
    before, after = (
        json.loads((notebooks.NOTEBOOKS / f"{stage}.ipynb").read_text()) for stage in notebooks.SERIES[3:5]
    )
    told = code_changes(before, after)
    assert "<ins>+rotation = 10.0" in told and "<del>-" in told
    assert code_changes(before, before) == ""


def test_the_board_is_left_out_where_no_weights_are_recorded(folder):
    shutil.rmtree(folder / "weights")
    report = pages.make_report(folder, summary.read_results(folder))
    assert "<h2>Try a digit" not in report["index.html"] and "weights.js" not in report


def test_files_of_an_older_report_go(folder):
    for name in ("07_old.html", "figures/old.png"):
        (folder / "html" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "html" / name).touch()
    pages.write_report(folder)
    assert not (folder / "html" / "07_old.html").exists() and not (folder / "html" / "figures" / "old.png").exists()


def test_without_the_smaller_network_no_page_leads_to_one(folder):
    shutil.rmtree(folder / "smaller")
    report = pages.make_report(folder, summary.read_results(folder))
    assert "smaller_network.html" not in report
    assert not any('href="smaller_network.html"' in report[name] for name in report if name.endswith(".html"))


def test_a_part_of_the_series_has_no_report(tmp_path, recorded):
    write_metrics(tmp_path, make_run(stage="01_skeleton"))
    pages.write_report(tmp_path)
    assert not (tmp_path / "html").exists()


def test_the_recorded_report_says_what_the_recorded_runs_say():
    made = pages.make_report(ROOT / "outputs", summary.read_results(ROOT / "outputs"))
    there = {str(path.relative_to(ROOT / "outputs/html")) for path in (ROOT / "outputs/html").rglob("*.*")}
    assert there == set(made)
    for name in PAGES:  # the words alone: versions of nbconvert and Pygments differ in the marks around them
        text = (ROOT / "outputs" / "html" / name).read_text(encoding="utf-8")
        assert Reader(text).text.split() == Reader(made[name]).text.split()
