"""The receptive-field table of a network, read off a forward pass of the network itself."""

import copy
import html
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from common import InputError

COLUMNS = (
    *("Operation", "nin", "Ch_in", "Ch_Out", "padding", "kernel", "stride", "nout"),
    *("jin", "jout", "rin", "rout", "Activation_Size", "Params#"),
)
FORMULAS = (
    "nout = ⌊(nin + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1",
    "jout = jin · stride",
    "rout = rin + dilation·(kernel - 1) · jin",
)

_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_LAYERS = (*_WINDOWS, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d, nn.PReLU)
# What may happen between the rows; modules such as ReLU, Dropout and Flatten call these functions, too.
_GLOBAL_POOLS = {"mean": "GAP", "adaptive_avg_pool2d": "GAP", "adaptive_max_pool2d": "Global max pool"}
_ACTIVATIONS = {"relu", "leaky_relu", "elu", "gelu", "silu", "mish", "hardtanh", "hardswish", "sigmoid", "tanh"}
_SCALED = {"add", "sub", "mul", "div", "clamp", "dropout", "dropout2d", "alpha_dropout"}
_RESHAPED = {"flatten", "unflatten", "view", "reshape", "squeeze", "contiguous", "to"}
_PASSED = _ACTIVATIONS | _SCALED | _RESHAPED


@dataclass(frozen=True)
class Row:
    """One layer; n is a map's side, j the pixels between its neighbours, r the side of a unit's field."""

    operation: str
    n_in: int
    ch_in: int
    ch_out: int
    padding: int
    kernel: int
    stride: int
    n_out: int
    j_in: int
    j_out: int
    r_in: int
    r_out: int
    activation_size: int
    params: int


def receptive_field_table(model: nn.Module, input_size: tuple[int, int, int] = (1, 28, 28)) -> list[Row]:
    """The rows of `model` in the order of its forward pass; their params add up to the model's."""
    if len(input_size) != 3 or input_size[1] != input_size[2]:
        raise InputError(f"input_size {input_size} is not a square picture: give (channels, side, side)")
    replica = copy.deepcopy(model).to("cpu", torch.float32).eval()
    chain = _Chain(replica, *input_size[:2])
    try:
        # A forward that calls F.dropout draws random numbers in eval mode, too.
        with torch.no_grad(), torch.random.fork_rng(devices=[]), chain:
            output = replica(chain.live)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{chain.name(chain.entered[-1])} fails on {input_size}: {reason}") from error
    if output is not chain.live or not chain.rows:
        raise InputError(f"{chain.name(replica)} must return the output of its last layer, {chain.last}")
    counted, total = sum(row.params for row in chain.rows), sum(p.numel() for p in replica.parameters())
    if counted != total:
        raise InputError(f"the rows hold {counted:,} of {total:,} parameters: forward leaves a layer out")
    return chain.rows


def receptive_field(model: nn.Module, input_size: tuple[int, int, int] = (1, 28, 28)) -> int:
    """The field of one unit of the last map, before a global pooling or a Linear takes in the whole map."""
    rows = receptive_field_table(model, input_size)
    whole = (row.r_in for row in rows if row.kernel == row.n_in and not row.operation.startswith("Conv2d"))
    return next(whole, rows[-1].r_out)


def markdown_table(rows: list[Row]) -> str:
    """The columns of the published table, a total, and the formulas beneath."""
    lines = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *_cells(rows)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"{table}\n\n{' · '.join(f'`{formula}`' for formula in FORMULAS)}. {_note(rows)}"


def html_table(rows: list[Row]) -> str:
    """The same table, for the output of a notebook's cell."""
    head = "<tr><th>" + "</th><th>".join(COLUMNS) + "</th></tr>"
    body = "\n".join("<tr><td>" + "</td><td>".join(line) + "</td></tr>" for line in _cells(rows))
    return f"<table>\n{head}\n{body}\n</table>\n<p>{' · '.join(FORMULAS)}. {_note(rows)}</p>"


def _cells(rows: list[Row]) -> list[list[str]]:
    """The body of a table as escaped text; its last line is the total."""
    lines = [[html.escape(name), *(f"{n:,}" for n in numbers)] for name, *numbers in map(astuple, rows)]
    return [*lines, ["Total", *[""] * (len(COLUMNS) - 2), f"{sum(row.params for row in rows):,}"]]


def _note(rows: list[Row]) -> str:
    """What the numbers do not say themselves."""
    note = "Params# of a row include the batch norm that follows it."
    if any(row.r_out > rows[0].n_in for row in rows):
        note += f" An rout above {rows[0].n_in} reaches past the picture, into the padding."
    return note


