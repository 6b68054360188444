"""What a notebook may be asked for: the rules of its parameters, and `begin`, which holds a run to them."""

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
PART = ".part"  # how the names of files end that are not whole yet
INJECTED = "# Parameters"  # the first line of the cell that papermill adds
# Parameters that say how and on what to run; all others are hyperparameters.
GENERAL = "seed", "epochs", "batch_size", "device", "data", "split", "limit", "out"
SPLITS = "test", "validation", *(f"fold-{number}" for number in range(1, 6))


class InputError(ValueError):
    """Something the user can mend; its message is one line: what is wrong, and what to do."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file in one step: a reader, or a crash, meets the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        with beside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # so that names outlast a power cut, too, in the order in which they were written
        os.close(folder)
    finally:
        beside.unlink(missing_ok=True)


class Rule(NamedTuple):
    """Whether a value makes sense, and the words that say what would."""

    holds: Callable[[Any], bool]
    words: str


def whole(lowest: int, highest: int) -> Rule:
    """A whole number within bounds."""
    return Rule(
        lambda value: type(value) is int and lowest <= value <= highest, f"a whole number from {lowest} to {highest}"
    )


def number(words: str, fits: Callable[[float], bool]) -> Rule:
    """A number that fits; one that is none (nan) fits nothing."""
    return Rule(lambda value: type(value) in (int, float) and fits(value), f"a number {words}")


def one_of(*names: str) -> Rule:
    """One of a few names."""
    return Rule(lambda value: value in names, f"one of {', '.join(names)}")


def numbers(least: int, words: str) -> Rule:
    """At least so many whole numbers above 0, in a text."""

    def holds(value: Any) -> bool:
        parts = value.split() if isinstance(value, str) else [""]
        return len(parts) >= least and all(re.fullmatch("[1-9][0-9]{0,3}", part) for part in parts)

    return Rule(holds, words)


def is_folder(value: Any) -> bool:
    """Whether this names a folder that is there or can be made."""
    if not isinstance(value, str):
        return False
    try:
        return stat.S_ISDIR((ROOT / value).stat().st_mode)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # below a file, a name that is too long, a link to itself
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
    "learning_rate": RATE,
    "weight_decay": AMOUNT,
    "dropout": BELOW_ONE,
    "rotation": AMOUNT,
    "shift": AMOUNT,
    "scale": BELOW_ONE,
    "shear": number("from 0 (off) to below 90", lambda value: 0 <= value < 90),
    "warmup": SHARE,
    "settle": SHARE,
    "schedule": one_of("settle", "constant", "steps", "cosine", "one_cycle", "linear"),
    "optimizer": one_of("sgd", "muon"),
    "kernel_rate": RATE,
    "widths": numbers(1, 'the channels of each block, such as "8 8 12"'),
    **dict.fromkeys(("pooled", "padded", "separable", "shared"), BLOCKS),
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
    """A value as it is written, on one line and not too long."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def literals(code: str) -> dict[str, Any]:
    """The names that code sets to literals, as the cell tagged `parameters` does; none if it isn't Python."""
    found = {}
    with contextlib.suppress(SyntaxError):  # somebody's slip in a cell of their own
        for line in ast.parse(code).body:
            with contextlib.suppress(AttributeError, ValueError):  # no assignment of a literal
                found |= {target.id: ast.literal_eval(line.value) for target in line.targets}
    return found


def parameters_in(executed: list[str]) -> list[str]:
    """The names of a notebook's parameters, from the cells so far, which IPython keeps as `In`.

    Refuses what papermill injects without a parameter of that name: it only warns, and the defaults would win.
    """
    known: dict[str, Any] = {}
    for code in executed:
        found = literals(code)
        if code.startswith(INJECTED) and (unknown := found.keys() - known.keys()):
            raise InputError(f"there is no parameter {min(unknown)!r}, only {', '.join(known)}")
        if not known and "seed" in found:
            known = found
    return list(known)


@dataclass(frozen=True)
class Config:
    """What a run was asked for, the device it runs on, and the folder that its metrics go to."""

    stage: str
    parameters: dict[str, Any]
    device: "torch.device"
    folder: Path

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The parameters that shape the training, without those that say how and on what to run."""
        return {name: value for name, value in self.parameters.items() if name not in GENERAL}


def begin(stage: str, names: dict[str, Any]) -> Config:
    """Check a notebook's parameters, which are among its globals (`names`), and make what follows repeatable."""
    import torch

    parameters = {name: names[name] for name in parameters_in(names.get("In", []))}
    refuse_bad(parameters)
    torch.manual_seed(parameters["seed"])
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # The last digits of a sum depend on the number of threads: as many by hand as in the runner's kernels.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    folder = ROOT / (parameters["out"] or "outputs/scratch/by-hand")
    return Config(stage, parameters, choose_device(parameters["device"]), folder)


def choose_device(name: str) -> "torch.device":
    """The device called `name`; "auto" takes CUDA where there is one."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but PyTorch sees no CUDA GPU: use 'auto' or 'cpu'")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def environment(device: "torch.device") -> dict[str, Any]:
    """What a metrics file says of the machine: device, versions, commit; no names, no paths."""
    import torch
    import torchvision

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
    """The commit that the working tree stands on, "+" after it if files differ; "" outside a checkout."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
