"""The words of a block: figures filled in, claims checked, aims met or missed, and whose numbers they are."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from runs_for_tests import make

from common.analysis import WORDS, aim, block, count, result, tell
from common.intervals import Gain
from common.runs import OUTPUTS, Run, Runs, recorded

STAGES = {path.name: OUTPUTS for path in sorted((OUTPUTS / "metrics").iterdir())}
STAGES["smaller_network"] = OUTPUTS / "smaller"


def names_for(*ends: float, lone: bool = False, **other) -> dict:
    """What a paragraph may speak of: runs with these ends, and the step before, 0.2 points lower."""
    runs = Runs([make(*[end] * 5, seed=seed, **other) for seed, end in enumerate(ends)], "02_batchnorm")
    before = Runs([make(*[end - 0.2 - seed / 100] * 5, seed=seed) for seed, end in enumerate(ends)], "01_skeleton")
    return {"run": runs[0], "runs": runs, "now": runs, "before": before, "lone": lone, "gain": Gain.of}


@pytest.mark.parametrize(
    ("paragraph", "told"),
    [
        ("Plain words.", "Plain words."),
        ("<!-- now.end > 99 -->\n- **It works:** {now.end:.2f}%.", "- **It works:** 99.30%."),
        ("<!-- now.end > before.end + 1 -->\n- It flies.", "- **Not borne out here:** ~~It flies.~~"),
        ("- {gain(before, now)}", "- +0.205 points (+0.141 to +0.269)"),
    ],
)
def test_figures_are_filled_in_and_claims_checked(paragraph: str, told: str) -> None:
    assert tell(paragraph, names_for(99.2, 99.4)) == told


def test_a_claim_without_the_runs_that_it_needs_is_left_out() -> None:
    names = names_for(99.2) | {"tried": {"cosine": Runs(name="cosine")}}
    assert tell("<!-- tried['cosine'].end > 99 -->\n- Cosine.", names) == "- _Left out: no run of cosine is recorded._"
    assert "takes two seeds" in tell("- {gain(before, now)}", names)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (names_for(99.2, 99.5), "**met by 1 of 2 runs**"),
        (names_for(99.2, 99.3), "**missed by all 2 runs**"),
        (names_for(99.5, lone=True), "**met**"),
        (names_for(99.2, lone=True), "**missed**"),
        (names_for(99.5, dataset="rendered digits, not MNIST"), "not applicable (rendered digits, not MNIST)"),
        (names_for(99.0) | {"run": make(99.9, 99.9)}, "not applicable (it takes five epochs, this run has 2)"),
    ],
)
def test_a_run_meets_an_aim_or_misses_it(names: dict, words: str) -> None:
    assert aim("run.holds(99.4)", names) == words
    assert tell("<!-- target: run.holds(99.4) -->\n- 99.4%", names) == f"- 99.4%: {words}"


def test_the_result_says_whose_its_figures_are() -> None:
    assert (count(1), count(10), count(60)) == ("one", "ten", "60")
    many = result(names_for(99.2, 99.4))
    assert (
        "**Result: too close to call.** The difference from step 1 is +0.205 points (simultaneous 95% interval: −"
        in many
    )
    assert "**Result: helps.**" in result(names_for(99.2, 99.2, 99.2, 99.2))
    assert "| step 1, mean of two runs | step 2, mean of two runs |" in many and "your run" not in many
    lone = result(names_for(99.2, 99.4) | {"lone": True, "run": make(*[99.3] * 5, seed=7)})
    assert "| your run |" in lone
    assert "*Your run (seed 7): 99.30%. The two recorded runs ranged from 99.20% to 99.40%.*" in lone


@pytest.mark.parametrize("stage", STAGES)
def test_every_claim_is_borne_out_by_the_recorded_runs(stage: str) -> None:
    text = block(recorded(stage)[0], STAGES[stage])
    assert text.startswith("## Target / Result / Analysis: what we recorded")
    for heading in "**Target.**", "**Result", "**Analysis** (mean of ", "**Try it.**":
        assert heading in text
    assert "Not borne out" not in text and "Left out" not in text
    assert not re.search(r"this run|your run", text, re.I)


@pytest.mark.parametrize("stage", STAGES)
def test_a_lone_run_is_told_beside_the_recorded_ones_that_are_like_it(stage: str, tmp_path: Path) -> None:
    run = recorded(stage)[3]
    other = make(99.0, seed=run.seed, stage=stage, dataset="rendered digits, not MNIST")
    for one, words in (other, "not applicable"), (run, "ranged from"):  # it replaces the other
        one.save(tmp_path)
        text = block(one, tmp_path)
        assert f"your run (seed {run.seed})" in text and words in text and "Not borne out" not in text
        assert ("ranged from" in text) is (one is run)


def test_a_network_of_ones_own_is_told_beside_the_nearest_choice(tmp_path: Path) -> None:
    choice = Run.read(OUTPUTS / "choices" / "06_lr_scheduler" / "schedule" / "cosine" / "seed-0.json")
    own = replace(choice, hyperparameters=choice.hyperparameters | {"dropout": 0.5}, parameters=7_000)
    own.save(tmp_path)
    text = block(own, tmp_path)
    assert "nearest to yours reached 99.50% (4 runs)" in text and "What differs: dropout, parameters." in text
    replace(own, seed=1).save(tmp_path)
    assert " Yours differs by " in block(own, tmp_path)
    short = make(99.0, epochs=1, stage="playground")
    assert short.save(tmp_path / "short") and "No recorded run is like" in block(short, tmp_path / "short")


def test_a_published_system_is_told_beside_its_write_up(tmp_path: Path) -> None:
    facts = {"what": "a net", "stated": "7,788", "parameters": 7_788, "last_five": [99.4, 99.5]}
    run = recorded("B3")[0]
    run.save(tmp_path)
    text = block(run, tmp_path, "published", facts)
    assert "| best test accuracy | – |" in text and "| last five epochs | 99.40 99.50 |" in text
    assert "We recorded three of this system." in text and "Not borne out" not in text


@pytest.mark.parametrize("path", sorted(WORDS.glob("*.md")), ids=lambda path: path.stem)
def test_every_paragraph_with_a_figure_has_a_check(path: Path) -> None:
    for paragraph in path.read_text().split("\n\n"):
        words = re.sub(r"<!-- after.*?-->|`[^`]*`|\]\([^)]*\)", "", paragraph)
        if re.search(r"\{(?!result\})|\d%|\d\.\d", words):
            assert paragraph.startswith("<!-- "), f"no check over: {paragraph}"
