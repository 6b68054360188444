"""Pages with marks that are filled in, and the address that their links lead to."""

import contextlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from common.config import InputError, write_whole

BY_HAND = "In Colab: *File → Open notebook → GitHub*, then the address of this repository"
START, END = "<!-- {}: written by ./run_all.sh publish -->", "<!-- end of {} -->"
MARK = re.compile(START.format(r"([\w-]+)").replace(".", r"\.") + r".*?" + END.format(r"\1"), re.S)


def fill(path: Path, part: Callable[[str], str]) -> None:
    """Write what `part` gives by name between the marks that a page has for them."""
    text = path.read_text(encoding="utf-8")
    starts = re.findall(r"<!-- ([\w-]+): written by", text)
    if starts != [match[1] for match in MARK.finditer(text)]:
        raise InputError(f"{path}: each of its marks ({', '.join(starts)}) needs a line {END.format('NAME')}")
    write_whole(path, filled(text, part))


def filled(text: str, part: Callable[[str], str]) -> str:
    """A page's text with other content between its marks."""
    return MARK.sub(lambda mark: f"{START.format(mark[1])}\n\n{part(mark[1])}\n\n{END.format(mark[1])}", text)


def repository(root: Path) -> str:
    """The owner and name of the repository on GitHub; "" where neither a workflow nor `git remote` knows them."""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    with contextlib.suppress(OSError):  # where there is no git, nothing is known
        origin = subprocess.run(command, capture_output=True, text=True).stdout.strip()
        address = r"(?:\w+://)?(?:[^@/\s]+@)?github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?"
        known = os.environ.get("GITHUB_REPOSITORY")
        match = re.fullmatch(r"([\w.-]+/[\w.-]+)", known) if known else re.fullmatch(address, origin)
        return match[1] if match else ""
    return ""


def badges(address: str) -> str:
    """What GitHub says of the workflows; nothing where the address is unknown."""
    home = f"https://github.com/{address}/actions/workflows"
    names = ("tests", "publish") if address else ()
    return " ".join(f"[![{name}]({home}/{name}.yml/badge.svg)]({home}/{name}.yml)" for name in names)


def clone(address: str) -> str:
    """How to get the notebooks, in Colab and on a machine."""
    known = f"Colab runs each notebook from its link above. To have all: `git clone https://github.com/{address}`"
    return known if address else f"{BY_HAND}."


def site(address: str) -> str:
    """Where to draw a digit: in the report as GitHub serves it, or in the one at hand."""
    owner, _, name = address.partition("/")
    served = f"[the report](https://{owner.lower()}.github.io/{name}/)"
    report = served if address else "[the report](outputs/html/index.html) (a page for your browser)"
    photo = "classify a photo at the end of [step 6](notebooks/06_lr_scheduler.ipynb)"
    return f"Draw a digit of your own in {report}, or {photo}."
