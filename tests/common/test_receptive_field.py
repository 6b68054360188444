"""The receptive-field table: right by gradients and by PyTorch, honest about what it can't show, without a trace."""

import random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.blocks import GlobalAveragePool, conv_block
from common.config import InputError
from common.receptive_field import markdown_table, receptive_field_table


class Forward(nn.Module):
    """Two convolutions and a linear layer, in a forward of the test's own."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.pool, self.fc, self.own = nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Linear(6, 10), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.own(self, self.norm(self.conv1(x)))


def random_net(draw: random.Random) -> nn.Sequential:
    """Three or four layers of any geometry; positive weights, so that no two paths cancel."""
    layers: list[nn.Module] = [nn.Conv2d(1, 2, 1, bias=False)]
    for _ in range(draw.randint(2, 3)):
        kernel, stride, dilation = draw.randint(1, 4), draw.randint(1, 2), draw.randint(1, 2)
        window = kernel, stride, draw.randint(0, kernel // 2)
        convs = [nn.Conv2d(2, 2, *window, dilation, groups, bias=False) for groups in (1, 1, 2)]
        layers.append(draw.choice([*convs, nn.MaxPool2d(*window, dilation), nn.AvgPool2d(*window)]))
    net = nn.Sequential(*layers)
    for weight in net.parameters():
        nn.init.uniform_(weight, 0.5, 1.5)
    return net


def lines_seen(net: nn.Module, side: int, axis: int) -> list[int]:
    """The lines of the picture, along one axis, that have a gradient from the central output unit."""
    # Max pooling hands its gradient to its largest input only: in a picture that is dark but for one line, that line.
    lines = torch.eye(side, dtype=torch.float64)[:, None].unsqueeze(5 - axis)
    pictures = lines.expand(side, 1, side, side).clone().requires_grad_()
    output = net(pictures)
    centre = output.shape[-1] // 2
    output[:, :, centre, centre].sum().backward()
    return [i for i in range(side) if pictures.grad[i].select(axis - 1, i).any()]


@pytest.mark.parametrize("seed", range(30))
def test_fields_are_what_a_gradient_reaches_and_sizes_and_params_are_those_of_pytorch(seed):
    torch.manual_seed(seed)
    net = random_net(random.Random(seed))
    rows = receptive_field_table(net, (1, 96, 96))
    for i, (row, layer) in enumerate(zip(rows, net, strict=True)):
        before, after = net[:i](torch.zeros(1, 1, 96, 96)), net[: i + 1](torch.zeros(1, 1, 96, 96))
        assert [(row.ch_in, row.n_in), (row.ch_out, row.n_out)] == [(*maps.shape[1:3],) for maps in (before, after)]
        assert (row.activation_size, row.params) == (before.numel(), sum(w.numel() for w in layer.parameters()))
    side = 2 * rows[-1].r_out + 16
    for seen in (lines_seen(net.double(), side, axis) for axis in (2, 3)):
        assert seen[0] > 0 and seen[-1] < side - 1, "the border cuts this field: the net proves nothing"
        assert seen[-1] - seen[0] + 1 == rows[-1].r_out


def test_every_way_to_take_in_the_whole_map_gives_the_same_field():
    pools = GlobalAveragePool(), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d((1, 1)), nn.Flatten()
    for pool, name in zip(pools, ("GAP", "GAP", "Global max pool", "Linear"), strict=True):
        net = nn.Sequential(conv_block(2, 4), nn.MaxPool2d(3, 2, ceil_mode=True), pool, nn.Flatten(), nn.LazyLinear(9))
        rows = receptive_field_table(net, (2, 28, 28))
        assert [(row.r_out, row.j_out, row.n_out) for row in rows[:2]] == [(3, 1, 26), (5, 2, 13)]
        assert (rows[2].operation, rows[2].kernel, rows[2].n_out, rows[2].r_out) == (name, 13, 1, 5 + (13 - 1) * 2)
        assert (rows[-1].operation, rows[-1].r_out) == ("Linear", rows[2].r_out)


def test_a_name_has_dilation_and_groups_and_padding_in_words_is_shown_in_pixels():
    conv = nn.Conv2d(4, 4, 3, dilation=2, groups=4, padding="same")
    net = nn.Sequential(conv, nn.Conv2d(4, 1, 1, padding="valid"), nn.MaxPool2d(3, dilation=2))
    named = [(row.operation, row.padding) for row in receptive_field_table(net, (4, 28, 28))]
    assert named == [("Conv2d 3×3, dilation 2, groups 4", 2), ("Conv2d 1×1", 0), ("MaxPool2d, dilation 2", 0)]


def test_norms_count_with_the_layer_before_and_a_shared_layer_once():
    conv = nn.Conv2d(8, 8, 3, bias=False)
    layers = nn.BatchNorm2d(8), conv, nn.BatchNorm2d(8), nn.PReLU(8), conv, GlobalAveragePool(), nn.BatchNorm1d(8)
    named = [(row.operation, row.params) for row in receptive_field_table(nn.Sequential(*layers), (8, 28, 28))]
    assert named == [("BatchNorm2d", 16), ("Conv2d 3×3", 576 + 16 + 8), ("Conv2d 3×3", 0), ("GAP", 16)]


REFUSED = [
    (nn.Conv2d(1, 4, (3, 5)), r"'1' \(Conv2d\) is not square: kernel_size=\(3, 5\)"),
    (nn.AvgPool2d(2, (2, 1)), r"'1' \(AvgPool2d\) is not square: stride"),
    (nn.Conv2d(1, 4, 2, padding="same"), r"'1' \(Conv2d\) is not square: padding=same"),
    (nn.ConvTranspose2d(1, 4, 3), r"'1' \(ConvTranspose2d\) has parameters but is no layer"),
    (nn.AdaptiveAvgPool2d(2), r"the output of '1' is \(1, 2, 2\), not 1 maps of side 1"),
    (nn.Linear(28, 4), r"the output of '1' is \(1, 28, 4\), not .* flatten"),
    (nn.Conv2d(3, 4, 3), r"fails on \(1, 28, 28\): .* 3 channels"),
    (nn.BatchNorm1d(1), r"fails on \(1, 28, 28\): expected 2D or 3D input"),
    (Forward(lambda net, x: x), "leaves out 1.conv2.weight, 1.conv2.bias, 1.fc.weight, 1.fc.bias"),
    (Forward(lambda net, x: net.conv2(F.max_pool2d(x, 2))), r"input of '1.conv2' is \(6, 14, 14\), not 6 .* side 28"),
    (Forward(lambda net, x: net.conv2(x).mean((2, 3))), r"the result is \(6,\), not 6 .* pool and flatten by modules"),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("net", "message"), REFUSED)
def test_what_it_cannot_show_is_refused_by_name_in_one_line(net, message):
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
        receptive_field_table(nn.Sequential(nn.ReLU(), net))


@pytest.mark.parametrize("device", ["cpu", "cuda"][: 1 + torch.cuda.is_available()])
def test_the_net_and_the_random_numbers_are_left_as_they_were(device):
    net = Forward(lambda net, x: x if net.training else net.fc(F.dropout(net.pool(net.conv2(x)).squeeze())))
    net.to(device, torch.float64).conv2.eval()
    before, state = {key: value.clone() for key, value in net.state_dict().items()}, torch.get_rng_state()
    assert [row.operation for row in receptive_field_table(net)] == ["Conv2d 3×3", "Conv2d 3×3", "GAP", "Linear"]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.norm.training and not net.conv2.training and not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(("padding", "side"), [(0, 36), (1, 38)])
def test_the_markdown_table_has_the_published_columns_a_total_and_the_formulas(padding, side):
    net = nn.Sequential(nn.Conv2d(1, 50, 5, padding=padding), GlobalAveragePool(), nn.Linear(50, 10))
    head, rule, conv, *_, total, gap, notes = markdown_table(receptive_field_table(net, (1, 40, 40))).splitlines()
    columns = "Operation nin Ch_in Ch_Out padding kernel stride nout jin jout rin rout Activation_Size Params#"
    assert (head, rule) == (f"| {columns.replace(' ', ' | ')} |", "| --- |" + " ---: |" * 13)
    assert conv == f"| Conv2d 5×5 | 40 | 1 | 50 | {padding} | 5 | 1 | {side} | 1 | 1 | 1 | 5 | 1,600 | 1,300 |"
    assert (total, gap) == ("| Total |" + "  |" * 12 + " 1,810 |", "")
    assert all(f"`{name} = " in notes for name in ("nout", "jout", "rout"))
    assert notes.endswith(" An rout above 40 reaches past the picture, into the padding.") is (padding > 0)
