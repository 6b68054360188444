"""What readers meet in a browser: the report's pages, the digit to draw, and a notebook run in JupyterLab."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import urllib.request

import nbformat
import pytest
import torch
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, expect, sync_playwright
from report_for_tests import PAGES, WEIGHTS, page_at

from common.config import ROOT
from common.data import MEAN, STD
from common.inference import as_mnist, restore
from series.report.notebooks import network

NAMES = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"
QUIET = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
PATIENCE = 240_000  # milliseconds: browsers are slow on busy machines


@pytest.fixture(scope="module")
def browser():
    """Chromium, from the system; where there is none the tests are skipped, unless they are asked for (`.ci/run`)."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if not program:
        words = "no Chromium was found: install it (Debian, Ubuntu: apt install chromium)"
        pytest.fail(words) if os.environ.get("BROWSER_TESTS") == "required" else pytest.skip(words)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET.split(), timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """An empty page that waits as long as a busy machine takes."""
    with contextlib.closing(browser.new_page(viewport={"width": 1280, "height": 900})) as page:
        page.set_default_timeout(PATIENCE)
        yield page


@pytest.fixture
def index(page, tmp_path_factory) -> Page:
    """The index of the made report."""
    page.goto(page_at(tmp_path_factory.getbasetemp(), "index").as_uri())
    return page


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_from_the_file_system_on_desktop_and_phone(page, tmp_path_factory, name):
    troubles = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: None if re.match("file:|data:", request.url) else troubles.append(request.url))
    page.goto(page_at(tmp_path_factory.getbasetemp(), name).as_uri())
    assert page.evaluate("[...document.images].filter((image) => !image.naturalWidth).map((image) => image.src)") == []
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "only tables and code may be wider"
    assert troubles == []


def test_the_keyboard_passes_the_navigation_the_dark_is_dark_and_a_phone_shows_the_accuracy(index):
    index.keyboard.press("Tab")
    assert index.evaluate("document.activeElement.getAttribute('href')") == "#content"
    index.emulate_media(color_scheme="dark")
    assert index.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    index.set_viewport_size({"width": 390, "height": 900})
    box = index.get_by_role("cell", name="98.83%").bounding_box()
    assert box["x"] + box["width"] <= 390


def test_the_pages_network_and_its_preparation_of_a_drawing_are_those_of_python(index):
    net = restore(network("06_lr_scheduler"), WEIGHTS)
    images, ink = torch.rand(25, 28, 28, generator=torch.Generator().manual_seed(0)), torch.zeros(90, 70)
    scores = torch.tensor(index.evaluate("(images) => images.map(scores)", images.flatten(1).tolist()))
    with torch.no_grad():
        torch.testing.assert_close(scores, net((images.unsqueeze(1) - MEAN) / STD), atol=1e-4, rtol=0)
    ink[20:75, 30:40], ink[60:75, 8:40] = 1, images[0, :15].repeat(1, 2)[:, :32]
    made = torch.tensor(index.evaluate("([ink, width]) => asMnist(ink, width)", [ink.flatten().tolist(), 70]))
    torch.testing.assert_close(made.view(28, 28), as_mnist(ink), atol=1e-5, rtol=0)


def test_a_digit_is_drawn_and_recognised_cleared_and_drawn_by_keyboard(index):
    answer, board = index.locator("#answer"), index.locator("#board")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    for number, (x, y) in enumerate([(80, 60), (195, 60), (165, 130), (125, 230)]):
        index.mouse.move(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280, steps=4)
        if number == 0:
            index.mouse.down()
    index.mouse.up()
    expect(answer).to_contain_text("A 7, with a probability of ")
    chances = [float(text.rstrip("%")) for text in index.locator("#chances .percent").all_inner_texts()]
    assert len(chances) == 10 and sum(chances) == pytest.approx(100, abs=0.5) and max(chances) == chances[7]
    index.click("#clear")
    expect(answer).to_have_text("Nothing is drawn yet.")
    board.focus()
    for key in [" ", *["ArrowDown"] * 8]:
        index.keyboard.press(key)
    expect(answer).to_contain_text("with a probability of ")


@pytest.mark.chain
def test_run_all_in_jupyterlab_ends_with_the_block_and_leaves_a_clean_notebook(page, tmp_path):
    for name in ("common", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (ROOT / "data").mkdir(exist_ok=True)
    (tmp_path / "data").symlink_to(ROOT / "data")  # the stand-in need not be drawn again
    path = tmp_path / "notebooks" / "01_skeleton.ipynb"
    notebook = nbformat.read(path, as_version=4)
    parameters = next(cell for cell in notebook.cells if cell.id == "parameters")
    parameters.source += '\nepochs, limit, data = 1, 200, "rendered"'
    notebook.cells[-1].source = ""  # so that the recorded block can't be taken for a new one
    nbformat.write(notebook, path)
    own = dict.fromkeys(("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"), str(tmp_path / "settings"))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--LabApp.news_url="]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | own, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = next(filter(None, (re.search(r"http://127\S+", line) for line in server.stderr)))[0]
            while server.poll() is None:  # it names its address before it listens
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(address).close()
                    break
            page.goto(address.replace("/lab?", "/lab/tree/notebooks/01_skeleton.ipynb?"))
            page.get_by_text("Python 3", exact=False).first.wait_for()  # the kernel that it starts with
            running = page.locator(".jp-InputPrompt", has_text="[*]").first
            for _ in range(5):  # a click before the kernel is connected has no effect
                page.click('.lm-MenuBar-itemLabel:text-is("Run")')
                page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
                with contextlib.suppress(PlaywrightError):
                    running.wait_for(timeout=10_000)
                    break
            page.locator(".jp-OutputArea h2", has_text="Target / Result / Analysis: your run (seed 0)").wait_for()
            with page.expect_response(lambda answer: answer.request.method == "PUT" and "/contents/" in answer.url):
                page.keyboard.press("Control+s")
        finally:
            server.terminate()
    outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
    assert any("your run" in output.get("data", {}).get("text/markdown", "") for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert not re.search("widget-view|it/s", path.read_text(encoding="utf-8")), "no bar is left when an epoch is over"
