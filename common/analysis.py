"""The block that closes a notebook: its words are markdown in notebooks/analysis, its figures come from the runs.

Over a paragraph may stand a comment: `<!-- now.swing < 0.1 -->` is a check, and a claim that the runs don't bear out is
struck through; `<!-- target: run.gap < 0.3 -->` is an aim, which each run meets or misses. In braces stand expressions.
"""

import re
from collections.abc import Callable
from pathlib import Path
from string import Formatter
from typing import Any

from common.config import ROOT, Config, environment
from common.intervals import Gain, markdown_table, signed
from common.runs import GOAL, MNIST, OUTPUTS, MissingRuns, Run, Runs, differences, recorded

WORDS = ROOT / "notebooks" / "analysis"
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
UNLIKE = "No recorded run is like this one: data, length or settings differ. So there is nothing to compare."


def conclude(
    config: Config, digits: Any, net: Any, history: list, scales: Any = None, facts: Any = None, **fields: Any
) -> Any:
    """Save the run's metrics, and show its Target / Result / Analysis beside the recorded runs of its kind.

    `facts` are for the words; `fields` go into the metrics in place of what the parameters say.
    """
    from IPython.display import Markdown

    run = describe(config, digits, net, history, {"scales": scales} | fields)
    print(f"Saved as {run.save(config.folder)}")
    return Markdown(block(run, config.folder, config.stage, facts))


def describe(config: Config, digits: Any, net: Any, history: list, fields: dict[str, Any]) -> Run:
    """The run that has just been made, with the mistakes that its network makes."""
    from common.data import Batches
    from common.receptive_field import receptive_field_table
    from common.train import predict

    rows = receptive_field_table(net)
    logits, labels = predict(net, Batches(*digits.test, 200))
    guesses = logits.argmax(1)
    wrong = (guesses != labels).nonzero().flatten()
    found = {
        "stage": config.stage,
        "dataset": digits.name,
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "epochs": len(history),
        "images": {"train": len(digits.train[1]), "test": len(digits.test[1])},
        "hyperparameters": config.hyperparameters,
        "history": history,
        "receptive_field": max(row.r_out for row in rows if row.operation.startswith("Conv2d")),
        "seconds": sum(row["seconds"] for row in history),
        "wrong": wrong.tolist(),
        "taken_for": guesses[wrong].tolist(),
    }
    asked = {name: config.parameters[name] for name in ("seed", "split", "batch_size") if name in config.parameters}
    return Run(**(found | asked | environment(config.device) | fields))


class Found(dict):
    """Runs by name, read when they are asked for."""

    def __init__(self, read: Callable[[str], Runs]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, name: str) -> Runs:
        if not (runs := self.read(name)):
            raise MissingRuns(f"no run of {name} is recorded")
        return self.setdefault(name, runs)


class Prose(Formatter):
    """Fills the values of expressions into a text."""

    def get_field(self, expression: str, _: Any, names: dict[str, Any]) -> tuple[Any, str]:
        """The value of an expression in braces, which comes from a file of this repository."""
        return eval(expression, dict(names)), expression


def block(run: Run, folder: Path = OUTPUTS, words: str = "", facts: Any = None) -> str:
    """The block of a run and of those like it in `folder`; a lone one is told beside the recorded runs of its kind."""
    ours = folder.resolve() in (OUTPUTS, OUTPUTS / "smaller")
    nearest = recorded(run.stage, run)
    beside = Found(lambda stage: Runs.read(folder / "metrics" / stage, run) or recorded(stage, run))
    runs = beside[run.stage]  # this one at least
    lone = len(runs) == 1 and not ours
    alike = [other for other in nearest if run.stage == "playground" or not differences(other, run)]
    names = {
        "run": run,
        "runs": runs,
        "lone": lone,
        "now": Runs(alike, run.stage) if lone else runs,
        "steps": beside,
        "nearest": nearest,
        "differences": differences,
        "facts": facts,
        "tried": Found(lambda path: Runs.read(OUTPUTS / "choices" / path)),
        "gain": Gain.of,
        "signed": signed,
        "count": count,
        "GOAL": GOAL,
    }
    text = (WORDS / f"{words or run.stage}.md").read_text(encoding="utf-8").strip()
    if before := re.match(r"<!-- after: (\S+) -->\s+", text):
        names["before"] = beside.read(before[1])
        text = text[before.end() :]
    if lone and not alike:
        text = "".join(text.partition("**Analysis.**")[:2]) + f" {UNLIKE}"
    text = text.replace("**Analysis.**\n", f"**Analysis** ({whose(names['now'])}).\n")
    owner = f"your run (seed {run.seed})" if lone else f"your {count(len(runs))} runs"
    if ours:
        owner = f"what we recorded ({count(len(runs))} runs, {'CPU' if run.device == 'cpu' else run.device})"
    return f"## Target / Result / Analysis: {owner}\n\n{tell_all(text, names)}"


