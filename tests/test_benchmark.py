"""The benchmark: what it makes of its measurements, and that all of it works, in small. No test asserts a time."""

import json
import math

import pytest
import torch

from benchmarks import benchmark, chain_cost, measures, pipelines, processes, worker
from common import InputError, speed
from common.data import ROOT, load_digits

STILL = dict.fromkeys(("rotation", "shift", "scale", "shear", "brightness", "contrast"), 0.0)


@pytest.fixture(scope="module")
def names() -> dict:
    """The last stage, about to train on a few digits that don't move."""
    return pipelines.set_up(measures.STAGES[-1], data="rendered", device="cpu", images=96, **STILL)


def figures(median: float, *rounds: float) -> dict:
    """A figure as the record has it."""
    return {"median": median, "spread": [min(rounds), max(rounds)], "rounds": list(rounds)}


def make_record(**medians: float) -> dict:
    """A record in which every figure is 1 unless told."""
    values = {row.name: medians.get(row.name, 1.0) for row in speed.ROWS}
    measured = {name: figures(value, value, value) for name, value in values.items()}
    rates = {"ours alone": figures(3.0, 2.0, 3.0, 4.0), "conventional alone": figures(1.0, 1.0, 1.0, 1.0)}
    return {"machine": "2 cores", "dataset": "MNIST", "measured": measured, "images_per_second": rates}


def test_both_sides_train_on_the_same_images(names):
    """With all amounts at 0 the conventional loader gives, pixel for pixel, what the stage's own gives."""

    def seen(loader) -> torch.Tensor:
        images = torch.cat([images for images, _ in loader]).flatten(1)
        return images[images.sum(1).argsort()]

    assert torch.allclose(seen(pipelines.conventional_loader(names, 0)), seen(names["train_loader"]), atol=1e-5)


def test_both_sides_move_the_images_by_the_same_amounts():
    amounts = {"rotation": 10.0, "shift": 1.5, "scale": 0.12, "shear": 8.0, "brightness": 0.1, "contrast": 0.2}
    moved = pipelines.set_up(measures.STAGES[-1], data="rendered", device="cpu", images=8, **amounts)
    affine, jitter = pipelines.conventional_loader(moved, 0).dataset.transform.transforms[:2]
    assert affine.degrees == [-10.0, 10.0] and affine.shear == [-8.0, 8.0] and affine.scale == (0.88, 1.12)
    assert affine.translate == (1.5 / 28, 1.5 / 28)
    assert jitter.brightness == pytest.approx((0.9, 1.1)) and jitter.contrast == pytest.approx((0.8, 1.2))
    ours = moved["train_loader"].augment
    assert (ours.rotation, ours.shift_x, ours.scale, ours.shear) == (10.0, 1.5, 0.12, 8.0)
    assert (ours.brightness, ours.contrast) == (0.1, 0.2)


def test_both_sides_have_the_same_net_batch_size_and_optimizer(names):
    net, optimizer = pipelines.conventional_training(names)
    shapes = [[weight.shape for weight in one.parameters()] for one in (net, names["net"])]
    assert shapes[0] == shapes[1]
    assert pipelines.conventional_loader(names, 0).batch_size == names["train_loader"].batch_size
    ours, theirs = names["optimizer"].param_groups[0], optimizer.param_groups[0]
    assert type(optimizer) is type(names["optimizer"]) and theirs["lr"] == names["learning_rate"]
    assert all(ours[name] == theirs[name] for name in ("momentum", "nesterov"))


@pytest.mark.parametrize("side", ["ours", "conventional"])
def test_a_pass_trains(side, names):
    if side == "ours":
        net, train = names["net"], lambda: pipelines.our_pass(names)
    else:
        net, optimizer = pipelines.conventional_training(names)
        loader = pipelines.conventional_loader(names, 0)
        train = lambda: pipelines.conventional_pass(net, optimizer, loader)  # noqa: E731
    before = net[-1].weight.clone()
    train()
    assert not torch.equal(net[-1].weight, before)


def test_the_arithmetic_is_that_of_the_layers(names):
    """Two operations a weight and place, forward; as many for each of the two gradients, but for those of the image."""
    places = 26**2 * 8, 24**2 * 8, 10**2 * 12, 8**2 * 14, 6**2 * 16, 4**2 * 16
    fields = 9, 72, 72, 108, 126, 144
    forward = [2 * count * field for count, field in zip(places, fields, strict=True)]
    expected = 3 * (sum(forward) + 2 * 16 * 10) - forward[0]
    counted = worker.arithmetic("rendered", measures.STAGES[-1], 96)["flops"]
    assert counted == pytest.approx(expected, rel=1e-6)


