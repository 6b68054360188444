"""The parameters of a notebook: what each may be, and `begin`, which checks them and makes the run repeatable."""

import ast
import contextlib
import os
import platform
import re
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent
# Parameters that say how and on what to run; all others are hyperparameters.
GENERAL = "seed", "epochs", "batch_size", "device", "data", "split", "limit", "out"
SPLITS = "test", "validation", *(f"fold-{number}" for number in range(1, 6))


class InputError(ValueError):
    """Bad input; its message is one line: what is wrong, and what to do."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file in one step: a reader, or a crash, meets the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # so that the new name outlasts a power cut, too
        os.close(folder)
    finally:
        part.unlink(missing_ok=True)


class Rule(NamedTuple):
    """Whether a value is allowed, and the words that say which ones are."""

    holds: Callable[[Any], bool]
    words: str


def whole(lowest: int, highest: int) -> Rule:
    """A whole number within bounds."""
    words = f"a whole number from {lowest} to {highest}"
    return Rule(lambda value: type(value) is int and lowest <= value <= highest, words)


def number(words: str, fits: Callable[[float], bool]) -> Rule:
    """A number that fits; nan fits nothing, as every comparison with it is false."""
    return Rule(lambda value: type(value) in (int, float) and fits(value), f"a number {words}")


def one_of(*names: str) -> Rule:
    """One of a few names."""
    return Rule(lambda value: value in names, f"one of {', '.join(names)}")


def numbers(least: int, words: str) -> Rule:
    """At least so many whole numbers above 0, in a text."""
    form = re.compile(rf"(?:\s*[1-9]\d{{0,3}}\b){{{least},}}\s*", re.ASCII)
    return Rule(lambda value: isinstance(value, str) and form.fullmatch(value) is not None, words)


def is_folder(value: Any) -> bool:
    """Whether this is the path of a folder that exists or can be made."""
    try:
        return isinstance(value, str) and stat.S_ISDIR((ROOT / value).stat().st_mode)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # below a file, too long a name, a null character
        return False


AMOUNT = number("from 0 (off) to 1000", lambda value: 0 <= value <= 1000)
BELOW_ONE = number("from 0 (off) to below 1", lambda value: 0 <= value < 1)
SHARE = number("from 0 to 1", lambda value: 0 <= value <= 1)
RATE = number("above 0, up to 1000", lambda value: 0 < value <= 1000)
BLOCKS = numbers(0, 'the numbers of blocks, such as "1 3", or ""')
LARGEST = 2**31 - 1
RULES = {
    "seed": whole(0, 2**32 - 1),
    "epochs": whole(1, 10_000),
    "batch_size": whole(1, LARGEST),
    "limit": whole(0, LARGEST),
    **dict.fromkeys(("learning_rate", "kernel_rate"), RATE),
    **dict.fromkeys(("weight_decay", "rotation", "shift"), AMOUNT),
    **dict.fromkeys(("dropout", "scale"), BELOW_ONE),
    "shear": number("from 0 (off) to below 90", lambda value: 0 <= value < 90),
    **dict.fromkeys(("warmup", "settle"), SHARE),
    "schedule": one_of("settle", "constant", "steps", "cosine", "one_cycle", "linear"),
    "optimizer": one_of("sgd", "muon"),
    "widths": numbers(1, 'the channels of each block, such as "8 8 12"'),
    **dict.fromkeys(("pooled", "padded", "separable", "residual", "shared"), BLOCKS),
    "activation": one_of("relu", "leaky_relu", "silu"),
    "init": one_of("pytorch", "he"),
    "head": one_of("gap_fc", "conv_gap", "flatten_fc"),
    "device": one_of("auto", "cpu", "cuda"),
    "data": one_of("auto", "mnist", "rendered"),
    "split": one_of(*SPLITS),
    "out": Rule(is_folder, 'the path of a folder, or "" for the scratch folder'),
}


def refuse_bad(values: dict[str, Any]) -> None:
    """Refuse a value that breaks the rule of its parameter; one without a rule may be anything."""
    own = {"epochs": whole(0, 10_000)} if "system" in values else {}  # 0: as many as were published
    for name, rule in (RULES | own).items():
        if name in values and not rule.holds(values[name]):
            raise InputError(f"parameter {name} must be {rule.words}, not {abridged(values[name])}")
    warmup, settle = values.get("warmup", 0), values.get("settle", 1)
    if warmup > settle:
        raise InputError(f"parameter warmup is {warmup}, settle {settle}: the rate can't fall before it has risen")


def abridged(value: Any) -> str:
    """A value as Python writes it, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def assignments(code: str) -> dict[str, ast.expr]:
    """The names that the lines of `code` assign to, with what they assign; none if it isn't Python."""
    with contextlib.suppress(SyntaxError):  # somebody's slip in a cell of their own
        lines = [line for line in ast.parse(code).body if isinstance(line, ast.Assign)]
        return {target.id: line.value for line in lines for target in line.targets if isinstance(target, ast.Name)}
    return {}


def literals(code: str) -> dict[str, Any]:
    """The names that `code` sets to literals, with their values, as the cell tagged `parameters` does."""
    found = {}
    for name, value in assignments(code).items():
        with contextlib.suppress(ValueError):
            found[name] = ast.literal_eval(value)
    return found


def parameters_in(executed: list[str]) -> list[str]:
    """The names in the parameters cell, the first of the `executed` cells (IPython's `In`) that sets a seed."""
    known: list[str] = []
    for code in executed:
        found = assignments(code)
        if code.startswith("# Parameters") and (unknown := found.keys() - known):
            # Injected by papermill, which only warns; the defaults would win.
            raise InputError(f"there is no parameter {min(unknown)!r}, only {', '.join(known)}")
        if "seed" in found and not known:
            known = list(found)
    if not known:
        raise InputError("the parameters are not set yet: run the notebook's cells from the first one on")
    return known


@dataclass(frozen=True)
class Config:
    """The parameters of a run, the device it runs on, and the folder of its results."""

    stage: str
    parameters: dict[str, Any]
    device: "torch.device"
    folder: Path

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The parameters that shape the training, without those that say how and on what to run."""
        return {name: value for name, value in self.parameters.items() if name not in GENERAL}


def begin(stage: str, names: dict[str, Any]) -> Config:
    """Check a notebook's parameters, which are among its globals (`names`), seed, and choose the device."""
    import torch

    parameters = {name: names[name] for name in parameters_in(names.get("In", []))}
    refuse_bad(parameters)
    torch.manual_seed(parameters["seed"])
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # all digits of 32 bits, as on a CPU: networks this small lose no time
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, CUDA may sum in another order
    # The last digits of a sum depend on the number of threads: as many by hand as in the runner's kernels.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    # Runs by hand that are unlike one another get folders of their own, so that none has to give way.
    unlike = [f"{name}-{parameters[name]}" for name in ("split", "epochs", "limit") if name in parameters]
    folder = ROOT / (parameters["out"] or f"outputs/scratch/by-hand/{'-'.join(unlike)}")
    return Config(stage, parameters, choose_device(parameters["device"]), folder)


def choose_device(name: str) -> "torch.device":
    """The device called `name`; "auto" takes CUDA where there is one."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but PyTorch sees no CUDA GPU: use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def environment(device: "torch.device") -> dict[str, Any]:
    """The device, versions and commit for a metrics file; nothing that identifies the machine."""
    import torch
    import torchvision

    versions = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "versions": versions, "commit": commit()}


def commit(root: Path = ROOT) -> str:
    """The commit of the working tree, with a "+" where files differ from it; "" outside a checkout."""
    git = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
