"""How sure a difference, or a share, is: the intervals that so many runs allow. Standard library only."""

import math
import re
from dataclasses import dataclass
from functools import cache
from statistics import mean, stdev
from typing import Any

from common.runs import MissingRuns, Runs


def bisect(rising, low: float, high: float) -> float:
    """Where a rising function crosses zero."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


@cache
def student_t(confidence: float, freedom: int) -> float:
    """How many standard errors Student's t leaves on either side, at a confidence such as 0.95."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def inside(t: float, steps: int = 2000) -> float:
        """The probability between 0 and t, by Simpson's rule over the angle, in which the density is smooth."""
        top = math.atan(t / math.sqrt(freedom))
        heights = [math.cos(top * k / steps) ** (freedom - 1) for k in range(steps + 1)]
        area = heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])
        return scale * math.sqrt(freedom) * area * top / steps / 3

    return bisect(lambda t: inside(t) - confidence / 2, 0, 1e4)


def of_mean(figures: list[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean with the ends of its interval (infinite for a single figure)."""
    middle, margin = mean(figures or [math.nan]), math.inf
    if len(figures) > 1:
        margin = student_t(confidence, len(figures) - 1) * stdev(figures) / math.sqrt(len(figures))
    return middle, middle - margin, middle + margin


def of_share(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share: `count` of `total`."""

    def at_least(share: float, least: int) -> float:
        """The probability of so many or more."""
        return sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(least, total + 1))

    tail = (1 - confidence) / 2
    low = bisect(lambda share: at_least(share, count) - tail, 0, 1) if count else 0.0
    high = bisect(lambda share: at_least(share, count + 1) - (1 - tail), 0, 1) if count < total else 1.0
    return low, high


def pooled_deviation(groups: list[list[float]]) -> tuple[float, int]:
    """The standard deviation within groups, taken as alike in all of them, and its degrees of freedom."""
    squares = [(figure - mean(group)) ** 2 for group in groups if group for figure in group]
    freedom = sum(len(group) - 1 for group in groups if group)
    return (math.sqrt(sum(squares) / freedom) if freedom else math.nan), freedom


def signed(points: float, digits: int = 2) -> str:
    """A difference with its sign, a true minus."""
    return f"{points:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def markdown_table(head: list[str], rows: list[list[Any]]) -> str:
    """A table in markdown; columns of figures, after the first, are set flush right."""
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in rows]
    figures = [all(re.match(r"[−+–“(]?\d|[–−]?$", cell) for cell in column) for column in zip(*cells, strict=True)]
    rule = ["---", *("---:" if right else "---" for right in figures[1:])] if rows else ["---"] * len(head)
    lines = [head, rule, *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True)
class Gain:
    """A difference between two sets of runs, paired by seed, with its 95% interval."""

    mean: float
    low: float
    high: float
    pairs: int

    @classmethod
    def of(cls, before: Runs, after: Runs, comparisons: int = 1) -> "Gain":
        """What `after` has on `before`; the interval is one of so many that hold together (Bonferroni)."""
        ends = {(run.split, run.seed): run.end for run in before}
        found = [run.end - ends[run.split, run.seed] for run in after if (run.split, run.seed) in ends]
        if len(found) < 2:
            raise MissingRuns(f"a comparison with {before.name or 'others'} takes two seeds that both have")
        return cls(*of_mean(found, 1 - 0.05 / comparisons), len(found))

    @property
    def verdict(self) -> str:
        """What the interval shows."""
        return "helps" if self.low > 0 else "hurts" if self.high < 0 else "too close to call"

    def __format__(self, spec: str) -> str:
        """The mean by a format such as `.2f`; without one the whole, in words."""
        return signed(self.mean, int(spec[1:-1])) if spec else str(self)

    def __str__(self) -> str:
        return f"{signed(self.mean, 3)} points ({signed(self.low, 3)} to {signed(self.high, 3)})"
