"""Training, evaluation, and what is printed and recorded of an epoch."""

import json
import os
import re
import subprocess
import sys
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from common import Augment, Batches, GlobalAveragePool, conv_block, measure_scales
from common.config import ROOT
from common.train import Captured, DivergedError, evaluate, fit, is_interactive, predict, refresh_norms, train_epoch

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"))
COLUMNS = "epoch lr train_loss train_accuracy train_accuracy_clean usual_loss usual_correct"
COLUMNS += " test_loss test_correct test_accuracy seconds"
torch.set_num_threads(1)  # as in a run; on small tensors, more would be slower


def identity(dropout: float = 0.0) -> nn.Module:
    """Takes its input, which must not be negative, as logits, with dropout; has a weight, so that it can be trained."""
    return nn.Sequential(nn.Dropout(dropout), nn.PReLU(init=1.0))


def ragged() -> list[tuple[Tensor, Tensor]]:
    """Logits in batches of 4 and 1: three of four right, then one of one wrong."""
    labels = torch.tensor([0, 1, 2, 0, 1])
    logits = F.one_hot(torch.tensor([0, 1, 2, 2, 0]), 3) * torch.tensor([1.0, 2, 3, 4, 5]).view(-1, 1)
    return list(zip(logits.split(4), labels.split(4), strict=True))


def pictures(count: int = 18) -> list[tuple[Tensor, Tensor]]:
    """Images in batches of 6, whose brightness tells their label, 0 or 1."""
    labels = torch.arange(count) % 2
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + labels.view(-1, 1, 1, 1)
    return list(zip(images.split(6), labels.split(6), strict=True))


def network(norm: bool = True, dropout: float = 0.5) -> nn.Sequential:
    """Two blocks with dropout between them, and statistics that training has moved."""
    torch.manual_seed(0)
    first, second = conv_block(1, 3, norm=norm, dropout=dropout), conv_block(3, 4, norm=norm)
    net = nn.Sequential(first, second, GlobalAveragePool(), nn.Linear(4, 2))
    net.train()(torch.randn(4, 1, 8, 8) * 5)
    return net


def changes(net: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """The names of the weights and statistics that are no longer what they were."""
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def run_fit(net: nn.Module, epochs: int = 1, rate: float = 0.1, schedule=None, **other) -> list[dict]:
    """A fit to the pictures; `schedule` gives the factor of the rate at a step."""
    loaders = {f"{name}_loader": pictures() for name in ("train", "test", "clean")} | other
    optimizer = SGD(net.parameters(), rate)
    scheduler = LambdaLR(optimizer, schedule) if schedule else None
    return fit(net, optimizer=optimizer, epochs=epochs, scheduler=scheduler, **loaders)


def test_an_epoch_is_sgd_by_hand_batch_by_batch_in_train_mode():
    net, other = network().eval(), network()
    torch.manual_seed(1)
    train_epoch(net, pictures(), SGD(net.parameters(), 0.1))
    torch.manual_seed(1)
    for images, labels in pictures():
        slopes = torch.autograd.grad(F.cross_entropy(other(images), labels), list(other.parameters()))
        for weight, slope in zip(other.parameters(), slopes, strict=True):
            weight.data -= 0.1 * slope
    torch.testing.assert_close(net.state_dict(), other.state_dict())


def test_figures_are_means_over_images_not_over_batches():
    net, loss = identity(), pytest.approx(F.cross_entropy(*map(torch.cat, zip(*ragged(), strict=True))).item())
    assert train_epoch(net, ragged(), SGD(net.parameters(), 0.0)) == (loss, 60)  # 37.5 is the mean of the batches
    assert evaluate(net, ragged()) == (loss, 3, 60)


def test_no_number_is_read_from_the_device_in_a_step(monkeypatch):
    """Reading one makes the program wait for the device; an epoch may do so, a step may not."""
    readings, counts = [], []
    for name in ("item", "tolist", "numpy", "cpu", "__int__", "__float__", "__bool__", "__index__"):
        method = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda self, *rest, method=method: readings.append(1) or method(self, *rest))
    for steps in (2, 20):
        readings.clear()
        net, images, labels = network(), torch.rand(4 * steps, 1, 8, 8), torch.zeros(4 * steps).long()
        train_epoch(net, Batches(images, labels, 4, 0, Augment(9, 1, 1, 0.1, 9, 0.1, 0.1)), SGD(net.parameters(), 0.1))
        counts.append(len(readings))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_is_in_eval_mode_and_leaves_the_network_as_it_was(training):
    net, loader = network().train(training), pictures(15)
    before, random = deepcopy(net.state_dict()), torch.get_rng_state()
    logits, labels = predict(net, loader)
    assert evaluate(net, loader)[0] == F.cross_entropy(logits, labels).item()
    assert not logits.requires_grad and all(layer.training is training for layer in net.modules())
    assert not changes(net, before) and torch.equal(torch.get_rng_state(), random)
    images, expected = map(torch.cat, zip(*loader, strict=True))
    assert torch.allclose(net.eval()(images), logits, atol=1e-5) and torch.equal(labels, expected)


