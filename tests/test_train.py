"""Training, evaluation, the blocks of the networks, and what a run says of its machine."""

import json
import math
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import InputError, runtime, train
from common.batches import Augment, Batches
from common.blocks import GlobalAveragePool, conv_block
from common.train import DivergedError, evaluate, fit, predict, refresh_norms, train_epoch

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

Loader = list[tuple[Tensor, Tensor]]


class Given(nn.Module):
    """Takes its input as logits; a weight makes it trainable, and adds nothing while it is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        return logits + self.weight * logits


def still(model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer that moves nothing."""
    return torch.optim.SGD(model.parameters(), lr=0.0)


def ragged() -> Loader:
    """Logits in batches of 4 and 1: three of four right, then one of one wrong."""
    labels = torch.tensor([0, 1, 2, 0, 1])
    logits = F.one_hot(torch.tensor([0, 1, 2, 2, 0]), 3) * torch.tensor([1.0, 2, 3, 4, 5]).view(-1, 1)
    return [(logits[:4], labels[:4]), (logits[4:], labels[4:])]


def blobs(count: int = 40, size: int = 8) -> Loader:
    """Two clouds of points, easily told apart."""
    labels = torch.arange(count) % 2
    points = torch.randn(count, 2, generator=torch.Generator().manual_seed(0)) + 8.0 * labels.view(-1, 1)
    return list(zip(points.split(size), labels.split(size), strict=True))


def small_network() -> nn.Module:
    """With all that may behave differently in training."""
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def run_fit(epochs: int = 1, model: nn.Module | None = None, rate: float = 0.1, **loaders: Loader) -> list[dict]:
    """A fit with small parts."""
    model = model or small_network()
    parts = {"train_loader": blobs(), "test_loader": blobs(10), "clean_loader": blobs()} | loaders
    return fit(model, optimizer=torch.optim.SGD(model.parameters(), rate), epochs=epochs, **parts)


# train_epoch


def test_an_easy_problem_is_learnt():
    torch.manual_seed(0)
    model, loader = nn.Linear(2, 2), blobs()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    first, *_, (loss, accuracy) = [train_epoch(model, loader, optimizer) for _ in range(20)]
    assert loss < first[0]
    assert accuracy == 100
    assert evaluate(model, loader)[1:] == (40, 100)


def test_training_counts_right_predictions_over_ragged_batches_and_divides_once():
    model = Given()
    _, accuracy = train_epoch(model, ragged(), still(model))
    assert accuracy == 60  # the mean of the batches' 75 % and 0 % would be 37.5


def test_the_mean_loss_gives_every_image_the_same_weight():
    model = Given()
    logits, labels = map(torch.cat, zip(*ragged(), strict=True))
    expected = F.cross_entropy(logits, labels).item()
    assert train_epoch(model, ragged(), still(model))[0] == pytest.approx(expected)
    assert evaluate(model, ragged())[0] == pytest.approx(expected)


def test_training_is_done_in_train_mode():
    model = small_network().eval()
    before = model[1].running_mean.clone()
    train_epoch(model, blobs(), still(model))
    assert model.training
    assert not torch.equal(model[1].running_mean, before)


def test_gradients_do_not_add_up_from_step_to_step():
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.load_state_dict(one.state_dict())
    optimizer = torch.optim.SGD(one.parameters(), 0.1)
    train_epoch(one, blobs(), optimizer)
    by_hand = torch.optim.SGD(other.parameters(), 0.1)
    for points, labels in blobs():
        by_hand.zero_grad()
        F.cross_entropy(other(points), labels).backward()
        by_hand.step()
    assert torch.equal(one.weight, other.weight)


def test_the_scheduler_moves_on_after_every_batch():
    model, rates = nn.Linear(2, 2), []
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates.append(step) or 0.5**step)
    train_epoch(model, blobs(40, 8), optimizer, scheduler)
    assert rates == [0, 1, 2, 3, 4, 5]
    assert optimizer.param_groups[0]["lr"] == 0.5**5


def test_no_number_is_read_from_the_device_in_a_step(monkeypatch):
    """Reading one makes the device and the program wait for each other; an epoch may do so, a step may not."""
    readings = []
    for name in ("item", "tolist", "numpy", "cpu", "__int__", "__float__", "__bool__", "__index__"):
        method = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda self, *rest, method=method: readings.append(1) or method(self, *rest))
    counts = []
    for steps in (2, 20):
        readings.clear()
        model = nn.Linear(2, 2)
        train_epoch(model, blobs(8 * steps, 8), torch.optim.SGD(model.parameters(), 0.1))
        counts.append(len(readings))
    assert counts[0] == counts[1] > 0


