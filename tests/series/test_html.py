"""The report, as files: whole, without requests, and readable without eyes on it."""

import re
import shutil
from itertools import pairwise
from urllib.parse import unquote

import pytest
from report_for_tests import PAGES, RECORDED, make_series, page_at, read

from common.config import ROOT, InputError
from series.report.html import TEMPLATES, Report, write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of the shared report."""
    return page_at(tmp_path_factory.getbasetemp(), "index").parent


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_the_network_for_nothing_refers_to_what_is_there_and_can_be_heard(report, name):
    path = page_at(report.parents[2], name)
    page = read(path)
    loaded = [tag.get("src") or tag["href"] for tag in page.find_all(["script", "img", "link", "iframe"])]
    assert loaded and not [address for address in loaded if re.match(r"(https?:)?//", address)]
    found = loaded + [link["href"] for link in page.find_all("a")]
    local = [unquote(address) for address in found if not re.match(r"\w+:|#", address)]
    assert len(local) > 7
    assert [address for address in local if not (path.parent / address.partition("#")[0]).exists()] == []
    assert [address for address in found if address[0] == "#" and not page.find(id=address[1:])] == []
    assert page.html["lang"] == "en" and page.title.get_text() == page.h1.get_text()
    assert all(len(image.get("alt", "")) > 15 for image in page.find_all("img"))
    levels = [int(heading.name[1]) for heading in page.find_all(re.compile(r"h\d"))]
    assert levels[0] == 1 and levels.count(1) == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    assert [link["href"] for link in page.find_all("a", attrs={"aria-current": "page"})] == [path.name]
    assert all(code["tabindex"] == "0" for code in page.find_all("pre"))
    assert all(table.parent["tabindex"] == "0" and table.parent["aria-label"] for table in page.find_all("table"))
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))


def test_the_index_tells_a_step_at_a_time_and_nothing_twice(report):
    page = read(report / "index.html")
    headings = [heading.get_text() for heading in page.find_all("h2")]
    assert headings == ["1 · First", "2 · Second", "Two digits", "Try a digit", "What we learned", "Loss, and more"]
    assert [block.get_text() for block in page.find_all("h3")] == ["Target / Result / Analysis: ours"] * 2
    assert [image["src"] for image in page.find_all("img")] == ["figures/spread.png", "figures/always-wrong.png"]
    opening, _, rest = page.get_text().partition("class Net")
    assert "98.83%" in opening and "Note on results." in opening and "98% in step 1" in rest and "A loss." in rest
    assert not re.search(r"Practice\.|written by|exercise|Yours|Draw one in", str(page))
    ways = [link["href"] for link in page.find_all("a", href=re.compile(r"^\.\./"))]
    assert ways == ["../../common/train.py"] * 2 + ["../../README.md#start-here", "../../README.md"]


def test_the_difference_of_a_step_is_its_code_with_a_line_around_it(report):
    found = str(read(report / "index.html").find(class_="diff"))
    assert "<span># parameters</span>\n seed = 0\n<del>-rate = 0.1</del><ins>+rate = 0.2</ins>" in found
    assert "<del>-    a, b</del>     same\n<ins>+    a&lt;b&gt;c</ins>" in found
    assert not re.search("comment|Docstring|load", found)


def test_the_page_of_a_notebook_folds_its_machinery_and_shares_its_pictures(report):
    page, other = (read(report / name) for name in ("02_second.html", "01_first.html"))
    folded = [summary.get_text() for summary in page.find_all("summary")]
    assert folded == ["Set-up: fetches all", "Parameters of this run"]
    words = page.get_text()
    assert "epoch 1 <b>\nepoch 2 <b>" in words
    assert "end()" in words and "Analysis: ours" in words and not re.search("Next|Yours", words)
    ways = {link["href"] for link in page.find_all("a")}
    assert {"index.html#loss-and-more", "../../common/train.py", "01_first.html"} <= ways
    same, own = ([image["src"] for image in images] for images in zip(page("img"), other("img"), strict=True))
    assert same[0] == same[1] and own[0] != own[1] and len(list(report.glob("figures/*"))) == 5


def luminance(colour: str) -> float:
    """As the accessibility guidelines define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_every_ground(scheme):
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    assert "@import" not in style and "url(" not in style
    colours = dict(re.findall(r"--(\w+): (#\w{6})", re.findall(r":root \{(.*?)\}", style, flags=re.S)[scheme]))
    pairs = ["ink paper", "ink panel", "ink added", "ink removed", "quiet paper", "accent paper", "accent panel"]
    for pair in [*pairs, "keyword panel", "string panel", "comment panel"]:
        low, high = sorted(luminance(colours[name]) for name in pair.split())
        assert (high + 0.05) / (low + 0.05) >= 4.5, pair


def test_the_same_results_give_the_same_files_older_ones_go_and_a_part_of_the_series_has_no_report(tmp_path):
    folder = make_series(tmp_path)
    assert write_report(folder, root=tmp_path) == folder / "html" / "index.html"
    made = {path: path.read_bytes() for path in folder.glob("html/**/*.*")}
    for name in ("07_old.html", "figures/old.png"):
        (folder / "html" / name).touch()
    write_report(folder, root=tmp_path)
    assert {path: path.read_bytes() for path in folder.glob("html/**/*.*")} == made
    (folder / "weights" / "02_second" / "seed-0.json").write_text("[{")
    with pytest.raises(InputError, match=r"seed-0\.json can't be read"):
        write_report(folder, root=tmp_path)
    (folder / "02_second.ipynb").unlink()
    assert write_report(folder, root=tmp_path) is None


def test_a_folder_of_its_own_has_its_own_pictures_words_and_no_board_without_weights(tmp_path):
    folder = tmp_path / "runs" / "mine"
    shutil.copytree(make_series(tmp_path), folder)
    (folder / "figures" / "spread.png").write_bytes(b"mine")
    shutil.rmtree(folder / "weights")
    page = read(write_report(folder, "# Mine\n\nMy words.", tmp_path))
    assert "My words." in page.get_text() and "Two digits" not in page.get_text()
    assert (folder / "html" / page.find("img")["src"]).read_bytes() == b"mine"
    assert not page.find(id="board") and not list(folder.glob("html/*.js"))


def test_the_recorded_report_says_what_the_recorded_notebooks_say(tmp_path):
    made = Report(ROOT / "outputs", ROOT).make((ROOT / "README.md").read_text(encoding="utf-8"))
    assert set(made) == {path.relative_to(RECORDED).as_posix() for path in RECORDED.rglob("*.*")}
    for name in [name for name in made if name.endswith(".html")]:
        (tmp_path / name).write_text(made[name], encoding="utf-8")  # words alone: versions of nbconvert differ in marks
        assert read(tmp_path / name).get_text().split() == read(RECORDED / name).get_text().split()
