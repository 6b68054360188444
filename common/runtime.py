"""Seeds, devices and the stamp that says what a run was made with."""

import os
import platform
import subprocess
from pathlib import Path

import torch
import torchvision

from common import InputError
from common.parameters import refuse_bad

ROOT = Path(__file__).resolve().parent.parent
DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA where there is one."""
    if name not in DEVICES:
        raise InputError(f"device {name!r} is unknown: choose one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but PyTorch sees no CUDA GPU: use 'auto' or 'cpu'")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def require(**numbers: float) -> None:
    """Refuse numbers that no run can be made with."""
    refuse_bad(numbers)


def seed_everything(seed: int) -> None:
    """Make what follows repeatable: weights, dropout, and the choice of algorithms."""
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # The last digits of a sum depend on the number of threads: as many by hand as in the runner's kernels.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def environment(device: torch.device) -> dict:
    """What a metrics file says of the machine: device, versions, commit; no names, no paths."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "commit": commit(),
    }


def commit() -> str:
    """The commit that the working tree stands on, "+" behind it if files differ; "" outside a checkout."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
