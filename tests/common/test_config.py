"""Which parameters are refused, in one line; how a run begins; its stamp; and whole files."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common import InputError, begin
from common.config import ROOT, RULES, Config, choose_device, commit, environment, write_whole

NEVER = [None, True, [1], {"a": 1}, b"1", 1j, object, math.nan, math.inf, -math.inf, -1, -0.001, 10**300, 2**64]
TEXT, FRACTIONS = ["", "1", "nan", "a b", "é\n; rm -rf /", "x" * 5000], [0.5, 2.0, 1e-9]
TABLE = {  # values that are right, and wrong ones; NEVER is wrong, too, and so is TEXT where it isn't right
    "seed": ([0, 2**31, 2**32 - 1], [*FRACTIONS, 2**32]),
    **dict.fromkeys(("epochs", "batch_size"), ([1, 10_000], [*FRACTIONS, 0, 2**31])),
    "limit": ([0, 1], FRACTIONS),
    **dict.fromkeys(("learning_rate", "kernel_rate"), ([1e-30, 1, 1000], [0, 0.0, 1e4])),
    **dict.fromkeys(("weight_decay", "rotation", "shift"), ([0, 1.5, 1000], [1000.1])),
    **dict.fromkeys(("dropout", "scale"), ([0, 0.999], [1, 1.0, 20])),
    "shear": ([0, 89.9], [90]),
    "warmup": ([0, 0.7], [1.01, 0.71]),  # above settle
    "settle": ([0.1, 1], [1.01, 0.09]),  # below warmup
    "schedule": (["settle", "constant", "steps", "cosine", "one_cycle", "linear"], ["Cosine"]),
    "optimizer": (["sgd", "muon"], ["adam"]),
    "widths": (["1", "8 8 12", "9999"], ["0 8", "-1", "08", "8, 8", "88888", "1.5", "10000", "٣"]),
    **dict.fromkeys(("pooled", "padded", "separable", "residual", "shared"), (["", "1", "1 3"], ["0", "1, 3"])),
    "activation": (["relu", "leaky_relu", "silu"], ["ReLU"]),
    "init": (["pytorch", "he"], ["xavier"]),
    "head": (["gap_fc", "conv_gap", "flatten_fc"], ["fc"]),
    "device": (["auto", "cpu"], ["tpu", "CPU", "cuda:99", "auto "]),
    "data": (["auto", "mnist", "rendered"], ["cifar", "MNIST", "/etc/passwd", "rendered\n"]),
    "split": (["test", "validation", "fold-5"], ["train", "Test", "test,validation", "fold-6"]),
    "out": ([*TEXT[:-1], "outputs/new", "/"], ["a\0b", __file__, f"{__file__}/below"]),
}
VALUES = {"seed": 3, "epochs": 2, "learning_rate": 0.1, "warmup": 0.1, "settle": 0.7, "device": "cpu", "out": ""}
CELL = "\n".join(f"{name} = {value!r}  # a comment" for name, value in VALUES.items())


@pytest.mark.parametrize("name", RULES)
def test_wrong_values_are_refused_in_one_line_and_right_ones_are_not(name):
    (right, wrong), names = TABLE[name], VALUES | {"In": [f"{CELL}\n{name} = 0"]}
    for value in [*NEVER, *wrong, *(text for text in TEXT if text not in right)]:
        with pytest.raises(InputError, match=rf"\Aparameter [^\n]*\b{name}\b[^\n]{{,200}}\Z"):
            begin("step", names | {name: value})
            pytest.fail(f"{name}={value!r} was accepted")
    assert [begin("step", names | {name: value}).parameters[name] for value in right] == right


@pytest.mark.parametrize("cell", ["epochs = 3\nlearning_speed = 3", "Epochs = 3", "root = 3", "speed = float('nan')"])
def test_an_injected_name_that_is_no_parameter_is_refused_and_a_run_without_parameters(cell):
    with pytest.raises(InputError, match=r"^there is no parameter '(learning_|E|root|speed).*', only seed, .*, out$"):
        begin("step", VALUES | {"In": ["root = next(iter('ab'))", CELL, f"# Parameters\n{cell}\n"]})
    for executed in ([], ["import torch"], [f"# Parameters\n{CELL}", CELL]):
        with pytest.raises(InputError, match=r"cells from the first one on|no parameter 'device'"):
            begin("step", VALUES | {"In": executed})


def test_a_run_has_the_present_values_of_the_parameters_literals_or_not():
    cells = ["%a slip", CELL.replace("0.1", "0.3 / 3", 1), "# Parameters\nlearning_rate = 0.2", "other = 1"]
    values = VALUES | {"learning_rate": 0.2}
    config = begin("step", values | {"other": 1, "In": cells})
    by_hand = ROOT / "outputs/scratch/by-hand"
    assert config == Config("step", values, torch.device("cpu"), by_hand / "epochs-2")
    assert begin("step", values | {"epochs": 1, "In": cells}).folder == by_hand / "epochs-1"
    published = begin("step", VALUES | {"epochs": 0, "system": "A", "In": [f"{CELL}\nsystem = 'A'"]})
    assert published.parameters["epochs"] == 0  # as many as were published
    assert config.hyperparameters == {"learning_rate": 0.2, "warmup": 0.1, "settle": 0.7}
    assert begin("step", VALUES | {"out": "/new", "In": cells}).folder == Path("/new")


def test_a_run_begins_with_its_seed_and_settings_that_repeat_it(monkeypatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for seed, threads in ((3, 2), (4, 1)):
        cudnn.deterministic, cudnn.benchmark = False, True
        begin("step", VALUES | {"seed": seed, "In": [CELL]})
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(seed)))
        assert cudnn.deterministic and not cudnn.benchmark and torch.get_num_threads() == threads
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_auto_takes_a_gpu_where_there_is_one_and_cuda_without_one_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(name).type for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [choose_device(name).type for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(InputError, match=r"^device 'cuda' .*: use 'auto' or 'cpu'$"):
        choose_device("cuda")


def test_the_environment_is_device_versions_and_commit_with_a_plus_where_files_differ(tmp_path, monkeypatch):
    stamp = environment(torch.device("cpu"))
    assert (stamp["device"], stamp["commit"], *stamp["versions"]) == ("cpu", commit(), "python", "torch", "torchvision")
    assert len(stamp) == 3 and not any(word in str(stamp) for word in ("/", "\\", os.uname().nodename))
    assert commit(tmp_path) == ""  # no checkout
    person = "-c user.name=nobody -c user.email=nobody@example.org"
    for command in ("init -q", "add .", f"{person} commit -qm one", f"{person} tag -am v1 v1"):  # no tag in its place
        (tmp_path / "file").write_text("one")
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=tmp_path, text=True)[:12]
    assert commit(tmp_path) == head
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == f"{head}+"
    monkeypatch.setenv("PATH", "")  # no git
    assert commit(tmp_path) == ""


@pytest.mark.parametrize("step", [(os, "fsync"), (Path, "replace")], ids=["the content", "the rename"])
def test_a_file_is_written_whole_or_stays_as_it_was_and_nothing_is_left_beside_it(step, tmp_path, monkeypatch):
    path = tmp_path / "new" / "file"
    for content, expected in ((b"\x89\r\n", b"\x89\r\n"), ("98 → 99\n", b"98 \xe2\x86\x92 99\n")):
        write_whole(path, content)
        assert path.read_bytes() == expected and list(path.parent.iterdir()) == [path]
    monkeypatch.setattr(*step, sys.exit)  # cuts off the next write
    with pytest.raises(SystemExit):
        write_whole(path, "newer")
    assert path.read_bytes() == expected and list(path.parent.iterdir()) == [path]
