"""Differences between two sets of runs, with the interval that several seeds allow."""

import math
from statistics import mean, stdev

from common.runs import MissingRun, Runs, TooFewSeeds, end

# Student's t at 97.5 %, from 1 to 20 degrees of freedom.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
T += (2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)
ONE_FUNCTION = {"04_gap_fc"}  # stages that compute what the one before them does: only chance sets the two apart


def of_mean(figures: list[float]) -> tuple[float, float, float]:
    """The mean with its 95 % interval (infinite for a single figure)."""
    middle, margin = mean(figures or [math.nan]), math.inf
    if len(figures) > 1:
        margin = T[min(len(figures) - 1, len(T)) - 1] * stdev(figures) / math.sqrt(len(figures))
    return middle, middle - margin, middle + margin


def gains(befores: list[Runs], after: Runs) -> list[float]:
    """What each run of `after` has, in its last five epochs, on the mean of the others' runs of its seed."""
    ends = [{run["seed"]: end(run) for run in before} for before in befores]
    common = [run for run in after if all(run["seed"] in earlier for earlier in ends)]
    return [end(run) - mean(earlier[run["seed"]] for earlier in ends) for run in common]


def step(before: Runs, after: Runs) -> tuple[float, float, float]:
    """The mean difference, paired by seed, with its 95 % interval (infinite for a single seed)."""
    return of_mean(gains([before], after))


def interval(before: Runs, after: Runs) -> tuple[float, float]:
    """The ends of the 95 % interval on `step`, where there are seeds enough for one."""
    return against([before], after)[1:]


def against(befores: list[Runs], after: Runs) -> tuple[float, float, float]:
    """The same as `step` on the mean of others, where all of them have runs, and seeds enough for an interval."""
    for before in befores:
        if not before:
            raise MissingRun(before.stage)
    found = of_mean(gains(befores, after))
    if not math.isfinite(found[1]):
        raise TooFewSeeds
    return found


def verdict(low: float, high: float, stage: str = "") -> str:
    """What an interval on a difference shows; `stage` is the one that comes after."""
    if low <= 0 <= high:
        return "not distinguishable"
    if stage in ONE_FUNCTION:
        return "set apart by chance, as both are one function"
    return "better" if low > 0 else "worse"


def in_words(difference: float, low: float, high: float, stage: str = "") -> str:
    """The difference, its interval, and what it shows; `stage` is the one that comes after."""
    if math.isnan(difference):
        return "no seed in common"
    if not math.isfinite(low):
        return f"{difference:+.3f} points (an interval takes two seeds or more)"
    return f"{difference:+.3f} points, 95 % interval {low:+.3f} to {high:+.3f}: {verdict(low, high, stage)}"
