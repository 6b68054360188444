"""The last stage in one script: it trains to the same bits as `common`, and says in one line what is wrong."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from common import Augment, Batches, GlobalAveragePool, conv_block, fit
from common.config import ROOT


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call it with a command line of the script, which runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / "notebooks" / "one_file.py"))["main"]
    return lambda *arguments: monkeypatch.setattr(sys, "argv", ["one_file.py", *arguments]) or main()


def write_half(folder: Path, name: str, count: int) -> tuple[Tensor, Tensor]:
    """Noisy copies of ten patterns, as two of MNIST's files; returns images from 0 to 1 and labels."""
    (raw := folder / "data" / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
    labels = torch.arange(count) % 10
    patterns = torch.rand(10, 28, 28, generator=torch.Generator().manual_seed(0))[labels]
    pixels = ((patterns + torch.rand_like(patterns)) * 127).byte()
    for kind, values in (("images-idx3", pixels), ("labels-idx1", labels.byte())):
        header = np.array([0x800 + values.dim(), *values.shape], ">i4").tobytes()
        (raw / f"{name}-{kind}-ubyte").write_bytes(header + values.numpy().tobytes())
    return pixels.unsqueeze(1).float() / 255, labels


def test_it_trains_to_the_bits_of_common(run, tmp_path, capsys):
    train, test = ([part[:150] for part in write_half(tmp_path, name, 160)] for name in ("train", "t10k"))
    same, history = run("--epochs=2", "--seed=3", "--limit=150", "--device=cpu")
    told = capsys.readouterr().out
    assert told.count("epoch ") == 2 and told.endswith("all at least 99.40: False\n")
    torch.manual_seed(3)
    blocks = conv_block(1, 8), conv_block(8, 8, pool=True), conv_block(8, 12), conv_block(12, 14), conv_block(14, 16)
    net = nn.Sequential(*blocks, conv_block(16, 16, dropout=0.02), GlobalAveragePool(), nn.Linear(16, 10))
    optimizer = SGD(net.to(memory_format=torch.channels_last).parameters(), 0.2, 0.9, nesterov=True, fused=True)
    rates = LambdaLR(optimizer, lambda step: np.interp(step / 6, [0, 0.1, 0.7, 1], [0.05, 1, 0.04, 0]))
    moved = Batches(*train, 64, 3, Augment(rotation=10, shift_x=1.5, shift_y=1.5, scale=0.12, shear=8))
    rows = fit(net, moved, Batches(*test, 200), Batches(*train, 200), optimizer, 2, rates)
    assert history == [(row["train_loss"], row["test_accuracy"]) for row in rows]
    assert all(map(torch.equal, same.state_dict().values(), net.state_dict().values()))


def test_a_folder_that_cannot_hold_mnist_is_told_in_one_line(run):
    with pytest.raises(SystemExit, match=rf"^Can't load MNIST \([^\n]*\): unpack it in {__file__}/MNIST/raw$"):
        run(f"--data={__file__}")


def test_it_runs_alone():
    command = [sys.executable, ROOT / "notebooks" / "one_file.py", f"--data={__file__}"]
    told = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert told.returncode == 1 and told.stderr.startswith("Can't load MNIST") and told.stderr.count("\n") == 1
