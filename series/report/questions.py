"""The choices: what was asked of held-out images, and a table of the answers."""

import math
import re
from pathlib import Path
from statistics import mean
from typing import Any

from common.intervals import markdown_table, pooled_deviation, signed, student_t
from common.runs import Runs

LEARNT, FINE = 90, 99  # %: below the one a run learnt nothing; above the other all recipes spread alike


class Spread:
    """The deviation between runs of one recipe, pooled over all that were tried: the fine ones, and the others."""

    def __init__(self, folder: Path) -> None:
        recipes = [Runs.read(path) for path in {path.parent for path in folder.rglob("seed-*.json")}]
        self.count, learnt = sum(map(len, recipes)), [runs.ends for runs in recipes if min(runs.ends) > LEARNT]
        self.fine = pooled_deviation([ends for ends in learnt if mean(ends) > FINE])
        self.other = pooled_deviation([ends for ends in learnt if mean(ends) <= FINE])

    def margin(self, *several: Runs) -> float:
        """The half-width of the 95% interval of a mean, or of the difference of two."""
        deviation, freedom = self.fine if min(runs.end for runs in several) > FINE else self.other
        scale = math.sqrt(sum(1 / len(runs) for runs in several))
        return student_t(0.95, freedom) * deviation * scale if freedom else math.inf

    def against(self, taken: Runs, runs: Runs) -> str:
        """A difference with its interval, and the verdict."""
        gain, margin = runs.end - taken.end, self.margin(taken, runs)
        verdict = "helps" if gain > margin else "hurts" if gain < -margin else "too close to call"
        return f"{signed(gain, 3)} ± {margin:.3f}: {verdict}"


def answers(plan: Any, outputs: Path) -> dict[str, Runs]:
    """The recorded runs of each of a plan's variants, which may share those of another plan."""
    folders = {name: f"{plan.place}/" + re.sub(r"[^\w.+-]", "_", name) for name in plan.variants}
    shared = {name: folder for name, folder in plan.variants.items() if isinstance(folder, str)}
    return {name: Runs.read(outputs / folder) for name, folder in (folders | shared).items()}


def table(plan: Any, found: dict[str, Runs], spread: Spread) -> str:
    """A row an answer: its runs, its mean with the interval, and what it has on the answer that the series took."""
    rows, taken = [], found.get(plan.taken)
    for name, runs in found.items():
        accuracy, difference = "not run", ""
        if runs and min(runs.ends) < LEARNT:
            accuracy, difference = ", ".join(f"{end:.2f}" for end in runs.ends), "a run learnt nothing"
        elif runs:
            accuracy = f"{runs.end:.3f} ± {spread.margin(runs):.3f}"
            difference = spread.against(taken, runs) if taken and runs is not taken else ""
        size = f"{runs.parameters:,.0f}" if runs else ""
        label = name.replace("_", " ")
        rows.append([f"**{label}**" if name == plan.taken else label, size, len(runs), accuracy, difference])
    return markdown_table(["", "parameters", "runs", "last five, %", "against the bold answer, points"], rows)


def page(plans: list[Any], outputs: Path) -> dict[str, str]:
    """What the page of the choices is filled with."""
    spread = Spread(outputs / "choices")
    sections = [[f"## {plan.title}", plan.note, table(plan, answers(plan, outputs), spread)] for plan in plans]
    words = f"{len(plans)} questions, {spread.count} runs. Runs of one recipe deviate from their mean by"
    words += f" {spread.fine[0]:.3f} points ({spread.fine[1]} degrees of freedom; {spread.other[0]:.2f} below {FINE}%)."
    return {"spread": words, "questions": "\n\n".join(part for section in sections for part in section if part)}
