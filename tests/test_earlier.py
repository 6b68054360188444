"""What is said of the runs that the series has left behind."""

from statistics import mean

import pytest

from common import choices, recipes
from common.intervals import step
from common.runs import RECORDED, ROOT, TARGET, Runs, end, holds, load_runs, read_run
from common.smaller import FOLDER, read_runs

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
    assert (
        f"higher by {mean(gains):.3f} points" in WORDS
        and f"range from {min(gains):+.3f} to {max(gains):+.3f}." in WORDS
    )


def test_every_folder_is_told_of_and_no_other():
    assert {path.name for path in EARLIER.iterdir() if path.is_dir()} == {
        word.strip("`:.,") for word in WORDS.split() if word.startswith("`") and "-" in word
    }


@pytest.mark.parametrize(
    ("place", "holding"),
    [("unpadded-7662/06_lr_scheduler", 9), ("third-padded-5534/06_lr_scheduler", 1), ("muon-5534/smaller_network", 9)],
)
def test_so_many_seeds_held_the_target(place, holding):
    runs = [read_run(path) for path in (EARLIER / place).glob("*.json")]
    assert sum(holds(run, TARGET) for run in runs) == holding


def test_ten_of_ten_seeds_and_nine_of_ten_before_can_not_be_told_apart():
    before = Runs("before", map(read_run, (EARLIER / "unpadded-7662" / "06_lr_scheduler").glob("*.json")))
    runs = load_runs(RECORDED, "06_lr_scheduler")
    gain, low, high = step(before, runs)
    assert f"all of which hold {TARGET} %, have {gain:+.3f} points on the ten before" in WORDS and low < 0 < high
    assert f"(95 %: {low:+.3f} to {high:+.3f}): that all ten hold now" in WORDS
    assert runs.holding == len(runs) == len(before) == 10 and before.holding == 9
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert "nine of those held 99.4 %. On held-out images" in readme
    held_out = load_runs(choices.FOLDER, recipes.LAST.key)
    assert "eight of ten seeds hold it. So there may be some luck" in readme
    assert (held_out.holding, len(held_out)) == (8, 10)


def test_the_smaller_networks_can_not_be_told_apart():
    narrow = Runs("muon-5534", map(read_run, (EARLIER / "muon-5534" / "smaller_network").glob("*.json")))
    wide = read_runs(FOLDER)
    gain, low, high = step(narrow, wide)
    assert f"{wide.parameters:,} parameters" in WORDS
    assert f"{gain:+.3f} points on `muon-5534` (95 %: {low:+.3f} to {high:+.3f})" in WORDS
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "does it with [fewer than 6,000]" in readme and wide.holding == len(wide) == 10 and wide.parameters < 6_000
    assert "nine held, and the two can't be told apart" in readme and narrow.holding == 9 and low < 0 < high


def test_the_wider_one_was_ahead_on_held_out_images_until_its_fourth_run():
    narrow, wide = (load_runs(choices.FOLDER, recipe.key).ends for recipe in (recipes.ORTHOGONAL, recipes.SMALLER))
    assert "after three runs on the validation split, which were higher" in WORDS and "a fourth" in WORDS
    assert len(wide) == 4 and min(wide[:3]) > max(narrow[:2]) and wide[3] < min(narrow[:2])  # of those there were
