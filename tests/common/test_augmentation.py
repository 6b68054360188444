"""The order of batches, and what augmentation does to an image."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common import Augment, Batches, InputError, data
from common.augmentation import sampling_grid

NAMES = ("rotation", "shift_x", "shift_y", "scale", "shear", "brightness", "contrast")
GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"))


def numbered(count: int) -> tuple[Tensor, Tensor]:
    """Images that show their own number, which is their label too."""
    labels = torch.arange(count)
    return labels.view(-1, 1, 1, 1).expand(count, 1, 4, 4) * 1.0, labels


def order(batches: Batches) -> list[int]:
    """The labels in the order of a pass."""
    return torch.cat([labels for _, labels in batches]).tolist()


def picture(count: int = 2) -> Tensor:
    """Random 7×7 images with a black margin of two pixels."""
    return F.pad(torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(0)), (2, 2, 2, 2))


@pytest.mark.parametrize(("count", "size", "sizes"), [(10, 4, [4, 4, 2]), (3, 1, [1, 1, 1]), (3, 2**31 - 1, [3])])
@pytest.mark.parametrize("seed", [None, 0])
def test_a_pass_has_every_image_once_normalised_and_with_its_label(count, size, sizes, seed):
    batches = Batches(*numbered(count), size, seed)
    assert len(batches) == len(sizes) and [len(labels) for _, labels in batches] == sizes
    assert sorted(order(batches)) == list(range(count))
    for images, labels in batches:
        assert torch.allclose(images, ((labels - 0.1307) / 0.3081).view(-1, 1, 1, 1).expand_as(images))


def test_the_order_is_that_of_the_images_or_drawn_anew_for_every_pass_from_the_seed_alone():
    def passes(size: int, seed: int | None) -> list[list[int]]:
        batches, found = Batches(*numbered(50), size, seed), []
        for _ in range(3):
            found.append(order(batches))
            torch.rand(size)
        return found

    assert passes(8, None) == [list(range(50))] * 3
    assert passes(8, seed=3) == passes(7, seed=3) != passes(8, seed=4)
    assert len({*map(tuple, passes(8, seed=3)), tuple(range(50))}) == 4


@pytest.mark.parametrize(("images", "labels", "size"), [(6, 6, 0), (6, 6, -1), (0, 0, 2), (6, 5, 2)])
def test_what_makes_no_batches_is_refused(images, labels, size):
    with pytest.raises(InputError, match=f"^{images} images, {labels} labels, batch_size {size}: there must be"):
        Batches(torch.zeros(images, 1, 4, 4), torch.zeros(labels), size)
    with pytest.raises(InputError, match="needs a seed"):
        Batches(*numbered(6), 2, augment=Augment(rotation=1))


@pytest.mark.parametrize("name", NAMES)
def test_an_amount_that_makes_no_sense_is_refused_by_its_name_and_one_that_is_off_is_not_drawn(name):
    for amount in (-1, -0.001, math.inf, math.nan, *([1.0] if name == "scale" else [])):
        with pytest.raises(InputError, match=name):
            Augment(**{name: amount})
    drawn = Augment(**{name: 0.5}).draw(100, torch.Generator().manual_seed(0))
    assert [column.any().item() for column in drawn.T] == [other == name for other in NAMES]


def test_amounts_are_drawn_evenly_up_to_the_number_given_either_way():
    limits = torch.tensor([10.0, 2, 3, 0.5, 5, 0.2, 0.4])
    drawn = Augment(*limits.tolist()).draw(4000, torch.Generator().manual_seed(0)) / limits
    assert drawn.shape == (4000, 7) and drawn.abs().max() <= 1
    assert (drawn.amax(0) > 0.99).all() and (drawn.amin(0) < -0.99).all()
    assert (drawn.mean(0).abs() < 0.05).all() and ((drawn.std(0) - 1 / math.sqrt(3)).abs() < 0.02).all()
    assert (torch.corrcoef(drawn.T) - torch.eye(7)).abs().max() < 0.08


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_every_image_of_every_pass_is_moved_in_its_own_way_on_every_device_and_nothing_else(device, monkeypatch):
    images, passes, random = picture(count=1).expand(12, 1, 7, 7), [], torch.get_rng_state()
    for size, target, at_once in ((4, "cpu", 1), (5, device, 2)):
        monkeypatch.setitem(data.AT_ONCE, device, at_once)  # batches prepared together, which makes no difference
        batches = Batches(images.to(target), torch.arange(12).to(target), size, 7, Augment(*[0.5] * 7))
        passes.append(torch.cat([moved.cpu() for _ in range(2) for moved, _ in batches]))
    assert torch.allclose(*passes, atol=1e-4) and len(passes[0].flatten(1).unique(dim=0)) == 24
    assert torch.equal(images[:1], picture(count=1)) and torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ({}, lambda images: images),
        ({"shift_x": 1.0}, lambda images: images.roll(1, 3)),
        ({"shift_y": -1.0}, lambda images: images.roll(-1, 2)),
        ({"rotation": 90.0}, lambda images: images.rot90(1, (2, 3))),
        ({"shear": 45.0}, lambda images: torch.stack([images[:, :, y].roll(3 - y, 2) for y in range(7)], 2)),
        ({"brightness": 0.5}, lambda images: (images * 1.5).clamp(0, 1)),
        ({"contrast": 0.5}, lambda images: (1.5 * images - 0.5 * images.mean((2, 3), keepdim=True)).clamp(0, 1)),
    ],
)
def test_a_positive_shift_is_to_the_right_or_down_and_a_rotation_counter_clockwise(amounts, expected):
    row = torch.tensor([[amounts.get(name, 0.0) for name in NAMES]]).expand(2, 7)
    augment = Augment(**{name: abs(amount) for name, amount in amounts.items()})
    assert torch.allclose(augment.apply(picture(), row), expected(picture()), atol=1e-4)


def test_the_grid_is_what_affine_grid_makes_of_the_same_matrices():
    amounts = (torch.rand(20, 5, generator=torch.Generator().manual_seed(0)) - 0.5) * torch.tensor([360, 10, 10, 1, 90])
    matrices = []
    for rotation, shift_x, shift_y, scale, shear in amounts.tolist():
        angle = math.radians(rotation)
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        slant = torch.tensor([[1, math.tan(math.radians(shear))], [0, 1]])
        shift = torch.tensor([[-shift_x], [-shift_y]]) * 2 / 28
        matrices.append(torch.cat([turn @ slant / (1 + scale), shift], dim=1))
    expected = F.affine_grid(torch.stack(matrices), [20, 1, 28, 28], align_corners=False)
    assert torch.allclose(sampling_grid(amounts, 28), expected, atol=1e-4)


def test_what_comes_in_from_outside_is_black():
    moved = Augment(rotation=45, shift_x=4, shift_y=4, scale=0.3, shear=20)
    ((images, _),) = Batches(torch.ones(20, 1, 28, 28), torch.zeros(20), 20, seed=0, augment=moved)
    assert (images.amin().item(), images.amax().item()) == pytest.approx(((0 - 0.1307) / 0.3081, (1 - 0.1307) / 0.3081))