class _Chain(TorchFunctionMode):
    """Follows one tensor through a model: hooks see its layers, the mode sees the functions between them."""

    def __init__(self, model: nn.Module, channels: int, side: int) -> None:
        super().__init__()
        self.ch, self.n, self.j, self.r = channels, side, 1, 1
        self.live = torch.zeros(2, channels, side, side)  # two pictures: a batch of one falls to squeeze()
        self.last = "the picture"
        self.rows: list[Row] = []
        self.entered: list[nn.Module] = []
        self.uncounted = set(model.parameters())
        self.paths = {module: path for path, module in model.named_modules()}
        for module in self.paths:
            if not isinstance(module, _LAYERS) and list(module.parameters(recurse=False)):
                raise InputError(f"{self.name(module)} has parameters but is no layer that the table knows")
            module.register_forward_pre_hook(lambda module, _: self.entered.append(module))
            module.register_forward_hook(self.leave)

    def name(self, module: nn.Module) -> str:
        """A module's path and type, as the printed model shows them."""
        path, kind = self.paths[module], type(module).__name__
        return f"'{path}' ({kind})" if path else kind

    def add(self, operation, ch_out, n_out, params=0, kernel=1, stride=1, padding=0, dilation=1) -> None:
        """Append the row that follows the last one."""
        j_out, r_out = self.j * stride, self.r + dilation * (kernel - 1) * self.j
        sizes = (self.n, self.ch, ch_out, padding, kernel, stride, n_out)
        self.rows.append(Row(operation, *sizes, self.j, j_out, self.r, r_out, self.n**2 * self.ch, params))
        self.ch, self.n, self.j, self.r = ch_out, n_out, j_out, r_out

    def leave(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        """Forward hook: a known layer gets a row, or its parameters join the row before."""
        self.entered.pop()
        if not isinstance(module, _LAYERS):
            return
        name, own = self.name(module), set(module.parameters(recurse=False)) & self.uncounted
        if not args or args[0] is not self.live or not isinstance(output, Tensor):
            raise InputError(f"{name} must take just the output of {self.last} and give one tensor")
        if isinstance(module, nn.Linear) and output.dim() != 2:
            raise InputError(f"{name} takes a map: flatten or pool it before")
        self.live, self.last, params = output, name, sum(p.numel() for p in own)
        self.uncounted -= own
        if isinstance(module, _WINDOWS):
            operation, *window = _geometry(module, name)
            self.add(operation, *output.shape[1:3], params, *window)
        elif isinstance(module, nn.Linear):
            self.add("Linear", module.out_features, 1, params, kernel=self.n)
        elif self.rows:
            self.rows[-1] = replace(self.rows[-1], params=self.rows[-1].params + params)
        else:
            self.add(type(module).__name__, self.ch, self.n, params)

    def __torch_function__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        """Function mode: what forward does outside its layers must be a global pooling or change no field."""
        kwargs = kwargs or {}
        before, result = self.live, func(*args, **kwargs)
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        inside = not self.entered or isinstance(self.entered[-1], _LAYERS)
        if inside or not isinstance(result, Tensor) or all(value is not before for value in tensors):
            return result
        function = func.__name__.strip("_")
        if _pools_map(function, before, result, kwargs.get("dim", args[1] if len(args) > 1 else None)):
            self.add(_GLOBAL_POOLS[function], self.ch, 1, kernel=self.n)
        elif len(tensors) > 1 or not self.passes(function, result):
            where = self.name(self.entered[-1])
            raise InputError(f"{where} calls {function}() after {self.last}: no row can show that")
        self.live = result
        return result

    def passes(self, function: str, result: Tensor) -> bool:
        """Whether a function leaves all fields, and the order of the units, as they are."""
        known = function in _PASSED or (function in ("softmax", "log_softmax") and self.n == 1)
        return known and result.shape[1:] in ((self.ch, self.n, self.n), (self.ch * self.n**2,))


def _pools_map(function: str, before: Tensor, result: Tensor, dim: object) -> bool:
    """Whether a function pools a whole map to one value a channel."""
    if function == "mean":
        return before.dim() == 4 and isinstance(dim, tuple | list) and sorted(d % 4 for d in dim) == [2, 3]
    return function in _GLOBAL_POOLS and result.shape[2:] == (1, 1)


def _geometry(module: nn.Module, name: str) -> tuple[str, int, int, int, int]:
    """Title, kernel, stride, padding and dilation of a layer that treats both sides of a map alike."""
    sizes = []
    for key in ("kernel_size", "stride", "padding", "dilation"):
        value = getattr(module, key, 1)
        sides = set(value) if isinstance(value, tuple | list) else {value}
        if len(sides) > 1:
            raise InputError(f"{name} is not square: {key}={value}")
        sizes += sides
    kernel, stride, padding, dilation = sizes
    if isinstance(padding, str):
        padding, uneven = divmod(dilation * (kernel - 1) * (padding == "same"), 2)
        if uneven:
            raise InputError(f"{name} pads its sides unevenly: padding='same' needs an odd kernel")
    title = f"Conv2d {kernel}×{kernel}" if isinstance(module, nn.Conv2d) else type(module).__name__
    for key, value in (("dilation", dilation), ("groups", getattr(module, "groups", 1))):
        title += f", {key} {value}" if value != 1 else ""
    return title, kernel, stride, padding, dilation
