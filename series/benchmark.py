"""How fast the series trains; for now by the package `benchmarks`."""

from pathlib import Path


def run(dataset: str, outputs: Path, smoke: bool) -> str:
    """Measure, record what is the full benchmark, and bring the texts up to it; the table."""
    from benchmarks import benchmark
    from common import speed
    from series import report

    record = benchmark.run(dataset, outputs, smoke)
    if record.parent == outputs:
        report.series(outputs)
    return "\n".join([*speed.section(record), f"Written to {record}"])