def test_fresh_statistics_are_means_over_the_first_batches_without_dropout_and_nothing_else_changes():
    net = network()
    net[0][1].momentum, before, random = 0.3, deepcopy(net.state_dict()), torch.get_rng_state()
    refresh_norms(net, pictures(30), batches=3)
    names = ("running_mean", "running_var", "num_batches_tracked")
    assert changes(net, before) == {f"{block}.1.{name}" for block in (0, 1) for name in names}
    assert all(layer.training for layer in net.modules()) and net[0][1].momentum == 0.3
    assert torch.equal(torch.get_rng_state(), random)
    maps = [net[0][0](images) for images, _ in pictures(18)]
    seen = [net[1][0](F.relu(F.batch_norm(each, None, None, training=True))) for each in maps]
    for norm, inputs in ((net[0][1], maps), (net[1][1], seen)):
        for found, statistic in ((norm.running_mean, Tensor.mean), (norm.running_var, Tensor.var)):
            expected = torch.stack([statistic(each, (0, 2, 3)) for each in inputs]).mean(0)
            assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("on", [True, False])
def test_fresh_statistics_and_the_memory_layout_can_be_turned_off(on):
    net = network()
    run_fit(net, fresh_norms=on, channels_last=on)
    assert net[1][0].weight.is_contiguous(memory_format=torch.channels_last) is on
    before = deepcopy(net.state_dict())
    refresh_norms(net, pictures())
    assert (not changes(net, before)) is on


def test_an_epoch_is_tested_in_the_usual_way_and_with_statistics_of_more_images_where_it_counts(monkeypatch):
    taken, clean = [], [(torch.rand(2, 1, 8, 8), torch.zeros(2).long())] * 60
    monkeypatch.setattr("common.train.refresh_norms", lambda *given: taken.append(given[2]) or refresh_norms(*given))
    fresh, usual, history = network(dropout=0), network(dropout=0), []
    for net, on in ((fresh, True), (usual, False)):
        net[0][1].momentum = net[1][1].momentum = 1  # the last batch; epochs here are too short
        history.append(run_fit(net, 7, fresh_norms=on, clean_loader=clean))
    assert taken == [50] * 2 + [None] * 5
    for row, other in zip(*history, strict=True):  # the training is the same
        assert (row["usual_loss"], row["usual_correct"]) == (other["test_loss"], other["test_correct"])
        assert row["train_loss"] == other["train_loss"] and row["test_loss"] != other["test_loss"]
    refresh_norms(usual, clean)
    assert evaluate(usual, pictures())[0] == history[0][-1]["test_loss"]


