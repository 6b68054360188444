"""Pages with marks that are filled in, and the address that their links lead to."""

import contextlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from common.config import InputError, write_whole

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
