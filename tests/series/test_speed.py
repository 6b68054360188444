"""What is said of the benchmarks' records: tables, ratios, sentences, the picture."""

from common.analysis import tell_all
from series.report import figures, speed
from series.report.pages import WORDS


def curve(*accuracies: float, seconds: float = 10) -> dict:
    """A round of a contender, whose epochs take so long."""
    pairs = [[seconds * number, accuracy] for number, accuracy in enumerate(accuracies, 1)]
    return {"parameters": 7_662, "curve": pairs, "gigabytes": 1.26}


ROUNDS = {
    "last_step": [curve(98, 98.9, 99.4, 99.5, 99.5, 99.5, 99.5, seconds=each) for each in (10, 11, 12)],
    "pytorch_example": [curve(98.5, 99.0, 99.1, 99.2, 99.2, seconds=70)],
    "fast_series": [curve(99.04, seconds=5)],
}
TIMES = {"one process": (1, 240), "two processes": (2, 300), "Dask workers": (2, 360)}
GROWTH = {name: {"runs": runs, "seconds": seconds} for name, (runs, seconds) in TIMES.items()}
MADE = {"machine": "2 cores", "dataset": "MNIST", "commit": "abc", "versions": {"torch": "2", "python": "3"}}
BENCH = speed.Bench(MADE | {"contenders": ROUNDS, "growth": GROWTH})
STEP = {"kernels": 120.0, "launches": 30.0, "busy": 0.5, "waits": 0.0}
GPU = {
    "device": "GPU X",
    "cores": 16,
    "mps": True,
    "again": {"same": True, "seconds_an_epoch": 0.5, "gigabytes": 0.4},
    "step": STEP,
}
GPU |= {"apart": {"apart": 1e-7, "moved": 1e-3}, "chain": {"seconds": 61.4, "accuracy": 99.5}}
GPU |= {"seeds": {"seconds": 40.0, "runs": 10, "accuracy": 99.5, "holding": 9, "of": 10}}


def test_the_table_has_what_each_takes_and_the_ratios_are_of_like_rounds():
    ours, theirs, fast = speed.table(BENCH).splitlines()[2:]
    assert ours == "| step 6 | 7,662 | 11.0 (10.0–12.0) | 11 (10–12) | 33 (30–36) | 33 (30–36) | 99.48 | 3 of 3 |"
    assert theirs.endswith("| 70.0 | 70 | 140 | never | 99.00 | 0 of 1 |") and "99.04 (1 epoch) | 0 of 1" in fast
    ratios = speed.ratios(BENCH).splitlines()[2]
    assert ratios == "| PyTorch's MNIST example | 7.0× | 7.0× | 4.7× | – |"
    assert "2 cores, PyTorch 2, Python 3, commit abc" in speed.page(BENCH)
    assert speed.in_words([1.0, None]) == "in 1 of 2 rounds"


def words(name: str, names: dict) -> str:
    """The words of a file, about these records."""
    return tell_all((WORDS / f"{name}.md").read_text(encoding="utf-8").strip(), names)


def test_sentences_are_written_from_the_records_and_say_nothing_without():
    found = " ".join(
        words(name, {"bench": BENCH, "gpu": GPU, "ten": GPU["seeds"], "GOAL": 99.4})
        for name in ("fast", "growth", "gpu", "cuda", "ten")
    )
    growth = "makes 15 runs", "24 in two", "20 on 2 Dask", "1.3 GB", "1.0 hours"
    assert all(part in found for part in ("98% in 11 seconds, 99% in 33, 99.4% in 33.", *growth))
    told = "GPU X](docs/speed.md#on-a-gpu) trains all six in 61 seconds", "and 9 hold", "120 kernels"
    assert all(part in found for part in told)
    assert "Not borne out" not in found and "Not borne out" in words(
        "cuda", {"gpu": GPU | {"again": {**GPU["again"], "same": False}}}
    )
    assert speed.unrecorded({}).keys() == {"fast", "speed", "growth", "gpu", "cuda", "ten"}
    assert speed.unrecorded({"bench": BENCH}).keys() == {"gpu", "cuda", "ten"}


def test_the_picture_says_who_reaches_the_goal():
    assert figures.benchmark(BENCH).get_suptitle() == "99.4% first: step 6 after 33 s"
