"""The receptive-field table: right by autograd, honest about what it cannot follow, and without a trace."""

import random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import InputError
from common.blocks import GlobalAveragePool, conv_block
from common.receptive_field import COLUMNS, html_table, markdown_table, receptive_field, receptive_field_table


def published_net(padding: int = 0) -> nn.Sequential:
    """Network A of the published write-ups."""

    def conv(channels_in: int, channels_out: int) -> nn.Conv2d:
        return nn.Conv2d(channels_in, channels_out, 3, padding=padding, bias=False)

    return nn.Sequential(
        *(conv(1, 8), nn.ReLU(), conv(8, 16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 8, 1, bias=False)),
        *(conv(8, 10), nn.ReLU(), conv(10, 16), nn.ReLU(), conv(16, 16), nn.ReLU(), conv(16, 16)),
        *(GlobalAveragePool(), nn.Linear(16, 10, bias=False), nn.LogSoftmax(1)),
    )


class Forward(nn.Module):
    """Two convolutions and a linear layer, in a forward of the test's own."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.fc, self.own = nn.Linear(6, 10), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.own(self, x)


def params_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# The numbers


def test_the_published_net_grows_to_22_and_not_to_252():
    rows = receptive_field_table(published_net())
    assert [row.r_out for row in rows[:8]] == [3, 5, 6, 6, 10, 14, 18, 22]
    assert sum(row.params for row in rows[:8]) == 8120
    assert [row.n_out for row in rows] == [26, 24, 12, 12, 10, 8, 6, 4, 1, 1]
    assert [row.j_out for row in rows] == [1, 1, 2, 2, 2, 2, 2, 2, 2, 2]
    assert [row.activation_size for row in rows[:3]] == [28 * 28, 26 * 26 * 8, 24 * 24 * 16]


def test_rows_are_named_after_what_they_do():
    operations = [row.operation for row in receptive_field_table(published_net())]
    assert operations[2:4] == ["MaxPool2d", "Conv2d 1×1"]
    assert operations[-3:] == ["Conv2d 3×3", "GAP", "Linear"]
    net = nn.Sequential(nn.Conv2d(4, 4, 3, dilation=2, groups=4), nn.MaxPool2d(3, dilation=2))
    named = [row.operation for row in receptive_field_table(net, (4, 28, 28))]
    assert named == ["Conv2d 3×3, dilation 2, groups 4", "MaxPool2d, dilation 2"]


def test_gap_and_what_follows_it_see_the_whole_map():
    *_, gap, fc = receptive_field_table(published_net())
    assert (gap.r_in, gap.r_out, gap.n_in, gap.n_out) == (22, 22 + (4 - 1) * 2, 4, 1)
    assert fc.r_out == gap.r_out == 28


@pytest.mark.parametrize(
    "pool", [GlobalAveragePool(), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d((1, 1)), nn.Flatten()]
)
def test_every_way_to_take_in_the_whole_map_gives_the_same_field(pool):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), pool)
    rows = receptive_field_table(net.append(nn.Flatten()).append(nn.LazyLinear(10)))
    assert rows[-1].r_out == 3 + (13 - 1) * 2


def test_a_linear_after_flatten_is_a_kernel_as_large_as_the_map():
    row = receptive_field_table(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))[-1]
    assert (row.n_in, row.ch_in, row.kernel, row.n_out, row.r_out, row.params) == (28, 1, 28, 1, 28, 7850)


def test_the_field_of_a_net_is_that_of_its_last_map():
    assert receptive_field(published_net()) == 22
    assert receptive_field(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3))) == 5


def test_ceil_mode_is_in_the_side_of_the_map():
    net = nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(1, 1, 3))
    assert [row.n_out for row in receptive_field_table(net, (1, 5, 5))] == [3, 1]


@pytest.mark.parametrize(("padding", "pixels"), [("same", 2), ("valid", 0)])
def test_padding_in_words_is_shown_in_pixels(padding, pixels):
    (row,) = receptive_field_table(nn.Conv2d(1, 1, 3, dilation=2, padding=padding))
    assert (row.padding, row.n_out) == (pixels, 28 - 4 + 2 * pixels)


# The proof


def random_net(draw: random.Random) -> nn.Sequential:
    """Two or three layers of any geometry; positive weights, so that no two paths cancel."""
    layers: list[nn.Module] = []
    for _ in range(draw.randint(2, 3)):
        kernel, stride, dilation = draw.randint(1, 4), draw.randint(1, 2), draw.randint(1, 2)
        padding = draw.randint(0, kernel // 2)
        kind = draw.choice(["conv", "conv", "depthwise", "max", "average"])
        if kind == "max":
            layers.append(nn.MaxPool2d(kernel, stride, padding, dilation))
        elif kind == "average":
            layers.append(nn.AvgPool2d(kernel, stride, padding))
        else:
            groups = 2 if kind == "depthwise" else 1
            conv = nn.Conv2d(2, 2, kernel, stride, padding, dilation, groups, bias=False)
            layers.append(conv)
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), *layers).double()
    for weight in net.parameters():
        nn.init.uniform_(weight.data, 0.5, 1.5)
    return net


def lit_lines_seen(net: nn.Module, side: int, axis: int) -> list[int]:
    """The lines of the picture, along one axis, that have a gradient from the central output unit.

    Max pooling hands its gradient to its largest input only. So each line gets a picture of its own, dark but
    for that line: wherever the line is in a window, it alone makes the largest, and no path of it is lost.
    """
    line = torch.eye(side, dtype=torch.float64)
    pictures = line[:, None, :, None] if axis == 2 else line[:, None, None, :]
    pictures = pictures.expand(side, 1, side, side).clone().requires_grad_()
    output = net(pictures)
    centre = output.shape[-1] // 2
    output[:, :, centre, centre].sum().backward()
    return [i for i in range(side) if pictures.grad[i].select(axis - 1, i).any()]


@pytest.mark.parametrize("seed", range(40))
def test_the_pixels_with_a_gradient_span_the_field(seed):
    torch.manual_seed(seed)
    net = random_net(random.Random(seed))
    r_out = receptive_field_table(net, (1, 96, 96))[-1].r_out
    side = 2 * r_out + 16
    for axis in (2, 3):
        seen = lit_lines_seen(net, side, axis)
        assert seen[0] > 0 and seen[-1] < side - 1, "the border cuts this field: the net proves nothing"
        assert seen[-1] - seen[0] + 1 == r_out


def test_a_unit_after_gap_has_a_gradient_from_every_pixel_of_its_field():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)).double()
    nn.init.ones_(net[0].weight.data)
    rows = receptive_field_table(net, (1, 12, 12))
    seen = lit_lines_seen(net, 12, 2)
    assert rows[-1].r_out == len(seen) == 12


# Parameters


def test_params_add_up_when_a_batch_norm_follows_or_leads():
    net = nn.Sequential(
        *(nn.BatchNorm2d(1), nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.PReLU(8)),
        *(GlobalAveragePool(), nn.BatchNorm1d(8), nn.Linear(8, 10)),
    )
    rows = receptive_field_table(net)
    assert [row.params for row in rows] == [2, 72 + 16 + 8, 16, 90]
    assert sum(row.params for row in rows) == params_of(net)


def test_nested_blocks_of_the_series_add_up():
    net = nn.Sequential(conv_block(1, 8, dropout=0.1), nn.Sequential(conv_block(8, 8, pool=True), GlobalAveragePool()))
    rows = receptive_field_table(net)
    assert [row.operation for row in rows] == ["Conv2d 3×3", "Conv2d 3×3", "MaxPool2d", "GAP"]
    assert sum(row.params for row in rows) == params_of(net)


def test_a_module_used_twice_is_counted_once():
    shared = nn.Conv2d(1, 1, 3)
    assert [row.params for row in receptive_field_table(nn.Sequential(shared, nn.ReLU(), shared))] == [10, 0]


def test_a_layer_that_forward_leaves_out_is_an_error():
    net = Forward(lambda net, x: net.conv2(net.conv1(x)))
    with pytest.raises(InputError, match="390 of 460 parameters: forward leaves a layer out"):
        receptive_field_table(net)


# A forward of one's own


def test_functions_between_the_layers_are_followed():
    def forward(net: Forward, x: Tensor) -> Tensor:
        x = F.relu(net.conv1((x - 0.1307) / 0.3081), inplace=True)
        x = F.dropout(torch.tanh(net.conv2(x)), 0.1).mean(dim=(-2, -1))
        return F.log_softmax(net.fc(x.view(-1, 6)), dim=1)

    rows = receptive_field_table(Forward(forward))
    assert [row.operation for row in rows] == ["Conv2d 3×3", "Conv2d 3×3", "GAP", "Linear"]


def test_a_squeeze_keeps_the_batch():
    net = Forward(lambda net, x: net.fc(F.adaptive_avg_pool2d(net.conv2(net.conv1(x)), 1).squeeze()))
    assert [row.operation for row in receptive_field_table(net)][2:] == ["GAP", "Linear"]


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.fc(F.max_pool2d(net.conv1(x), 2).mean((2, 3))),
        lambda net, x: net.fc(net.conv1(x).amax((2, 3))),
        lambda net, x: net.fc(net.conv1(x).mean((1, 3))[:, :6]),
        lambda net, x: net.conv2(net.conv1(x).transpose(2, 3)),
        lambda net, x: net.conv2(net.conv1(x).view(-1, 6, 14, 56)),
        lambda net, x: net.conv2(net.conv1(x).softmax(2)),
    ],
    ids=["max_pool2d", "amax", "mean", "transpose", "view", "softmax"],
)
def test_a_function_that_moves_fields_is_named_with_the_layer_before_it(forward, request):
    with pytest.raises(InputError, match=rf"calls {request.node.callspec.id}\(\) after 'conv1' \(Conv2d\)"):
        receptive_field_table(Forward(forward))


def residual(net: Forward, x: Tensor) -> Tensor:
    x = net.conv1(x)
    return net.fc((x + net.conv2(x)).mean((2, 3)))


def residual_in_place(net: Forward, x: Tensor) -> Tensor:
    x = net.conv1(x)
    y = net.conv2(x)
    y += x
    return net.fc(y.mean((2, 3)))


def concatenation(net: Forward, x: Tensor) -> Tensor:
    x = net.conv1(x)
    return net.fc(torch.cat([x, net.conv2(x)], 1)[:, :6].mean((2, 3)))


def fork(net: Forward, x: Tensor) -> Tensor:
    x = net.conv1(x)
    return net.fc(net.conv2(x).mean((2, 3))) + net.fc(x.mean((2, 3)))


def side_exit(net: Forward, x: Tensor) -> Tensor:
    x = net.conv1(x)
    net.fc(net.conv2(x).mean((2, 3)))
    return x


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (residual, r"Forward calls add\(\) after 'conv2'"),
        (residual_in_place, r"Forward calls add\(\) after 'conv2'"),
        (concatenation, r"'fc' \(Linear\) must take just the output of 'conv2'"),
        (fork, r"'fc' \(Linear\) must take just the output of 'fc'"),
        (side_exit, r"Forward must return the output of its last layer, 'fc'"),
    ],
)
def test_parallel_branches_are_refused_by_name(forward, message):
    with pytest.raises(InputError, match=message):
        receptive_field_table(Forward(forward))


# What it cannot show


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(1, 4, (3, 5)), r"'1' \(Conv2d\) is not square: kernel_size=\(3, 5\)"),
        (nn.Conv2d(1, 4, 3, stride=(1, 2)), r"'1' \(Conv2d\) is not square: stride"),
        (nn.MaxPool2d((2, 3)), r"'1' \(MaxPool2d\) is not square: kernel_size"),
        (nn.AvgPool2d(2, (2, 1)), r"'1' \(AvgPool2d\) is not square: stride"),
        (nn.Conv2d(1, 4, 2, padding="same"), r"'1' \(Conv2d\) pads its sides unevenly"),
        (nn.ConvTranspose2d(1, 4, 3), r"'1' \(ConvTranspose2d\) has parameters but is no layer"),
        (nn.LSTM(28, 4), r"'1' \(LSTM\) has parameters but is no layer"),
        (nn.Upsample(scale_factor=2), r"'1' \(Upsample\) calls interpolate\(\)"),
        (nn.ZeroPad2d(1), r"'1' \(ZeroPad2d\) calls pad\(\)"),
        (nn.AdaptiveAvgPool2d(2), r"'1' \(AdaptiveAvgPool2d\) calls adaptive_avg_pool2d\(\)"),
        (nn.MaxPool2d(2, return_indices=True), r"'1' \(MaxPool2d\) must take .* and give one tensor"),
        (nn.Linear(28, 4), r"'1' \(Linear\) takes a map"),
        (nn.Conv2d(3, 4, 3), r"'1' \(Conv2d\) fails on \(1, 28, 28\)"),
        (nn.Conv2d(1, 4, 30), r"'1' \(Conv2d\) fails on \(1, 28, 28\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_a_layer_it_cannot_show_is_refused_by_name_in_one_line(layer, message):
    with pytest.raises(InputError, match=message) as error:
        receptive_field_table(nn.Sequential(nn.ReLU(), layer))
    assert "\n" not in str(error.value)


def test_a_parameter_of_a_custom_module_is_refused_by_name():
    net = Forward(lambda net, x: net.fc((net.conv2(net.conv1(x)) * net.gain).mean((2, 3))))
    net.gain = nn.Parameter(torch.ones(1))
    with pytest.raises(InputError, match="Forward has parameters"):
        receptive_field_table(net)


@pytest.mark.parametrize("input_size", [(1, 28, 32), (28, 28)])
def test_a_picture_that_is_not_square_is_refused(input_size):
    with pytest.raises(InputError, match="square picture"):
        receptive_field_table(published_net(), input_size)


def test_a_model_without_layers_is_refused():
    with pytest.raises(InputError, match="Identity must return the output of its last layer"):
        receptive_field_table(nn.Identity())


# No trace


def test_the_model_and_the_random_numbers_are_left_as_they_were():
    net = Forward(lambda net, x: net.fc(F.dropout(net.norm(net.conv2(net.conv1(x)))).mean((2, 3))))
    net.norm = nn.BatchNorm2d(6)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    receptive_field_table(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training and net.norm.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_the_table_is_that_of_eval_mode():
    net = Forward(lambda net, x: x if net.training else net.fc(net.conv2(net.conv1(x)).mean((2, 3))))
    assert len(receptive_field_table(net)) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_model_may_live_on_a_gpu():
    net, state = published_net().to("cuda"), torch.cuda.get_rng_state()
    assert receptive_field(net) == 22
    assert all(parameter.is_cuda for parameter in net.parameters())
    assert torch.equal(torch.cuda.get_rng_state(), state)


# The tables


def test_the_markdown_table_has_the_published_columns_and_a_total():
    head, rule, *body = markdown_table(receptive_field_table(published_net())).split("\n\n")[0].splitlines()
    cells = [cell.strip() for cell in head.strip("|").split("|")]
    assert cells == list(COLUMNS)
    assert " ".join(cells) == (
        "Operation nin Ch_in Ch_Out padding kernel stride nout jin jout rin rout Activation_Size Params#"
    )
    assert all(line.count("|") == len(COLUMNS) + 1 for line in (rule, *body))
    assert body[0] == "| Conv2d 3×3 | 28 | 1 | 8 | 0 | 3 | 1 | 26 | 1 | 1 | 1 | 3 | 784 | 72 |"
    assert body[-1].startswith("| Total |") and body[-1].endswith("| 8,280 |")


def test_the_html_table_has_the_same_cells():
    page = html_table(receptive_field_table(published_net()))
    assert page.count("<th>") == len(COLUMNS)
    assert page.count("<td>") == 11 * len(COLUMNS)
    assert "<td>8,280</td></tr>\n</table>" in page


@pytest.mark.parametrize("table", [markdown_table, html_table])
def test_the_formulas_stand_beneath_in_one_line(table):
    last = table(receptive_field_table(published_net())).splitlines()[-1]
    assert all(formula in last for formula in ("jout = jin · stride", "rout = rin + ", "nout = ⌊"))


@pytest.mark.parametrize(("padding", "said"), [(0, False), (1, True)])
def test_a_field_wider_than_the_picture_is_explained_only_where_there_is_one(padding, said):
    assert ("An rout above 28" in markdown_table(receptive_field_table(published_net(padding)))) is said


def test_the_operation_is_escaped():
    class Odd(nn.MaxPool2d):
        pass

    Odd.__name__ = "<a|b>"
    rows = receptive_field_table(Odd(2))
    assert "| &lt;a\\|b&gt; |" in markdown_table(rows)
    assert "<td>&lt;a|b&gt;</td>" in html_table(rows)
