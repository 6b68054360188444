"""The runs of the published systems: where they go, and which of them are still to be made."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from common.cli import Options
from common.execution import Task
from common.plan import MNIST, TRAINING_IMAGES, changed, folder_name, seeds_in, short
from common.published import SYSTEMS, System, find
from common.runs import read_run


@dataclass(frozen=True)
class SystemTask(Task):
    """One system with one seed, by the appendix; kept as `<system>/seed-<k>.json`."""

    @property
    def stage(self) -> str:
        return self.parameters["system"]

    @property
    def metrics(self) -> Path:
        return self.folder / self.stage / f"seed-{self.seed}.json"

    @property
    def copy(self) -> Path:
        return self.folder / f"{self.stage}.ipynb"


def plan_systems(options: Options, dataset: str, root: Path) -> list[SystemTask]:
    """All the work asked for: seed by seed, through the systems, so that a sweep cut short has them all."""
    asked = {name: value for name, value in options.parameters.items() if name != "system"}
    wanted = options.parameters.get("system")
    systems = {wanted: find(wanted)} if wanted else SYSTEMS
    options = replace(options, parameters=asked)
    folder = options.out or root / "outputs" / place_of(options, dataset)
    return [
        SystemTask(
            notebook=options.notebooks[0],
            seed=seed,
            parameters=asked | {"data": short(dataset), "system": name, "seed": seed},
            identity={"dataset": dataset, "parameters": length(system, asked), "recipe": asdict(system.recipe)},
            folder=folder,
            keep_copy=seed == min({*options.seeds, *seeds_in(folder, name, below="")}),
            minutes=options.minutes,
        )
        for seed in options.seeds
        for name, system in systems.items()
    ]


def place_of(options: Options, dataset: str) -> Path:
    """Where in outputs/ the runs go: only those on MNIST, as they were published, are recorded."""
    if dataset == MNIST and not changed(options):
        return Path("published")
    return Path("scratch", f"published-{folder_name(options, dataset)}")


def length(system: System, asked: dict) -> dict:
    """How long a run is and what it is made of, where not asked for otherwise as published."""
    return {"epochs": system.recipe.epochs, "images": 0, "split": "test"} | asked


def is_recorded(task: SystemTask) -> bool:
    """Whether this run is there, by its recipe. Its file tells, so that what was run in another clone counts, too."""
    if not task.metrics.exists():
        return False
    run, asked = read_run(task.metrics), task.identity["parameters"]
    available = TRAINING_IMAGES[asked["split"]]
    expected = {"dataset": task.identity["dataset"], "split": asked["split"], "epochs": asked["epochs"]}
    expected["hyperparameters"] = task.identity["recipe"] | {"taken": list(task.identity["recipe"]["taken"])}
    return expected.items() <= run.items() and run["images"]["train"] == min(asked["images"] or available, available)
