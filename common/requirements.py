"""Whether this Python has what requirements files ask for: `python -m common.requirements FILE...`.

It runs where nothing is installed yet, so the standard library is all it needs.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path


def main(files: list[str]) -> int:
    """The exit code: 0 if everything in the files is there."""
    lines = [line.partition("#")[0].strip() for file in files for line in Path(file).read_text().splitlines()]
    return 0 if all(is_met(line) for line in lines if line) else 1


def is_met(requirement: str) -> bool:
    """Whether a line such as `numpy>=1.26,<3` holds here; any other form of line counts as not met."""
    form = re.fullmatch(r"([\w.-]+)((?:(?:>=|<)[\d.]+,?)*)", requirement.replace(" ", ""))
    if not form:
        return False
    try:
        there = version(form[1])
    except PackageNotFoundError:
        return False
    bounds = re.findall(r"(>=|<)([\d.]+)", form[2])
    return all(is_below(there, bound) == (sign == "<") for sign, bound in bounds)


def is_below(one: str, other: str) -> bool:
    """Whether a version comes before another, by its numbers: 2.4 before 2.10, and as high as 2.4.0+cpu."""
    pairs = zip_longest(numbers(one), numbers(other), fillvalue=0)
    return next((mine < theirs for mine, theirs in pairs if mine != theirs), False)


def numbers(text: str) -> list[int]:
    """The leading numbers of a version."""
    return [int(number) for number in re.match(r"[\d.]*", text)[0].split(".") if number]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
