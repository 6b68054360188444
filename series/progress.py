"""Tells how far runs are: a bar at a terminal, a line a minute in a log."""

import contextlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

EVERY = 60  # seconds between two lines in a log
BAR = "{percentage:3.0f}% {bar:8} [{elapsed}<{remaining}]{postfix}"


class Progress:
    """Tells how far the runs are: in a bar at a terminal, else in a line a minute."""

    def __init__(self, total: int, every: float = EVERY) -> None:
        self.total, self.every, self.done = total, every, 0
        self.started = self.told = time.monotonic()
        at_terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, bar_format=BAR, dynamic_ncols=True, leave=False) if at_terminal else None

    def line(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.write(text)

    def update(self, rows: dict[str, dict[str, Any]]) -> None:
        """Show the latest epoch of each run, and the time left."""
        share = self.done + sum(row["epoch"] / row["epochs"] for row in rows.values())
        words = "; ".join(map(in_short, rows, rows.values()))
        passed = time.monotonic() - self.started
        if self.bar is not None:
            self.bar.n = share
            self.bar.set_postfix_str(words)
        elif time.monotonic() - self.told > self.every:
            self.told += self.every
            left = f", about {passed * (self.total - share) / share / 60:.0f} min left" if share else ""
            self.line(f"{self.done} of {self.total} runs after {passed / 60:.0f} min{left}; {words}".rstrip("; "))

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()


def in_short(title: str, row: dict[str, Any]) -> str:
    """The latest epoch of a run; a stage is named by its number."""
    name = re.sub(r"\b(\d\d)_\w+", r"\1", title).replace(", seed", " seed")
    return f"{name}: {row['epoch']}/{row['epochs']} {row['test_accuracy']:.2f}%"


def last_line(file: Path) -> dict[str, Any]:
    """The epoch in the last whole line of a file; nothing, if there is none."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        row = json.loads(file.read_text(encoding="utf-8").rpartition("\n")[0].rpartition("\n")[2])
        if 0 < row["epoch"] <= row["epochs"] and row["test_accuracy"] >= 0:
            return row
    return {}
