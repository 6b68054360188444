"""The smaller network beside the series: the words of its notebook, and what the series' pages say of its runs."""

from pathlib import Path

from common import choices
from common.intervals import in_words, step
from common.notebooks import point_to_repository, render_block, render_choices
from common.runs import RECORDED, ROOT, TARGET, Runs, load_runs, size
from common.tables import plus_minus, terminal

NOTEBOOK = Path("notebooks", "appendix", "smaller_network.ipynb")
STAGE = NOTEBOOK.stem
FOLDER = RECORDED / "smaller"
LIMIT = 4_300  # parameters: what the series aims to come below at last


def summarise(folder: Path) -> str:
    """Write the block of the executed copy in `folder`, with recorded runs that of the notebook, too; a table."""
    runs = read_runs(folder)
    if not runs:
        return f"{STAGE}: not run yet"
    places = [folder / f"{STAGE}.ipynb"]
    if folder.resolve() == FOLDER:
        places.append(ROOT / NOTEBOOK)
        point_to_repository(ROOT / NOTEBOOK)
        render_choices(ROOT / NOTEBOOK)
    for place in places:
        render_block(place, folder, runs[0])
    return terminal([runs])


def read_runs(folder: Path) -> Runs:
    """The runs of the largest kind in `folder`; none where there are none."""
    everything = load_runs(folder, STAGE)
    return load_runs(folder, STAGE, max(everything, key=size)) if everything else everything


def told(last: Runs, up: str = "") -> list[str]:
    """What the recorded runs say, against those of the last stage; `up` leads to the repository."""
    runs = read_runs(FOLDER)
    if not runs:
        return ["Not run yet: `./run_all.sh --smaller`."]
    return [
        f"[A smaller network]({up}{NOTEBOOK.as_posix()}) ([executed]({up}outputs/smaller/{NOTEBOOK.name})) has"
        f" {runs.parameters:,} parameters, and is trained by Muon, an optimizer whose steps are as long along every"
        f" direction of a kernel. Its last five epochs average {plus_minus(runs.ends)} % over {len(runs)} seeds, the"
        f" lowest epoch {runs.lowest:.2f} %; {TARGET} % is held in 5 of 5 by {runs.holding} of {len(runs)}. Against the"
        f" last stage, paired by seed: {in_words(*step(last, runs))}.{fewer()}"
    ]


def fewer() -> str:
    """What came of fewer parameters on held-out images: why nothing smaller was run on the test set."""
    sizes = choices.tried(STAGE, "How small, third block padded, orthogonal steps")
    taken, tiny = sizes["8 8 10 12 13 15"], sizes["8 8 8 10 10 12"]
    if not taken or not tiny:
        return ""
    return (
        f" The last aim, fewer than {LIMIT:,}, is missed: on images held out of the training set, {tiny.parameters:,}"
        f" came to {plus_minus(tiny.ends)} %, {taken.parameters:,} to {plus_minus(taken.ends)} % ({len(tiny)} seeds;"
        f" {in_words(*step(taken, tiny))}), so none of this series' own that is so small was run on the test set."
    )