def tell_all(text: str, names: dict[str, Any]) -> str:
    """A text, paragraph by paragraph; its lists have no gaps."""
    told = "\n\n".join(tell(paragraph, names) for paragraph in text.split("\n\n"))
    return re.sub(r"(?m)^((?:- |\d\. ).*)\n\n(?=- |\d\. )", r"\1\n", told)


def tell(paragraph: str, names: dict[str, Any]) -> str:
    """A paragraph with its figures, if its check holds."""
    kind, check, words = re.fullmatch(r"(?:<!-- (target: )?(.+?) -->\n)?(.+)", paragraph, re.S).groups()
    bullet, words = re.fullmatch(r"(- |\d\. )?(.+)", words, re.S).groups(default="")
    if words == "{result}":
        return result(names)
    try:
        words = Prose().vformat(words, (), names)
        if kind:
            return f"{bullet}{words}: {aim(check, names)}"
        return bullet + (words if not check or eval(check, dict(names)) else f"**Not borne out here:** ~~{words}~~")
    except MissingRuns as missing:
        return f"{bullet}_Left out: {missing}._"


def aim(check: str, names: dict[str, Any]) -> str:
    """Whether a run meets an aim; of several runs, how many do."""
    run, runs = names["run"], names["runs"]
    if run.dataset != MNIST:
        return f"not applicable ({run.dataset})"
    if run.epochs < 5:
        return f"not applicable (it takes five epochs, this run has {run.epochs})"
    met = sum(bool(eval(check, names | {"run": each})) for each in runs)
    if names["lone"]:
        return "**met**" if met else "**missed**"
    return f"**met by {met} of {len(runs)} runs**" if met else f"**missed by all {len(runs)} runs**"


def result(names: dict[str, Any]) -> str:
    """The verdict on the step, and the figures before and after it."""
    run, now, before = (names.get(name) for name in ("run", "now", "before"))
    columns = {f"{step(runs)}, {whose(runs)}": runs for runs in (before, now) if runs}
    if names["lone"]:
        columns["your run"] = Runs([run])
    rows = [
        ["test accuracy, last five epochs", *(f"{runs.end:.2f}%" for runs in columns.values())],
        ["gap: clean train minus test accuracy, last epoch", *(signed(runs.gap) for runs in columns.values())],
        ["swing: highest minus lowest of the five", *(f"{runs.swing:.2f}" for runs in columns.values())],
        ["parameters", *(f"{round(runs.parameters):,}" for runs in columns.values())],
    ]
    found = verdict(before, now) if now else "**Result.** One run, and no verdict on the step."
    found += "\n\n" + markdown_table(["", *columns], rows)
    if names["lone"] and len(now) > 1:
        found += f"\n\n*Your run (seed {run.seed}): {run.end:.2f}%. The {count(len(now))} recorded runs ranged from"
        found += f" {min(now.ends):.2f}% to {max(now.ends):.2f}%.*"
    return found


def verdict(before: Runs | None, now: Runs) -> str:
    """What the step is worth, paired by seed; the five intervals of the series are simultaneous."""
    if before is None:
        return "**Result.** The baseline of the series."
    comparisons, kind = (5, "simultaneous 95%") if now.name[:2].isdigit() else (1, "95%")
    try:
        gain = Gain.of(before, now, comparisons)
    except MissingRuns as missing:
        return f"**Result.** No verdict: {missing}."
    interval = f"{kind} interval: {signed(gain.low, 3)} to {signed(gain.high, 3)}"
    words = f"The difference from {step(before)} is {signed(gain.mean, 3)} points ({interval})"
    return f"**Result: {gain.verdict}.** {words}, over {count(gain.pairs)} pairs of runs that share a seed."


def step(runs: Runs) -> str:
    """What a stage is called in a sentence."""
    return f"step {int(runs.name[:2])}" if runs.name[:2].isdigit() else "this network"


def whose(runs: Runs) -> str:
    """How many runs a figure is the mean of."""
    return "one run" if len(runs) == 1 else f"mean of {count(len(runs))} runs"


def count(number: int) -> str:
    """A small number as a word."""
    return NUMBERS[number] if number < len(NUMBERS) else str(number)
