"""Seeds, devices and the stamp that says what a run was made with."""

import math
import platform
import subprocess
from pathlib import Path

import torch
import torchvision

from common import InputError

ROOT = Path(__file__).resolve().parent.parent
COUNTS = ("epochs", "batch_size")
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
    """Refuse what no run can be made with: a whole number below 1, a rate that is not positive."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
            raise InputError(f"{name} is {number!r}: it must be a number above 0")
        if name in COUNTS and not isinstance(number, int):
            raise InputError(f"{name} is {number!r}: it must be a whole number")


def seed_everything(seed: int) -> None:
    """Make what follows repeatable: weights, dropout, and the choice of algorithms on a GPU."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed!r}: it must be a whole number from 0 to 2**63 - 1")
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


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