# evaluate


def test_evaluation_counts_over_ragged_batches_and_divides_once():
    _, correct, accuracy = evaluate(Given(), ragged())
    assert (correct, accuracy) == (3, 60)
    assert type(correct) is int


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_is_done_in_eval_mode_and_leaves_the_mode_as_it_was(training):
    modes = []
    model = small_network().train(training)
    model[3].register_forward_hook(lambda module, *_: modes.append(module.training))
    evaluate(model, blobs())
    assert modes == [False] * 5
    assert all(module.training is training for module in model.modules())


def test_evaluation_changes_nothing_in_the_model_and_always_gives_the_same():
    model = small_network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert evaluate(model, blobs()) == evaluate(model, blobs())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_evaluation_keeps_no_gradients():
    model = small_network()
    logits, _ = predict(model, blobs())
    evaluate(model, blobs())
    assert not logits.requires_grad
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.is_grad_enabled()


def test_predictions_come_in_the_order_of_the_loader_all_of_them():
    logits, labels = predict(Given(), ragged())
    assert torch.equal(logits, torch.cat([batch for batch, _ in ragged()]))
    assert labels.tolist() == [0, 1, 2, 0, 1]


# refresh_norms


def normed(momentum: float = 0.1) -> nn.Sequential:
    """A network with dropout before and behind batch norm, whose statistics training has left somewhere."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, momentum=momentum)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), norm, nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    net.train()(torch.randn(4, 1, 8, 8) * 5)
    return net


def pictures(batches: int) -> list:
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(6, 1, 8, 8, generator=generator), torch.zeros(6).long()) for _ in range(batches)]


def test_fresh_statistics_are_those_of_the_images_without_dropout():
    net, loader = normed(), pictures(4)
    refresh_norms(net, loader)
    maps = [net[0](images) for images, _ in loader]
    assert torch.allclose(net[1].running_mean, torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0), atol=1e-6)
    assert torch.allclose(net[1].running_var, torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0), atol=1e-6)
    seen = [net[4](F.relu(F.batch_norm(m, None, None, net[1].weight, net[1].bias, training=True))) for m in maps]
    assert torch.allclose(net[5].running_mean, torch.stack([m.mean((0, 2, 3)) for m in seen]).mean(0), atol=1e-5)


def test_fresh_statistics_take_no_more_batches_than_asked_for():
    one, other = normed(), normed()
    refresh_norms(one, pictures(9), batches=2)
    refresh_norms(other, pictures(2))
    assert torch.equal(one[1].running_var, other[1].running_var)


def test_fresh_statistics_change_nothing_else():
    net = normed(momentum=0.3)
    before, state = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    refresh_norms(net, pictures(2))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{layer}.{name}" for layer in (1, 5) for name in STATISTICS}
    assert net.training and all(layer.training for layer in net) and net[1].momentum == 0.3
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in net.parameters())


def test_a_network_without_batch_norm_is_not_run_for_its_statistics():
    refresh_norms(nn.Linear(2, 2), iter(lambda: pytest.fail("the loader was read"), None))


@pytest.mark.parametrize("fresh", [True, False])
def test_a_fit_is_evaluated_by_fresh_statistics_where_they_are_wanted(fresh):
    net, loader = normed(), pictures(3)
    head = nn.Sequential(GlobalAveragePool(), nn.Linear(2, 3))
    model = nn.Sequential(net, head)
    fit(model, loader, loader, loader, torch.optim.SGD(model.parameters(), 0.1), 1, fresh_norms=fresh)
    left = net[1].running_mean.clone()
    refresh_norms(model, loader)
    assert torch.equal(net[1].running_mean, left) is fresh


# fit


def test_the_history_has_a_row_an_epoch_that_a_metrics_file_can_take():
    history = run_fit(3)
    columns = ["epoch", "lr", "train_loss", "train_accuracy", "train_accuracy_clean"]
    columns += ["test_loss", "test_correct", "test_accuracy", "seconds"]
    assert [list(row) for row in history] == [columns] * 3
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert json.loads(json.dumps(history)) == history
    assert all(row["seconds"] > 0 for row in history)


def test_test_figures_are_those_of_the_test_images_in_percent():
    (row,) = run_fit(
        model=Given(), rate=0.0, train_loader=ragged()[:1], clean_loader=ragged()[:1], test_loader=ragged()
    )
    assert (row["test_correct"], row["test_accuracy"]) == (3, 60)
    assert (row["train_accuracy"], row["train_accuracy_clean"]) == (75, 75)


@pytest.mark.parametrize(("epochs", "measured"), [(1, {1}), (3, {1, 3}), (12, {1, 5, 10, 12}), (15, {1, 5, 10, 15})])
def test_clean_train_accuracy_is_measured_after_the_first_every_fifth_and_the_last_epoch(epochs, measured):
    history = run_fit(epochs)
    assert {row["epoch"] for row in history if row["train_accuracy_clean"] is not None} == measured


def test_clean_train_accuracy_is_that_of_the_trained_network_without_dropout():
    class Coin(Given):
        def forward(self, logits):
            return super().forward(F.dropout(logits, 0.99, self.training))

    easy = [(F.one_hot(torch.ones(200).long(), 2).float(), torch.ones(200).long())]
    (row,) = run_fit(model=Coin(), rate=0.0, train_loader=easy, clean_loader=easy, test_loader=easy)
    assert row["train_accuracy"] < 50
    assert row["train_accuracy_clean"] == row["test_accuracy"] == 100


def test_the_rate_of_an_epoch_is_that_of_its_first_step():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    history = fit(model, blobs(24, 8), blobs(8), blobs(8), optimizer, 3, scheduler)
    assert [row["lr"] for row in history] == [1, 0.5**3, 0.5**6]


def test_the_same_seed_gives_the_same_history_and_another_seed_another():
    def history(seed: int) -> list[dict]:
        runtime.seed_everything(seed)
        images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(60) % 3
        train_loader = Batches(images, labels, 16, seed, Augment(rotation=10, shift_x=1))
        model = nn.Sequential(conv_block(1, 4, dropout=0.3), GlobalAveragePool(), nn.Linear(4, 3))
        plain = Batches(images, labels, 16)
        rows = fit(model, train_loader, plain, plain, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), 3)
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]

    assert history(0) == history(0) != history(1)


def test_a_recorded_run_prints_one_line_an_epoch(capsys):
    run_fit(6)
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", str(number)] for number in range(1, 7)]
    assert all("test" in line for line in lines)
    assert ["clean" in line for line in lines] == [True, False, False, False, True, True], "only where it is measured"
    assert "\r" not in captured.out + captured.err


def test_a_person_sees_a_live_bar_that_goes_away(capsys, monkeypatch):
    monkeypatch.setattr(train, "someone_watches", lambda: True)
    run_fit(1)
    assert "epoch 1: " in capsys.readouterr().out


@pytest.mark.parametrize("takes_input", [True, False])
def test_a_front_end_that_takes_input_has_a_person_before_it(takes_input, monkeypatch):
    shell = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=takes_input))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert train.someone_watches() is takes_input


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("imported", [True, False])
def test_outside_jupyter_a_terminal_has_a_person_before_it(terminal, imported, monkeypatch):
    if imported:
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    else:
        monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert train.someone_watches() is terminal


# Divergence


class SpoiltOnce:
    """Batches of which the third has an infinite pixel, in the second pass over them."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        for number, (points, labels) in enumerate(blobs(), 1):
            yield (points * math.inf if (self.passes, number) == (2, 3) else points), labels


