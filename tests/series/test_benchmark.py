"""The benchmark: who trains and how, and what is kept of it. No test asserts a time."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from torchvision.datasets import MNIST

from common import data
from common.config import InputError
from common.standin import NAME
from series import benchmark
from series.contenders import CONTENDERS, Settings, measure

PARAMETERS = 7_662, 7_662, 1_199_882, 215_194, 7_788


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A few of the drawn digits, where torchvision reads them; one epoch."""
    found = Settings(str(tmp_path_factory.mktemp("digits")), "rendered", limit=128, epochs=1)
    benchmark.lay_out(found)
    return found


@pytest.fixture(scope="module")
def measured(settings: Settings) -> dict[str, dict]:
    """What each contender comes to, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["one_file.py"])
        return {name: measure(name, settings) for name in CONTENDERS}


def test_torchvision_reads_what_common_reads(settings):
    images, labels = data.read("rendered")[1][2:]
    laid_out = MNIST(settings.folder, train=False)
    assert torch.equal(laid_out.data, images[:128]) and torch.equal(laid_out.targets, labels[:128])


def test_contenders_train_and_a_clock_sees_their_epochs(measured):
    assert [found["parameters"] for found in measured.values()] == [*PARAMETERS]
    for found in measured.values():
        ((seconds, accuracy),) = found["curve"]
        assert seconds > 0 and 0 < accuracy <= 100 and found["gigabytes"] > 0.1
    assert measured["last_step"]["curve"][0][1] == measured["one_file"]["curve"][0][1], "one training, told twice"
    json.dumps(measured)


@pytest.mark.parametrize(
    ("name", "kind", "batch_size", "epochs", "rates"),
    [
        ("pytorch_example", "Adadelta", 64, 14, [1, 0.7, 0.49]),
        ("conventional", "SGD", 32, 15, [0.02, 0.02, 0.02, 0.02, 0.01]),
        ("fast_series", "Adam", 256, 1, []),
    ],
)
def test_recipes_are_those_that_were_published(name, kind, batch_size, epochs, rates, settings):
    made = CONTENDERS[name](replace(settings, epochs=0))
    loader, rate = made.loaders[0], []  # of an epoch's first step
    assert (type(made.optimizer).__name__, made.epochs, loader.batch_size) == (kind, epochs, batch_size)
    if name == "fast_series":  # its highest rate
        assert made.optimizer.defaults["betas"] == (0.7, 0.9) and made.optimizer.param_groups[0]["max_lr"] == 0.01
    for _ in rates:
        rate.append(made.scheduler.get_last_lr()[0])
        for _ in loader:
            made.optimizer.step()
            made.scheduler.step()
    assert rate == pytest.approx(rates)
    orders = [torch.cat([labels for _, labels in loader]) for _ in range(2)]
    assert torch.equal(*orders) == (name == "fast_series"), "the others shuffle"


def test_an_interrupted_benchmark_goes_on_and_some_contenders_make_no_record(tmp_path, capsys):
    for _ in range(2):
        path = benchmark.run(NAME, tmp_path, smoke=True, names=["fast_series"])
    assert path == tmp_path / "scratch" / "benchmark-rendered-smoke" / "benchmark.json"
    assert capsys.readouterr().out.count("Measuring fast_series, seed 0") == 1
    record = json.loads(path.read_text())
    assert "cores" in record["machine"] and len(record["contenders"]["fast_series"][0]["curve"]) == 1
    with pytest.raises(InputError, match="there is no contender 'nobody', only last_step, "):
        benchmark.run(NAME, tmp_path, names=["nobody"])


@pytest.mark.slow
def test_runs_side_by_side_are_timed_on_dasks_workers(settings):
    found = benchmark.time_runs(settings, 2, benchmark.on_dask)
    assert found["runs"] == 1 and found["seconds"] > 0
