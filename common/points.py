"""The points of a sweep: where they go, and what identifies them."""

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from common import InputError
from common.cli import Options
from common.execution import Task
from common.grid import combinations
from common.plan import folder_name, make_tasks

LONGEST = 150  # characters of a setting's name, since file names may have 255


@dataclass(frozen=True)
class Point(Task):
    """A stage with one seed and one setting, kept as `metrics/<setting>/<stage>/seed-<k>.json`."""

    setting: dict[str, Any] = field(default_factory=dict)  # the parameters that the sweep varies

    @property
    def place(self) -> str:
        return re.sub(r"[^\w.+-]", "_", "-".join(f"{name}-{value}" for name, value in self.setting.items()) or "as-is")

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.place}-seed-{self.seed}"

    @property
    def title(self) -> str:
        return f"{self.stage}, {''.join(f'{name} {value}, ' for name, value in self.setting.items())}seed {self.seed}"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics" / self.place / self.stage / f"seed-{self.seed}.json"

    @property
    def copy(self) -> Path:
        return self.folder / "executed" / self.place / self.notebook.name

    @property
    def weights(self) -> Path:
        return self.folder / "weights" / self.place / self.stage / f"seed-{self.seed}.json"


def plan_sweep(options: Options, dataset: str, root: Path) -> list[Point]:
    """All the points: seed by seed, through the grid, so that a sweep cut short has them all."""
    folder = options.out or root / "outputs" / "scratch" / f"sweep-{options.sweep}-{folder_name(options, dataset)}"
    kept = min(options.seeds) if options.copies else None
    settings = [
        (partial(Point, setting=setting), options.parameters | setting) for setting in combinations(options.grid)
    ]
    points = make_tasks(options, dataset, root, folder, lambda stage: kept, settings)
    if len({point.metrics for point in points}) < len(points):
        raise InputError(f"{options.sweep}: two of its values make the same file name: write them differently")
    if max(len(point.place) for point in points) > LONGEST:
        raise InputError(f"{options.sweep}: so many parameters make file names too long: split the sweep")
    return points
