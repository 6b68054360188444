"""How figures are kept and shown, and what notebooks find of it in `plots`."""

import io

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from PIL import Image

from common import canvas, plots


def drawing() -> Figure:
    """A figure with a line, axes that are named, and a legend."""
    figure, axes = canvas.new_figure("A line", "MNIST", 3)
    canvas.label_accuracy(axes, "epoch")
    axes.plot([1, 2], [98, 99], label="test")
    canvas.legend_below(figure)
    return figure


def test_the_same_figure_is_the_same_file_and_says_nothing_of_when_or_by_what(tmp_path):
    for name in "a.png", "b.png":
        canvas.save(drawing(), tmp_path / "figures" / name)
    first, second = (path.read_bytes() for path in sorted((tmp_path / "figures").iterdir()))
    assert first == second
    assert Image.open(io.BytesIO(first)).info.keys() <= {"transparency", "gamma"}


def test_the_description_is_saved_with_the_figure_and_reaches_nbconverts_page():
    InteractiveShell.instance()
    with capture_output() as captured:
        canvas.show(drawing(), "The surest mistakes")
    [shown] = captured.outputs
    assert shown.metadata == {"image/png": {"alt": "The surest mistakes"}}
    output = nbformat.v4.new_output("display_data", shown.data, metadata=shown.metadata)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])])
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)
    assert 'alt="The surest mistakes"' in page


def test_whoever_draws_a_figure_finds_show_and_save_beside_it():
    assert (plots.show, plots.save) == (canvas.show, canvas.save)