def test_a_loss_that_is_not_finite_stops_the_run_and_names_epoch_and_step():
    with pytest.raises(DivergedError, match=r"epoch 2, loss is (nan|inf) at step 3\b") as caught:
        run_fit(5, train_loader=SpoiltOnce())
    assert "\n" not in str(caught.value)


def test_a_network_that_the_last_step_broke_stops_the_run_too():
    with pytest.raises(DivergedError, match=r"epoch 1, loss is (nan|inf) after the last step"):
        run_fit(1, model=nn.Linear(2, 2), rate=3e38, train_loader=blobs(8, 8))


# The blocks


def kinds(block: nn.Sequential) -> list[type]:
    return [type(layer) for layer in block]


def test_a_block_has_its_layers_in_order_and_only_those_asked_for():
    whole = conv_block(3, 5, dropout=0.2, pool=True)
    assert kinds(whole) == [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU, nn.Dropout]
    assert whole[4].p == 0.2
    assert kinds(conv_block(3, 5, norm=False)) == [nn.Conv2d, nn.ReLU]
    assert kinds(conv_block(3, 5)) == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]


@pytest.mark.parametrize("norm", [True, False])
def test_the_convolution_has_a_bias_only_where_no_norm_replaces_it(norm):
    assert (conv_block(3, 5, norm=norm)[0].bias is None) is norm


