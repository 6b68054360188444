"""What there is to run, where its results lie, and whether they are there."""

import json
from dataclasses import asdict

import pytest
from fake_series import Series

from common.config import InputError, write_whole
from series.plans import change, read_plan
from series.resume import is_done, refuse_smaller
from series.tasks import Job, Task, digest, make_jobs

VARIANTS = '[variants]\nB3 = {rule = "B3"}\nhigh = {learning_rate = 1}\n'
RUN = {"dataset": "MNIST", "split": "test", "epochs": 15, "batch_size": 64, "images": {"train": 60_000}}


def jobs_of(series: Series, text: str = "", folder: str = "f", **asked) -> list[Job]:
    """The work of a plan, on MNIST unless asked for otherwise."""
    plan = read_plan(series.root / series.plan('split = "test"\n' * ("split" not in text) + text), series.root)
    return make_jobs(change(plan, {"data": "mnist"} | asked, series.root), series.root / folder, series.root, 5)


def finish(job: Job, **run) -> None:
    """Let a job be done."""
    for path, text in ((job.metrics, json.dumps(RUN | run)), (job.copy, "{}"), (job.stamp, job.stamp_text)):
        write_whole(path, text)


@pytest.mark.parametrize(
    ("text", "metrics", "copy", "title"),
    [
        ("copies = true", "metrics/01_first/seed-0.json", "01_first.ipynb", "01_first, seed 0"),
        ('stage = "small"', "metrics/small/seed-0.json", "small.ipynb", "small, seed 0"),
        (
            "learning_rate = [1]\nrule = ['a b']",
            "metrics/learning_rate-1.0-rule-a_b/01_first/seed-0.json",
            "executed/learning_rate-1.0-rule-a_b/01_first.ipynb",
            "learning_rate-1.0-rule-a_b/01_first, seed 0",
        ),
        (VARIANTS, "B3/seed-0.json", "B3.ipynb", "f/B3, seed 0"),
        (f"epochs = [1]\n{VARIANTS}", "B3/epochs-1/seed-0.json", "executed/B3/epochs-1.ipynb", "f/B3/epochs-1, seed 0"),
    ],
    ids=["stage", "named stage", "grid", "variants", "variants and grid"],
)
def test_a_runs_files_lie_where_they_are_looked_for(series, text, metrics, copy, title):
    job = jobs_of(series.add("01_first"), text)[0]
    assert (job.metrics, job.copy) == (job.folder / metrics, job.folder / copy)
    assert job.title == title
    assert job.stamp.is_relative_to(job.folder / ".done") and job.path("weights").is_relative_to(job.folder / "weights")


def test_the_work_goes_seed_by_seed_through_settings_and_notebooks(two):
    jobs = jobs_of(two, "seeds = [0, 1]\nlearning_rate = [0.1, 1]\ncopies = true")
    found = [(job.task.seed, job.task.parameters["learning_rate"], job.task.notebook) for job in jobs]
    assert found == [(s, rate, name) for s in (0, 1) for rate in (0.1, 1.0) for name in ("01_first", "02_second")]
    assert [job.keep_copy for job in jobs] == [True] * 4 + [False] * 4
    assert len({job.metrics for job in jobs}) == len(jobs)
    assert jobs[0].task.parameters == {"split": "test", "data": "mnist", "learning_rate": 0.1}
    assert Task(**json.loads(json.dumps(asdict(jobs[0].task)))) == jobs[0].task, "it can travel"


def test_each_stage_keeps_the_copy_of_its_own_lowest_seed(two):
    finish(jobs_of(two, "copies = true")[0])
    assert [job.keep_copy for job in jobs_of(two, "seeds = [5]\ncopies = true")] == [False, True]


