"""What is said of the runs that the series has left behind."""

from statistics import mean

import pytest

from common.runs import RECORDED, TARGET, end, holds, read_run

EARLIER = RECORDED / "earlier"
PAIRS = [(stage, seed) for stage in ("02_batchnorm", "03_dropout") for seed in range(5)]
WORDS = " ".join((EARLIER / "README.md").read_text(encoding="utf-8").split())


def both(stage: str, seed: int) -> tuple[dict, dict]:
    """A run evaluated with the statistics that training leaves, and the one with fresh ones."""
    place = f"{stage}/seed-{seed}.json"
    return read_run(EARLIER / "unpadded-7662" / place), read_run(RECORDED / "metrics" / place)


@pytest.mark.parametrize(("stage", "seed"), PAIRS)
def test_the_pairs_were_trained_to_the_same_figures(stage, seed):
    left, fresh = ([(row["train_loss"], row["train_accuracy"]) for row in run["history"]] for run in both(stage, seed))
    assert left == fresh


def test_the_worth_of_fresh_statistics_is_that_of_the_pairs():
    gains = [end(fresh) - end(left) for left, fresh in (both(*pair) for pair in PAIRS)]
    assert f"higher by {mean(gains):.3f} points" in WORDS and f"({min(gains):+.3f} to {max(gains):+.3f})" in WORDS


def test_every_folder_is_told_of_and_no_other():
    assert {path.name for path in EARLIER.iterdir() if path.is_dir()} == {
        word.strip("`:.") for word in WORDS.split() if word.startswith("`") and "-" in word
    }


@pytest.mark.parametrize(("folder", "holding"), [("unpadded-7662", 9), ("third-padded-5534", 1)])
def test_so_many_seeds_of_the_last_stage_held_the_target(folder, holding):
    runs = [read_run(path) for path in (EARLIER / folder / "06_lr_scheduler").glob("*.json")]
    assert sum(holds(run, TARGET) for run in runs) == holding
