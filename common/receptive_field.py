"""The receptive-field table of a network, from the calls of its layers in one forward pass."""

import copy
from collections import namedtuple

import torch
from torch import Tensor, nn

from common.blocks import GlobalAveragePool
from common.config import InputError
from common.intervals import markdown_table as as_markdown

HEAD = "Operation|nin|Ch_in|Ch_Out|padding|kernel|stride|nout|jin|jout|rin|rout|Activation_Size|Params#"
FORMULAS = (
    "`nout = ⌊(nin + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1` · `jout = jin · stride` · "
    "`rout = rin + dilation·(kernel - 1) · jin`. Activation_Size is the input's; Params# includes batch norm's."
)
WINDOWS = nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d
POOL = {GlobalAveragePool: "GAP", nn.AdaptiveAvgPool2d: "GAP", nn.AdaptiveMaxPool2d: "Global max pool"}
NORMS = nn.BatchNorm2d, nn.BatchNorm1d, nn.PReLU  # counted with the layer before
Row = namedtuple(
    "Row", "operation n_in ch_in ch_out padding kernel stride n_out j_in j_out r_in r_out activation_size params"
)  # n is the side of a map, j the pixels between its neighbours, r the side of the receptive field


class Table(list[Row]):
    """Rows that Jupyter shows as a table."""

    def _repr_markdown_(self) -> str:
        return markdown_table(self)


def receptive_field_table(net: nn.Module, input_size: tuple[int, int, int] = (1, 28, 28)) -> Table:
    """A row for each convolution, pooling and linear layer of a chain of modules; together they hold its parameters."""
    net, calls = copy.deepcopy(net).to("cpu", torch.float32).eval(), []
    for name, layer in net.named_modules():
        if isinstance(layer, (*WINDOWS, *POOL, *NORMS, nn.Linear)):
            layer.register_forward_hook(lambda *call, name=name: calls.append((name, *call)))
        elif list(layer.parameters(recurse=False)):
            raise InputError(f"{name!r} ({type(layer).__name__}) has parameters but is no layer that the table knows")
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            end = net(torch.zeros(2, *input_size))  # two pictures: squeeze() would drop a batch of one
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the network fails on {input_size}: {error}".partition("\n")[0]) from error
    channels, side, _ = input_size
    rows = [Row("", side, channels, channels, 0, 1, 1, side, 1, 1, 1, 1, channels * side**2, 0)]  # the picture
    uncounted = {weight: weight.numel() for weight in net.parameters()}
    for name, layer, inputs, output in calls:
        refuse_other(f"the input of {name!r}", inputs[0], rows[-1])
        if not isinstance(layer, NORMS):
            rows.append(row_after(rows[-1], name, layer, output))
        refuse_other(f"the output of {name!r}", output, rows[-1])
        params = rows[-1].params + sum(uncounted.pop(weight, 0) for weight in layer.parameters())
        rows[-1] = rows[-1]._replace(operation=rows[-1].operation or type(layer).__name__, params=params)
    refuse_other("the result", end, rows[-1])
    if names := [name for name, weight in net.named_parameters() if weight in uncounted]:
        raise InputError(f"the forward pass leaves out {', '.join(names)}: use or remove that layer")
    return Table(row for row in rows if row.operation)


def refuse_other(what: str, maps: Tensor, row: Row) -> None:
    """Refuse other maps than a row ends with, as they are or flattened: hooks do not see what functions do."""
    shape, channels, side = tuple(maps.shape[1:]), row.ch_out, row.n_out
    if shape not in ((channels * side**2,), (channels, side, side)):
        raise InputError(f"{what} is {shape}, not {channels} maps of side {side}: pool and flatten by modules")


def row_after(before: Row, name: str, layer: nn.Module, output: Tensor) -> Row:
    """The row of a layer that takes the output of the row `before`."""
    n, channels, j, r = before.n_out, before.ch_out, before.j_out, before.r_out
    kernel, stride, dilation, padding = geometry(layer, name) if isinstance(layer, WINDOWS) else (n, 1, 1, 0)
    title = f"Conv2d {kernel}×{kernel}" if isinstance(layer, nn.Conv2d) else POOL.get(type(layer), type(layer).__name__)
    for key, value in (("dilation", dilation), ("groups", getattr(layer, "groups", 1))):
        title += f", {key} {value}" if value != 1 else ""
    sizes = n, channels, output.shape[1], padding, kernel, stride, output.shape[-1] if isinstance(layer, WINDOWS) else 1
    return Row(title, *sizes, j, j * stride, r, r + dilation * (kernel - 1) * j, n * n * channels, 0)


def geometry(layer: nn.Module, name: str) -> list[int]:
    """Kernel, stride, dilation and padding of a window that treats all sides alike."""
    sizes: list[int] = []
    for key in ("kernel_size", "stride", "dilation", "padding"):
        value = getattr(layer, key, 1)
        if isinstance(value, str):
            span = sizes[2] * (sizes[0] - 1) if value == "same" else 0
            value = span // 2, span - span // 2
        sides = set(value) if isinstance(value, tuple | list) else {value}
        if len(sides) > 1:
            raise InputError(f"{name!r} ({type(layer).__name__}) is not square: {key}={getattr(layer, key)}")
        sizes += sides
    return sizes


def markdown_table(rows: list[Row]) -> str:
    """The columns of the published table, a total, and the formulas beneath."""
    cells = [[row[0], *(f"{n:,}" for n in row[1:])] for row in rows]
    table = as_markdown(HEAD.split("|"), [*cells, ["Total", *[""] * 12, f"{sum(row.params for row in rows):,}"]])
    beyond = f" An rout above {rows[0].n_in} reaches past the picture, into the padding."
    return f"{table}\n\n{FORMULAS}{beyond if any(row.r_out > rows[0].n_in for row in rows) else ''}"