def test_ours_is_held_against_the_better_form_round_by_round():
    rates = {f"ours {stage}": [60.0, 80.0] for stage in measures.STAGES}
    rates |= {f"ours {measures.STAGES[0]}": [50.0, 60.0], "ours alone": [30.0, 30.0], "ours as recorded": [1.0, 2.0]}
    rates["ours in bfloat16"] = [2.0, 4.0]
    rates |= dict(zip(benchmark.CONVENTIONAL, ([9.0, 9.0], [10.0, 20.0], [1.0, 1.0]), strict=True))
    rates |= {"conventional alone": [10.0, 15.0], "conventional, two side by side": [20.0, 20.0]}
    ratios = benchmark.ratios(rates | {"matrix product": [100.0, 100.0]}, flops=10.0)
    assert ratios["ratio_conventional"] == [5.0, 3.0], "of the two stages, the one that gains less"
    assert ratios["ratio_conventional_alone"] == [3.0, 2.0]
    assert ratios["ratio_conventional_pair"] == [3.0, 4.0]
    assert ratios["ratio_floor"] == [10.0, 5.0], "the speed that arithmetic allows over the one that is reached"
    assert ratios["ratio_floor_bfloat16"] == [5.0, 2.5]
    assert "ratio_floor_compiled" not in ratios, "where nothing could be compiled, nothing is said of it"


def test_the_forms_that_are_off_differ_from_the_series_as_they_say():
    def made(form: str) -> dict:
        return worker.stage_of("rendered", measures.STAGES[-1], 96, form)

    recorded, bfloat16, large = made("as recorded"), made("in bfloat16"), made("in batches of 256")
    images = next(iter(recorded["train_loader"]))[0]
    assert recorded["net"](images).dtype == torch.float32 and bfloat16["net"](images).dtype == torch.bfloat16
    assert all(weight.dtype == torch.float32 for weight in bfloat16["net"].parameters())
    assert (recorded["train_loader"].batch_size, large["train_loader"].batch_size) == (64, 256)
    compiled = pipelines.FORMS["compiled"].net(recorded["net"])
    assert compiled is not recorded["net"] and next(compiled.parameters()) is next(recorded["net"].parameters())


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_compiled_where_there_is_no_compiler(there, monkeypatch):
    monkeypatch.setattr(measures.shutil, "which", lambda name: name if there else None)
    monkeypatch.setattr(measures, "together", lambda *given, **task: [{"images": 1, "flops": 1, "seconds": 1.0}])
    rates = measures.throughput(measures.Bench([], [], "rendered", measures.Sizes()))
    assert ("ours compiled" in rates) == there and "ours in bfloat16" in rates


def test_the_speed_of_several_is_that_until_the_last_has_finished():
    answers = [{"images": 100, "seconds": 1.0}, {"images": 100, "seconds": 2.0}]
    assert processes.rate(answers) == 100


def history(clean: float, others: float) -> list[dict]:
    """Three epochs, of which the second does not measure clean accuracy."""
    seconds = {1: (clean, 99.0), 2: (others, None), 3: (clean, 99.0)}
    return [{"epoch": epoch, "seconds": s, "train_accuracy_clean": c} for epoch, (s, c) in seconds.items()]


def test_a_full_run_has_four_epochs_with_clean_accuracy_and_eleven_without():
    assert chain_cost.seconds_of_full_run(history(clean=5.0, others=3.0)) == 4 * 5.0 + 11 * 3.0
    assert chain_cost.seconds_of_full_run(history(clean=5.0, others=3.0)[:1]) == 15 * 5.0


def test_overhead_is_all_core_time_beside_training_over_that_of_full_training():
    ran = {"wall": 20.0, "histories": [history(5.0, 3.0)] * 2}
    assert chain_cost.overhead(ran, jobs=2) == pytest.approx((2 * 20 - 2 * 13) / (2 * 53))


@pytest.mark.parametrize(("large", "power"), [(4.0, 1.0), (1.0, 0.0), (16.0, 2.0)])
def test_growth_is_a_power(large, power):
    assert measures.power(1.0, large, 4) == pytest.approx(power)


def test_a_chain_that_fails_ends_the_benchmark_in_one_line(capfd):
    with pytest.raises(InputError, match="a chain of the benchmark failed"):
        chain_cost.run_chain(["--stages", "99"], jobs=1)
    assert "invalid choice" in capfd.readouterr().err


def test_a_worker_that_dies_ends_the_benchmark_in_one_line(capfd):
    with processes.Worker() as one, pytest.raises(InputError, match="ended early"):
        processes.together([one], "no such task")
    assert one.process.returncode is not None
    assert "no such task" in capfd.readouterr().err