def test_an_epoch_is_a_row_and_a_printed_line_and_one_in_the_progress_file(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SERIES_PROGRESS", str(tmp_path / "progress"))
    history = run_fit(network(dropout=0), 12, schedule=lambda step: 0.99**step)
    out, err = capsys.readouterr()
    for epoch, (row, line) in enumerate(zip(history, out.splitlines(), strict=True), 1):
        assert list(row) == COLUMNS.split() and row["epoch"] == epoch and row["seconds"] > 0
        assert row["lr"] == pytest.approx(0.1 * 0.99 ** (3 * epoch - 3))  # of its first step; it has 3
        assert (row["train_accuracy_clean"] is not None) is ("clean" in line) is (epoch in (1, 5, 10, 12))
        assert line.split()[:2] == ["epoch", str(epoch)] and f"test {row['test_accuracy']:.2f}%" in line
    assert "\r" not in out + err
    written = (tmp_path / "progress").read_text().splitlines()
    assert [json.loads(line) for line in written] == [row | {"epochs": 12} for row in history]
    assert history[-1]["test_accuracy"] == 100 and history[-1]["train_loss"] < history[0]["train_loss"] / 2


def test_clean_and_test_figures_are_of_their_own_images_without_dropout():
    train = [(F.one_hot(torch.ones(200).long(), 3).float(), torch.ones(200).long())]
    (row,) = run_fit(identity(0.99), rate=0.0, train_loader=train, clean_loader=ragged()[:1], test_loader=ragged())
    assert row["train_accuracy"] < 50
    assert (row["train_accuracy_clean"], row["test_correct"], row["test_accuracy"]) == (75, 3, 60)


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_the_same_seed_gives_the_same_history_and_another_seed_another(device):
    def history(seed: int) -> list[dict]:
        images, labels = (torch.cat(part).to(device) for part in zip(*pictures(60), strict=True))
        net, plain = network().to(device), Batches(images, labels, 16)
        torch.manual_seed(seed)
        train = Batches(images, labels, 16, seed, Augment(rotation=10, shift_x=1))
        rows = run_fit(net, 2, train_loader=train, test_loader=plain, clean_loader=plain)
        return [row | {"seconds": 0} for row in rows]

    assert history(0) == history(0) != history(1)


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_a_captured_step_does_what_its_kernels_do_one_by_one(device, capsys):
    def train(capture: bool) -> tuple:
        net, loader = network(dropout=0).to(device), [(one.to(device), two.to(device)) for one, two in pictures(15)]
        optimizer = SGD(net.parameters(), 0.1, momentum=0.9)
        work = Captured(net, optimizer) if capture else None
        figures = [train_epoch(net, loader, optimizer, None, work) for _ in range(3)]  # the last batch of each has 3
        return bool(work and work.graph), figures, net.state_dict()

    captured, *found = train(capture=True)
    torch.testing.assert_close(found, [*train(capture=False)[1:]])
    assert captured == (device == "cuda")
    assert captured or re.fullmatch(r"No CUDA graph \(.+\): steps are launched .+\n", capsys.readouterr().out)


def test_only_a_person_sees_a_progress_bar_at_a_terminal_or_where_jupyter_takes_input(capsys, monkeypatch):
    shell = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=False))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for found, person in ((None, True), (shell, False)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda found=found: found))
        run_fit(network())
        assert is_interactive() is person is ("epoch 1: " in capsys.readouterr().out)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    shell.kernel._allow_stdin = True
    assert is_interactive()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not is_interactive()


def test_a_loss_that_is_not_finite_stops_the_run_and_is_named_in_one_line():
    with pytest.raises(DivergedError, match=r"^epoch 2, loss is (nan|inf) at step 2: try a lower learning_rate$"):
        run_fit(network(), 5, schedule=lambda step: 1e38 if step == 3 else 1)
    with pytest.raises(DivergedError, match=r"^epoch 1, loss is (nan|inf) after the last step: try"):
        run_fit(network(norm=False), rate=3e38, train_loader=pictures(6))


@pytest.mark.parametrize("norm", [False, True])
def test_scales_are_those_of_the_first_step_and_the_network_is_left_as_it_was(norm):
    net, (images, labels) = network(norm, dropout=0), pictures()[0]
    before, other = deepcopy(net.state_dict()), deepcopy(net)
    scales = measure_scales(net.eval(), images, labels)
    F.cross_entropy(other.train()(images), labels).backward()
    assert scales["gradients"] == pytest.approx([other[block][0].weight.grad.norm().item() for block in (0, 1)])
    assert scales["values"] == pytest.approx([other[:block](images).std().item() for block in (1, 2)])
    assert not changes(net, before) and not net.training and all(weight.grad is None for weight in net.parameters())


def test_the_path_of_the_matrix_product_reaches_the_steps_with_a_linear_layer_alone():
    """Why steps 4 to 6 differ between processors, and steps 1 to 3 need not: MKL chooses its path by processor."""

    def loss(head: str, path: dict[str, str]) -> str:
        code = f"""
import torch
from torch import nn
from common import GlobalAveragePool, conv_block
from common.train import train_epoch
torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(conv_block(1, 8), conv_block(8, 16, pool=True), {head})
batches = [(torch.rand(64, 1, 28, 28), torch.randint(10, (64,))) for _ in range(20)]
print(train_epoch(net, batches, torch.optim.SGD(net.parameters(), 0.1))[0].hex())
"""
        settings = {"cwd": ROOT, "env": os.environ | path, "capture_output": True, "text": True}
        return subprocess.run([sys.executable, "-c", code], **settings).stdout

    heads = "nn.Conv2d(16, 10, 1), GlobalAveragePool()", "GlobalAveragePool(), nn.Linear(16, 10)"
    ours, others = ([loss(head, path) for head in heads] for path in ({}, {"MKL_CBWR": "COMPATIBLE"}))
    assert ours[0] == others[0] != ""
    if torch.backends.mkl.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512":
        assert ours[1] != others[1]