def test_a_run_counts_as_done_only_as_long_as_nothing_that_shapes_it_changes(series):
    [before] = jobs_of(series.add("01_first"), "copies = true")
    assert not is_done(before)
    finish(before)
    assert is_done(before) and is_done(jobs_of(series, "copies = true", epochs=15)[0])
    for asked in ({"device": "cpu"}, {"split": "validation"}, {"batch_size": 32}, {"data": "rendered"}):
        assert not is_done(jobs_of(series, "copies = true", **asked)[0]), asked
    before.copy.unlink()
    assert not is_done(before)


MODULES = {
    "__init__": 'MODULES = {"train": ("fit",), "unused": ("other",)}',
    "train": "from .loss import mean",
    "loss": "import common.deep",
    "deep": "",
    "unused": "",
}


@pytest.mark.parametrize(
    ("changed", "counts"),
    [("train", True), ("loss", True), ("deep", True), ("unused", False), ("__init__", False), ("words.toml", True)],
)
def test_a_change_counts_in_what_a_notebook_imports_and_in_nothing_else(series, changed, counts):
    series.add("01_first", "%matplotlib inline").add(
        "02_second", "%matplotlib inline\nfrom common import (\n    fit,\n)\nopen('words.toml')"
    )
    for name, code in MODULES.items():
        write_whole(series.root / "common" / f"{name}.py", code)
    write_whole(series.root / "notebooks" / "words.toml", "")
    before = digest("02_second", series.root), digest("01_first", series.root)
    place = f"notebooks/{changed}" if "." in changed else f"common/{changed}.py"
    with (series.root / place).open("a") as file:
        file.write("\nchanged = True")
    assert (digest("02_second", series.root) != before[0]) is counts
    assert digest("01_first", series.root) == before[1]
    path = series.root / "notebooks" / "01_first.ipynb"
    path.write_text(path.read_text().replace('"source": ""', '"source": "import sys"'))
    assert digest("01_first", series.root) == before[1], "its set-up does not count, its code does"
    path.write_text(path.read_text().replace("%matplotlib inline", "%matplotlib agg"))
    assert digest("01_first", series.root) != before[1]


@pytest.mark.parametrize(
    ("text", "asked", "run", "done"),
    [
        (VARIANTS, {}, {}, True),
        (VARIANTS, {}, {"hyperparameters": {"rule": "B3", "unknown": ["x"]}}, True),
        (VARIANTS, {}, {"hyperparameters": {"rule": "B2"}}, False),
        (VARIANTS, {}, {"dataset": "rendered"}, False),
        (VARIANTS, {}, {"split": "validation"}, False),
        (VARIANTS, {}, {"epochs": 20}, False),
        (VARIANTS, {"epochs": 0}, {"epochs": 20}, True),  # as many as were published
        (VARIANTS, {}, {"batch_size": 32}, False),
        ("", {}, {}, False),
    ],
)
def test_only_a_recorded_run_of_a_variant_counts_by_its_metrics_where_it_has_no_stamp(series, text, asked, run, done):
    job = jobs_of(series.add("01_first"), text)[0]
    job.identity["parameters"].update(asked)
    assert not is_done(job)
    write_whole(job.metrics, json.dumps(RUN | run))
    assert is_done(job) is done
    write_whole(job.stamp, "of other code")
    assert not is_done(job)


@pytest.mark.parametrize(
    ("asked", "there", "refused"),
    [
        ({}, {}, False),
        ({"epochs": 16}, {}, False),
        ({"epochs": 14}, {}, True),
        ({"limit": 500}, {}, True),
        ({"split": "validation"}, {}, True),
        ({"data": "rendered"}, {"epochs": 1, "images": {"train": 10}}, True),
        ({"epochs": 1}, {"dataset": "rendered"}, False),
        ({}, {"images": "?"}, False),
    ],
)
def test_no_run_replaces_a_bigger_one(series, asked, there, refused):
    finish(jobs_of(series.add("01_first"))[0], **there)
    [job] = jobs_of(series, **asked)
    try:
        refuse_smaller(job)
    except InputError as problem:
        assert refused and str(problem).endswith("is of a bigger run: choose another folder with --out")
    else:
        assert not refused
