"""The runs behind the choices: made on the validation split, and set out in tables.

`./run_all.sh --choices` makes what is missing and writes the tables to outputs/choices/. A run is kept under the digest
of its recipe, so that questions share runs, and an interrupted sweep goes on where it stopped.
"""

import contextlib
import io
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context

import psutil
import torch
from torch import nn

from common import InputError
from common.batches import Batches
from common.data import load_digits
from common.files import write_whole
from common.intervals import in_words, step
from common.muon import muon
from common.recipes import HEIGHTS, QUESTIONS, Question, Recipe, network
from common.runs import RECORDED, Runs, end, load_runs, metrics_path, read_run, write_metrics
from common.runtime import environment, seed_everything
from common.tables import plus_minus
from common.train import DivergedError, fit

FOLDER = RECORDED / "choices"
ENOUGH = 4  # seeds in common: with fewer, an interval is so wide that it seldom says anything
HEAD = "| | parameters | seeds | last five, % | lowest | swing | loss | clean train, % |"


def train(recipe: Recipe, seed: int) -> None:
    """Make the run of a recipe on the validation split, and write its metrics file."""
    torch.set_num_threads(1)
    digits = load_digits("mnist", "validation")
    seed_everything(seed)
    net = network(recipe)
    if recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)
    augment = recipe.augment if any(vars(recipe.augment).values()) else None
    train_loader = Batches(*digits.train, recipe.batch_size, seed, augment)
    clean_loader, held_out = (Batches(*half, 200) for half in (digits.train, digits.test))
    optimizer = make_optimizer(net, recipe)
    steps, height = recipe.epochs * len(train_loader), HEIGHTS[recipe.schedule]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: height(step / steps))
    fresh = recipe.fresh_norms
    history = fit(net, train_loader, held_out, clean_loader, optimizer, recipe.epochs, scheduler, fresh)
    run = {
        "stage": recipe.key,
        "seed": seed,
        "dataset": digits.name,
        "split": "validation",
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        **environment(torch.device("cpu")),
        "images": {"train": len(digits.train[1]), "test": len(digits.test[1])},
        "hyperparameters": asdict(recipe),
        "seconds": sum(row["seconds"] for row in history),
        "history": history,
    }
    write_metrics(FOLDER, run)


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD as the notebooks have it, or with orthogonal steps."""
    if recipe.kernels:
        return muon(net, recipe.learning_rate, recipe.kernels)
    decay, fused = recipe.weight_decay, recipe.fused
    return torch.optim.SGD(net.parameters(), recipe.learning_rate, 0.9, weight_decay=decay, nesterov=True, fused=fused)


def planned() -> list[tuple[Recipe, int]]:
    """All runs that the questions ask for, each once; the first seed of every recipe comes first."""
    asked = [(recipe, seed) for each in QUESTIONS for recipe in each.answers.values() for seed in each.seeds]
    return sorted(dict.fromkeys(asked), key=lambda run: run[1])


def is_missing(recipe: Recipe, seed: int) -> bool:
    """Whether a run has no metrics file."""
    return not metrics_path(FOLDER, recipe.key, seed).exists()


def answer(jobs: int) -> str:
    """Make the runs that are missing, `jobs` at a time; write and return the tables."""
    missing = [(recipe, seed) for recipe, seed in planned() if is_missing(recipe, seed)]
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that are started now
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        try:
            for future in [executor.submit(attempt, recipe, seed) for recipe, seed in missing]:
                future.result()
        except BaseException as problem:
            executor.shutdown(wait=False, cancel_futures=True)
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if isinstance(problem, BrokenProcessPool):
                raise InputError("a run's process ended early: the same command goes on") from None
            raise
    return write_tables()


def write_tables() -> str:
    """Bring the page of the choices up to the runs that are there; its text."""
    text = tables()
    write_whole(FOLDER / "README.md", text)
    return text


def attempt(recipe: Recipe, seed: int) -> None:
    """Make a run, or say why there is none; the others go on."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the epochs of runs side by side would mix
            train(recipe, seed)
        ending = f"{end(read_run(metrics_path(FOLDER, recipe.key, seed))):.3f} %"
    except DivergedError as error:
        ending = str(error)
    print(f"{recipe}, seed {seed}: {ending}", flush=True)


