"""What is told of runs: tables, figures, texts and pages. For now by the modules that `common` has for it."""

from pathlib import Path

from series.plans import Plan
from series.tasks import make_jobs


def series(folder: Path) -> str:
    """Bring all that is written of the stages' runs in a folder up to them; the table for the terminal."""
    from common import pages, summary

    table = summary.summarise(folder)
    pages.write_report(folder)
    return table


def sweep(plan: Plan, folder: Path) -> str:
    """The same for a sweep; the plan has the parameters that it was run with."""
    from common import sweep
    from common.config import ROOT

    settings = dict(plan.settings())
    points = []
    for job in make_jobs(plan, folder, ROOT):
        place = job.task.name.rpartition("/")[0] or "as-is"
        point = sweep.Point(job.task.notebook, place, settings.get(place, {}), job.metrics, job.is_done())
        points.append(point)
    shared = [job.identity["parameters"] for job in make_jobs(plan, folder, ROOT)]
    return sweep.summarise(points, folder, shared)


def published(folder: Path) -> str:
    """The same for the published systems."""
    from common import systems

    return systems.summarise(folder)


def smaller(folder: Path) -> str:
    """The same for the smaller network."""
    from common import smaller

    return smaller.summarise(folder)


def choices() -> str:
    """The same for the recorded runs behind the choices."""
    from common import choices

    return choices.write_tables()


def publish(root: Path) -> str:
    """All of it, for the recorded runs."""
    choices()
    return "\n".join(
        [published(root / "outputs" / "published"), smaller(root / "outputs" / "smaller"), series(root / "outputs")]
    )
