"""What readers meet in a browser: the report's pages, the digit to draw, and a notebook run in JupyterLab."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from common import notebooks, runs
from common.batches import MEAN, STD
from common.inference import as_mnist
from common.standin import TRAIN_FONTS, draw_half

ROOT = runs.ROOT
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
QUIET += " --disable-component-update --disable-sync"
PATIENCE = 240_000  # milliseconds: browsers are slow on busy machines
PAGES = ["index", *notebooks.SERIES, "smaller_network"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, from the system; where there is none the tests are skipped, unless they are asked for (`.ci/run`)."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if not program:
        words = "no Chromium was found: install it (Debian, Ubuntu: apt install chromium)"
        pytest.fail(words) if os.environ.get("BROWSER_TESTS") == "required" else pytest.skip(words)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET.split(), timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page that waits as long as a busy machine takes."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    yield page
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_from_the_file_system_on_desktop_and_phone(page, report, name):
    troubles = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: None if re.match("file:|data:", request.url) else troubles.append(request.url))
    page.goto(f"{report.as_uri()}/{name}.html")
    assert page.evaluate("[...document.images].filter((image) => !image.naturalWidth).map((image) => image.src)") == []
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "only tables and code may be wider"
    assert troubles == []


def test_the_first_thing_the_keyboard_reaches_leads_past_the_navigation(page, report):
    page.goto(f"{report.as_uri()}/index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#content"


def test_the_pages_are_dark_where_the_reader_wants_it(page, report):
    page.emulate_media(color_scheme="dark")
    page.goto(f"{report.as_uri()}/index.html")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"


def test_the_pages_network_gives_the_scores_that_pytorch_gives(page, report, network):
    images = torch.cat([draw_half(TRAIN_FONTS, 20, seed=0)[0].float().div(255), torch.rand(5, 28, 28)])
    page.goto(f"{report.as_uri()}/index.html")
    scores = torch.tensor(page.evaluate("(images) => images.map(scores)", images.flatten(1).tolist()))
    with torch.no_grad():
        expected = network((images.unsqueeze(1) - MEAN) / STD)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


def test_the_page_makes_a_drawing_like_mnist_as_python_does(page, report):
    torch.manual_seed(0)
    ink = torch.zeros(90, 70)
    ink[20:75, 30:40], ink[60:75, 8:60] = 1, torch.rand(15, 52)
    page.goto(f"{report.as_uri()}/index.html")
    made = torch.tensor(page.evaluate("([ink, width]) => asMnist(ink, width)", [ink.flatten().tolist(), 70]))
    torch.testing.assert_close(made.view(28, 28), as_mnist(ink), atol=1e-5, rtol=0)


def draw(page: Page, *corners: tuple[int, int]) -> None:
    """Draw a line through these places of the board by mouse."""
    box = page.locator("#board").bounding_box()
    places = [(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def answer(page: Page) -> str:
    """What the page takes the drawing for, as of its next frame."""
    page.evaluate("new Promise(requestAnimationFrame)")
    return page.inner_text("#answer")


@pytest.mark.skipif(not list(ROOT.glob("outputs/weights/*/*")), reason="no weights are recorded yet")
def test_a_digit_that_is_drawn_is_recognised(page, report):
    page.goto(f"{report.as_uri()}/index.html")
    page.locator("#board").scroll_into_view_if_needed()
    draw(page, (80, 60), (195, 60), (165, 130), (125, 230))
    assert answer(page).startswith("A 7, with a probability of ")
    chances = [float(text.split()[0]) for text in page.locator("#chances .percent").all_inner_texts()]
    assert len(chances) == 10 and sum(chances) == pytest.approx(100, abs=0.5) and max(chances) == chances[7]


def test_the_board_can_be_used_by_keyboard_and_cleared(page, report):
    page.goto(f"{report.as_uri()}/index.html")
    page.focus("#board")
    assert answer(page) == "Nothing is drawn yet."
    for key in [" ", *["ArrowDown"] * 8]:
        page.keyboard.press(key)
    assert answer(page).startswith("A ")
    page.click("#clear")
    assert answer(page) == "Nothing is drawn yet."


SMALL = {"epochs": "epochs = 1", "images": "images = 200", "data": 'data = "rendered"'}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """JupyterLab in a copy of the repository whose first notebook is small; its address, and the notebook."""
    for name in ("common", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (ROOT / "data").mkdir(exist_ok=True)
    (tmp_path / "data").symlink_to(ROOT / "data")  # the stand-in need not be drawn again
    path = tmp_path / "notebooks" / "01_skeleton.ipynb"
    make_small(path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    options = f"--no-browser --allow-root --port {port} --IdentityProvider.token={token} --LabApp.news_url="
    own = {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "settings"),
        "JUPYTER_DATA_DIR": str(tmp_path / "settings"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    with (tmp_path / "lab.log").open("wb") as log:
        command = [sys.executable, "-m", "jupyterlab", *options.split()]
        server = subprocess.Popen(command, cwd=tmp_path, env=os.environ | own, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}")
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/01_skeleton.ipynb?token={token}", path
    finally:
        server.terminate()
        server.wait(60)


def make_small(path: Path) -> None:
    """Have the notebook run in seconds, and take away the recorded block, so that it can't be taken for a new one."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["id"] == "parameters":
            lines = "".join(cell["source"]).splitlines()
            cell["source"] = "\n".join(SMALL.get(line.partition(" =")[0], line) for line in lines)
    notebook["cells"][-1]["source"] = ""
    path.write_text(json.dumps(notebook), encoding="utf-8")


def wait_for(address: str) -> None:
    """Until a server answers."""
    deadline = time.monotonic() + PATIENCE / 1000
    while True:
        try:
            return urllib.request.urlopen(address).close()
        except OSError:
            assert time.monotonic() < deadline, "JupyterLab does not start"
            time.sleep(0.2)


@pytest.mark.chain
def test_run_all_in_jupyterlab_ends_with_the_block_and_leaves_a_clean_notebook(page, lab):
    address, path = lab
    page.goto(address)
    page.get_by_text("Python 3", exact=False).first.wait_for()  # the kernel that it starts with
    page.click('.lm-MenuBar-itemLabel:text-is("Run")')
    page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
    page.locator(".jp-OutputArea h2", has_text="Target / Result / Analysis: 01_skeleton, seed 0").wait_for()
    page.keyboard.press("Control+s")
    deadline = time.monotonic() + PATIENCE / 1000
    while "Target / Result" not in (text := path.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline, "the notebook is not saved"
        time.sleep(0.2)
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert "widget-view" not in text and "it/s" not in text, "the progress bar is gone when the epoch is over"