def tables() -> str:
    """A table a question, from the runs that are there."""
    there = [run for run in planned() if not is_missing(*run)]
    lines = [
        "# Choices",
        "",
        "Each is judged on 10,000 images held out of the training set, with 50,000 to train on: no figure here is of"
        " the test set, though [some of those](../earlier/README.md) had been seen when this was asked."
        f" {len(there)} of the {len(planned())} runs that were planned are there; `./run_all.sh --choices` makes the"
        " others and brings these tables up to date.",
        "",
        "*Last five* is the mean accuracy of the last five epochs, ± standard deviation over the seeds; *lowest* is the"
        " lowest of these epochs in any seed, so it falls with the number of seeds; *swing*, from the lowest to the"
        " highest of a run's five, and their *loss* are means over the seeds. In bold is what the series has. Where"
        " another row is higher, these seeds don't show it to be better; one or two seeds don't rank rows that are"
        " close. Two answers are set against each other on the seeds that both have, where these are four or more; a"
        " row may have others, too.",
        "",
        "Widths are the channels of the blocks. *Padded* without a number means the first and the third of them;"
        " *bent* images are distorted elastically. What was asked *in the last stage* was trained as stage 6 is.",
        *unanswered(),
    ]
    for question in QUESTIONS:
        if rows := answered(question):
            lines += ["", f"## {question.stage}: {question.text}", "", *noted(question), *rows]
    return "\n".join(lines) + "\n"


def unanswered() -> list[str]:
    """Which questions have no runs to compare: for these, the series has what was first thought of."""
    names = [f"{question.text.lower()} ({question.stage})" for question in QUESTIONS if not answered(question)]
    return ["", f"Not asked yet, so as first thought of: {', '.join(names)}."] if names else []


def noted(question: Question) -> list[str]:
    """What stands above the table of a question."""
    return [question.note, ""] if question.note else []


def answered(question: Question) -> list[str]:
    """The table of a question: what was tried, the answer taken in bold; none where there is nothing to compare."""
    found = tried(question.stage, question.text)
    rows = [row(f"**{name}**" if name == question.taken else name, runs) for name, runs in found.items() if runs]
    if len(rows) < 2:
        return []
    return [HEAD, "|---|---:|---:|---:|---:|---:|---:|---:|", *rows, *differences(found, question.taken)]


def differences(found: dict[str, Runs], taken: str) -> list[str]:
    """What the others have on the answer taken, where there are seeds enough in common to say more than the table."""
    before, lines = found.get(taken, []), []
    for name, runs in found.items():
        common = {run["seed"] for run in runs} & {run["seed"] for run in before}
        if name != taken and len(common) >= ENOUGH:
            words = in_words(*step(before, runs))
            lines += ["", f"*{name}* against **{taken}**, on the {len(common)} seeds that both have: {words}."]
    return lines


def of_stage(stage: str) -> str:
    """The tables that belong to a stage, for its notebook."""
    parts = [
        [f"### {question.text}", "", *noted(question), *rows]
        for question in QUESTIONS
        if question.stage == stage and not question.aside and (rows := answered(question))
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def tried(stage: str, text: str) -> dict[str, Runs]:
    """The runs of each answer to a question; a figure of an answer that was never run is a MissingRun."""
    question = next(question for question in QUESTIONS if (question.stage, question.text) == (stage, text))
    return {name: Runs(name, load_runs(FOLDER, recipe.key)) for name, recipe in question.answers.items()}


def row(name: str, runs: Runs) -> str:
    """An answer and how it came out."""
    figures = f"{plus_minus(runs.ends)} | {runs.lowest:.2f} | {runs.swing:.2f} | {runs.loss:.4f} | {runs.clean:.2f}"
    return f"| {name} | {runs.parameters:,} | {len(runs)} | {figures} |"