def test_a_neighbour_goes_when_the_measurement_does():
    import psutil

    with processes.busy_neighbour():
        spinning = [child for child in psutil.Process().children() if "while True" in " ".join(child.cmdline())]
        assert len(spinning) == 1
    assert not spinning[0].is_running()


def test_a_bar_is_met_or_not_and_the_table_says_so():
    lines = speed.table(make_record(ratio_conventional=3.5, ratio_floor=8.0))
    met, missed = (next(line for line in lines if words in line) for words in ("3.50×", "8.00×"))
    assert "at least 3.00×" in met and "| met |" in met
    assert "at most 3.00×" in missed and "**not met**" in missed
    assert lines[-1] == "On 2 cores, with MNIST."


def test_what_was_not_measured_has_no_line():
    record = make_record()
    whole = speed.table(record)
    del record["measured"]["ratio_floor_compiled"]
    assert len(speed.table(record)) == len(whole) - 1


@pytest.mark.parametrize("damaged", ["{", "{}", "[]", json.dumps({"measured": {}})])
def test_a_record_that_is_damaged_or_lacks_a_bar_is_refused_in_a_line(damaged, tmp_path):
    path = tmp_path / "benchmark.json"
    path.write_text(damaged)
    with pytest.raises(InputError, match=r"benchmark\.json is no record of a benchmark: delete it"):
        speed.section(path)


def test_a_bar_that_one_round_misses_is_not_simply_met():
    record = make_record(ratio_conventional=3.5)
    record["measured"]["ratio_conventional"]["rounds"] = [3.5, 2.9, 3.6]
    assert any("| met by the median, not by every round |" in line for line in speed.table(record))


def test_the_readme_says_of_the_recorded_benchmark_what_it_shows():
    words = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "None brings a step to the bar" in words
    measured = json.loads((ROOT / "outputs" / "benchmark.json").read_text(encoding="utf-8"))["measured"]
    assert "Like against like, one process or two on each side, the ratio is smaller" in words
    best = measured["ratio_conventional"]["median"]
    assert max(measured[f"ratio_conventional_{like}"]["median"] for like in ("alone", "pair")) < best
    floor = next(row for row in speed.ROWS if row.name == "ratio_floor")
    for form in ("compiled", "bfloat16", "batches_of_256"):
        assert "not met" in floor.verdict(measured[f"ratio_floor_{form}"])


def test_the_figure_has_a_bar_a_form():
    axes = speed.rates(make_record()).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conventional alone", "ours alone"]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 3.0]


def test_without_a_record_the_section_says_how_to_make_one(tmp_path):
    assert "./run_all.sh --benchmark" in speed.section(tmp_path / "benchmark.json")[0]


@pytest.mark.parametrize(("dataset", "smoke"), [("MNIST", True), ("rendered digits, not MNIST", False)])
def test_only_a_full_benchmark_on_mnist_is_recorded(dataset, smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "measure", lambda *given: make_record())
    path = benchmark.run(dataset, tmp_path, smoke)
    assert path.is_relative_to(tmp_path / "scratch") and path.exists()
    assert not (tmp_path / "benchmark.json").exists()
    assert benchmark.run("MNIST", tmp_path) == tmp_path / "benchmark.json"


def test_a_benchmark_that_fails_leaves_the_record_as_it_is(tmp_path, monkeypatch):
    def fail(*given):
        raise InputError("no")

    (tmp_path / "benchmark.json").write_text("{}")
    monkeypatch.setattr(benchmark, "measure", fail)
    with pytest.raises(InputError):
        benchmark.run("MNIST", tmp_path)
    assert (tmp_path / "benchmark.json").read_text() == "{}"


@pytest.mark.chain
def test_the_whole_benchmark_works_in_small(tmp_path):
    path = benchmark.run(load_digits("rendered", limit=1).name, tmp_path, smoke=True)
    record = json.loads(path.read_text())
    assert list(record["measured"]) and set(record["measured"]) == {row.name for row in speed.ROWS} - {
        "ratio_floor_compiled"
    }
    for name, found in record["measured"].items():
        assert math.isfinite(found["median"]) and record[name] == found["median"]
        assert found["spread"] == [min(found["rounds"]), max(found["rounds"])]
    for name in ("ratio_conventional", "ratio_floor", "peak_memory"):
        assert record[name] > 0
    assert "cores" in record["machine"] and record["dataset"] == "rendered digits, not MNIST"
    assert (path.parent / "figures" / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert speed.section(path)[0].startswith("| ")