@pytest.mark.parametrize(("kernel", "side"), [(3, 6), (1, 8)])
def test_a_convolution_takes_its_border_off_and_a_pool_halves_the_rest(kernel, side):
    images = torch.rand(2, 3, 8, 8)
    assert conv_block(3, 5, kernel)(images).shape == (2, 5, side, side)
    assert conv_block(3, 5, kernel, pool=True)(images).shape == (2, 5, side // 2, side // 2)


@pytest.mark.parametrize("norm", [True, False])
def test_pooling_first_gives_what_pooling_last_would(norm):
    block = conv_block(1, 5, norm=norm, pool=True).eval()
    convolution, pool, *between = block
    images = torch.randn(4, 1, 12, 12)
    assert torch.allclose(block(images), pool(nn.Sequential(*between)(convolution(images))), atol=1e-6)


def test_global_pooling_is_the_mean_of_each_map():
    maps = torch.rand(2, 3, 4, 5)
    assert torch.allclose(GlobalAveragePool()(maps), F.adaptive_avg_pool2d(maps, 1).flatten(1), atol=1e-6)


# Devices, seeds and the stamp


@pytest.mark.parametrize(("present", "name"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(present, name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    assert runtime.choose_device("auto").type == name
    assert runtime.choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "gpu", "", "CPU", "cuda:7"])
def test_a_device_that_is_not_there_is_refused_by_name(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=repr(name)):
        runtime.choose_device(name)


def test_the_same_seed_gives_the_same_weights():
    drawn = []
    for seed in (0, 0, 1):
        runtime.seed_everything(seed)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark


def test_the_stamp_says_device_versions_and_commit_and_nothing_of_the_place():
    stamp = runtime.environment(torch.device("cpu"))
    assert set(stamp) == {"device", "versions", "commit"}
    assert set(stamp["versions"]) == {"python", "torch", "torchvision"}
    assert stamp["device"] == "cpu"
    text = json.dumps(stamp)
    assert "/" not in text
    assert "\\" not in text
    assert socket.gethostname() not in text


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A repository with one commit; it gives a function that runs git there."""
    if not shutil.which("git"):
        pytest.skip("there is no git")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    return git


def test_the_commit_is_that_of_the_checkout_with_a_plus_where_files_differ(checkout):
    head = checkout("rev-parse", "HEAD")
    assert runtime.commit() == head[:12]
    checkout("tag", "--annotate", "v1", "--message", "one")  # which must not take its place
    assert runtime.commit() == head[:12]
    (runtime.ROOT / "file").write_text("two")
    assert runtime.commit() == f"{head[:12]}+"


def test_outside_a_checkout_or_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    assert runtime.commit() == ""
    monkeypatch.setenv("PATH", "")
    assert runtime.commit() == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_a_gpu_trains_too_and_repeats_itself():
    device = runtime.choose_device("cuda")
    histories = []
    for _ in range(2):
        runtime.seed_everything(0)
        images = torch.rand(200, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(device)
        labels = (images.mean((1, 2, 3)) > 0.5).long()
        loader, plain = Batches(images, labels, 32, 0, Augment(rotation=10)), Batches(images, labels, 64)
        model = nn.Sequential(conv_block(1, 4, pool=True, dropout=0.1), GlobalAveragePool(), nn.Linear(4, 2))
        model = model.to(device)
        rows = fit(model, loader, plain, plain, torch.optim.SGD(model.parameters(), 0.1), 2)
        histories.append([row["train_loss"] for row in rows])
    assert histories[0] == histories[1]
    assert "cpu" not in runtime.environment(device)["device"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_no_step_on_a_gpu_waits_for_it():
    """From the second step on: with the first go the order of the images, once an epoch, and the choice of kernels."""
    images, labels = torch.rand(64, 1, 28, 28, device="cuda"), torch.zeros(64, dtype=torch.long, device="cuda")
    net = nn.Sequential(conv_block(1, 4, dropout=0.1), GlobalAveragePool(), nn.Linear(4, 10)).cuda()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))

    def watched():
        batches = iter(Batches(images, labels, 16, seed=0, augment=Augment(rotation=5.0, contrast=0.1)))
        yield next(batches)
        torch.cuda.set_sync_debug_mode("error")
        yield from batches
        torch.cuda.set_sync_debug_mode("default")

    try:
        train_epoch(net, watched(), optimizer, scheduler)
    finally:
        torch.cuda.set_sync_debug_mode("default")
