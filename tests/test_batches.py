"""Batches in an order of their own, and what augmentation does to an image."""

import math

import pytest
import torch
from torch.nn import functional as F

from common import InputError
from common.batches import MEAN, STD, Augment, Batches, sampling_grid

NAMES = ("rotation", "shift_x", "shift_y", "scale", "shear", "brightness", "contrast")


def numbered(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that show their own number, which is their label too."""
    labels = torch.arange(count)
    return labels.float().view(-1, 1, 1, 1).expand(count, 1, 4, 4).clone(), labels


def order(batches: Batches) -> list[int]:
    """The labels in the order of a pass."""
    return torch.cat([labels for _, labels in batches]).tolist()


def changed(images: torch.Tensor, **amounts: float) -> torch.Tensor:
    """All of `images` changed by just these amounts."""
    row = torch.tensor([[amounts.get(name, 0.0) for name in NAMES]]).expand(len(images), 7)
    return Augment(**{name: abs(amount) for name, amount in amounts.items()}).apply(images, row)


def picture(side: int = 7, count: int = 2) -> torch.Tensor:
    """Random images with a black margin of two pixels."""
    inside = torch.rand(count, 1, side - 4, side - 4, generator=torch.Generator().manual_seed(0))
    return F.pad(inside, (2, 2, 2, 2))


# Batches


def test_a_pass_has_every_image_once_and_the_ragged_last_batch():
    batches = Batches(*numbered(10), batch_size=4, seed=0)
    assert len(batches) == 3
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert sorted(order(batches)) == list(range(10))


@pytest.mark.parametrize(("count", "size", "length"), [(8, 4, 2), (9, 4, 3), (3, 4, 1), (1, 1, 1)])
def test_the_length_is_the_number_of_batches(count, size, length):
    batches = Batches(*numbered(count), size)
    assert len(batches) == len(list(batches)) == length


@pytest.mark.parametrize("seed", [None, 0])
def test_labels_go_with_their_images_and_pixels_are_normalised(seed):
    for images, labels in Batches(*numbered(10), 4, seed):
        assert torch.allclose(images, ((labels - MEAN) / STD).view(-1, 1, 1, 1).expand_as(images))


def test_mean_and_deviation_are_those_of_mnist():
    assert (MEAN, STD) == (0.1307, 0.3081)


def test_without_a_seed_the_order_is_that_of_the_images():
    batches = Batches(*numbered(10), 4)
    assert order(batches) == order(batches) == list(range(10))


def test_every_pass_has_a_new_order():
    batches = Batches(*numbered(50), 8, seed=0)
    passes = [order(batches) for _ in range(4)]
    assert len({*map(tuple, passes), tuple(range(50))}) == 5


def test_the_order_is_given_by_the_seed_alone():
    torch.manual_seed(1)
    one = Batches(*numbered(50), 8, seed=3)
    first = [order(one) for _ in range(2)]
    torch.manual_seed(2)
    other = Batches(*numbered(50), 7, seed=3)
    second = []
    for _ in range(2):
        torch.rand(5)
        second.append(order(other))
    assert first == second
    assert order(Batches(*numbered(50), 8, seed=4)) != first[0]


def test_no_other_random_numbers_are_used_up():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(Batches(*numbered(50), 8, seed=3, augment=Augment(rotation=10)))
    assert torch.rand(1) == expected


def test_the_images_themselves_are_left_as_they_are():
    images, labels = picture(count=3), torch.arange(3)
    before = images.clone()
    list(Batches(images, labels, 2, seed=0, augment=Augment(rotation=30, brightness=0.5)))
    list(Batches(images, labels, 2))
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": -1},
        {"images": torch.zeros(0, 1, 4, 4), "labels": torch.zeros(0)},
        {"labels": torch.arange(5)},
        {"augment": Augment(rotation=1)},
    ],
)
def test_what_makes_no_batches_is_refused(wrong):
    images, labels = numbered(6)
    with pytest.raises(InputError):
        Batches(**{"images": images, "labels": labels, "batch_size": 2} | wrong)


# Drawing amounts


def test_amounts_are_drawn_evenly_up_to_the_number_given_either_way():
    limits = torch.tensor([10.0, 2, 3, 0.5, 5, 0.2, 0.4])
    drawn = Augment(*limits.tolist()).draw(4000, torch.Generator().manual_seed(0)) / limits
    assert drawn.shape == (4000, 7)
    assert drawn.abs().max() <= 1
    assert (drawn.amax(0) > 0.99).all()
    assert (drawn.amin(0) < -0.99).all()
    assert (drawn.mean(0).abs() < 0.05).all()
    assert ((drawn.std(0) - 1 / math.sqrt(3)).abs() < 0.02).all()
    assert (torch.corrcoef(drawn.T) - torch.eye(7)).abs().max() < 0.08


@pytest.mark.parametrize("name", NAMES)
def test_what_is_off_is_not_drawn(name):
    drawn = Augment(**{name: 0.5}).draw(100, torch.Generator().manual_seed(0))
    others = [index for index, other in enumerate(NAMES) if other != name]
    assert drawn[:, NAMES.index(name)].unique().numel() > 90
    assert not drawn[:, others].any()


@pytest.mark.parametrize("amount", [-1, -0.001, math.inf, math.nan])
@pytest.mark.parametrize("name", NAMES)
def test_an_amount_that_makes_no_sense_is_refused_by_its_name(name, amount):
    with pytest.raises(InputError, match=name):
        Augment(**{name: amount})


def test_nothing_is_scaled_to_nothing():
    with pytest.raises(InputError, match="scale"):
        Augment(scale=1.0)


def test_every_image_of_every_pass_is_moved_in_its_own_way():
    images, labels = picture(count=1).expand(6, 1, 7, 7), torch.arange(6)
    batches = Batches(images, labels, 3, seed=0, augment=Augment(rotation=90, shift_x=2))
    seen = torch.cat([images for _ in range(2) for images, _ in batches])
    assert len(seen.flatten(1).unique(dim=0)) == 12


def test_the_same_seed_moves_the_images_alike_whatever_the_size_of_batches():
    images, labels = picture(count=12), torch.arange(12)
    passes = []
    for size in (4, 5):
        torch.manual_seed(size)
        batches = Batches(images, labels, size, seed=7, augment=Augment(*[0.5] * 7))
        passes.append(torch.cat([images for _ in range(2) for images, _ in batches]))
    assert torch.allclose(*passes, atol=1e-6)


# What the amounts do


def test_nothing_asked_for_is_nothing_done():
    images = torch.rand(3, 1, 28, 28)
    assert torch.allclose(changed(images), images, atol=1e-5)
    everything = Augment(10, 2, 2, 0.1, 10, 0.5, 0.5)
    assert torch.allclose(everything.apply(images, torch.zeros(3, 7)), images, atol=1e-5)


@pytest.mark.parametrize(("amounts", "move"), [({"shift_x": 1.0}, (0, 1)), ({"shift_y": 1.0}, (1, 0))])
@pytest.mark.parametrize("side", [7, 28])
def test_a_positive_shift_moves_to_the_right_or_down_by_pixels(amounts, move, side):
    images = picture(side)
    assert torch.allclose(changed(images, **amounts), images.roll(move, (2, 3)), atol=1e-5)
    back = {name: -amount for name, amount in amounts.items()}
    assert torch.allclose(changed(images, **back), images.roll((-move[0], -move[1]), (2, 3)), atol=1e-5)


@pytest.mark.parametrize("side", [7, 28])
def test_a_positive_rotation_turns_counter_clockwise(side):
    images = picture(side)
    assert torch.allclose(changed(images, rotation=90.0), images.rot90(1, (2, 3)), atol=1e-4)


def test_a_larger_scale_makes_more_ink_and_a_smaller_one_less():
    square = F.pad(torch.ones(1, 1, 12, 12), (8, 8, 8, 8))
    for amount in (0.5, -0.5, 0.1, -0.1):
        assert changed(square, scale=amount).sum() / square.sum() == pytest.approx((1 + amount) ** 2, rel=0.05)


def test_shear_shifts_each_row_in_proportion_to_its_height():
    line = torch.zeros(1, 1, 7, 7)
    line[..., 3] = 1
    slanted = changed(line, shear=45.0)
    assert torch.allclose(slanted[0, 0], torch.eye(7).flip(0), atol=1e-5)


def test_the_grid_is_what_affine_grid_makes_of_the_same_matrices():
    amounts = torch.rand(20, 5, generator=torch.Generator().manual_seed(0)) - 0.5
    amounts = amounts * torch.tensor([360, 10, 10, 1, 90])
    matrices = []
    for rotation, shift_x, shift_y, scale, shear in amounts.tolist():
        angle = math.radians(rotation)
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        slant = torch.tensor([[1, math.tan(math.radians(shear))], [0, 1]])
        shift = torch.tensor([[-shift_x], [-shift_y]]) * 2 / 28
        matrices.append(torch.cat([turn @ slant / (1 + scale), shift], dim=1))
    expected = F.affine_grid(torch.stack(matrices), [20, 1, 28, 28], align_corners=False)
    assert torch.allclose(sampling_grid(amounts, 28), expected, atol=1e-4)


def test_brightness_multiplies_the_pixels_and_white_stays_the_end():
    images = torch.tensor([0, 0.2, 0.4, 0.9]).view(1, 1, 2, 2)
    brighter = changed(images, brightness=0.5).flatten().tolist()
    assert brighter == pytest.approx([0, 0.3, 0.6, 1.0], abs=1e-5)
    assert changed(images, brightness=-0.5).flatten().tolist() == pytest.approx([0, 0.1, 0.2, 0.45], abs=1e-5)


def test_contrast_stretches_the_distance_to_the_mean_of_the_image():
    images = torch.tensor([0.4, 0.4, 0.6, 0.6]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    images[1] += 0.2
    stretched = changed(images, contrast=0.5)
    assert stretched[0].flatten().tolist() == pytest.approx([0.35, 0.35, 0.65, 0.65], abs=1e-5)
    assert stretched[1].flatten().tolist() == pytest.approx([0.55, 0.55, 0.85, 0.85], abs=1e-5)
    assert changed(images, contrast=-0.5)[0].flatten().tolist() == pytest.approx([0.45, 0.45, 0.55, 0.55], abs=1e-5)


def test_pixels_stay_between_black_and_white():
    augment = Augment(brightness=0.9, contrast=0.9)
    seen = augment.apply(torch.rand(50, 1, 8, 8), augment.draw(50, torch.Generator().manual_seed(0)))
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_what_comes_in_from_outside_is_black():
    batches = Batches(
        torch.ones(20, 1, 28, 28),
        torch.zeros(20),
        20,
        seed=0,
        augment=Augment(rotation=45, shift_x=4, shift_y=4, scale=0.3, shear=20),
    )
    ((images, _),) = batches
    assert images.min().item() == pytest.approx((0 - MEAN) / STD)
    assert images.max().item() == pytest.approx((1 - MEAN) / STD)


def test_a_black_background_stays_black():
    images = F.pad(torch.rand(20, 1, 8, 8), (10, 10, 10, 10))
    augment = Augment(rotation=180, shift_x=2, shift_y=2, scale=0.1, shear=10, brightness=0.5)
    seen = augment.apply(images, augment.draw(20, torch.Generator().manual_seed(0)))
    assert not torch.cat([seen[..., :2], seen[..., -2:]]).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_a_gpu_gets_the_same_batches():
    images, labels = picture(28, 50), torch.arange(50)
    augment = Augment(10, 2, 2, 0.1, 10, 0.1, 0.1)
    here = Batches(images, labels, 8, 0, augment)
    there = Batches(images.cuda(), labels.cuda(), 8, 0, augment)
    for (one, labels_one), (other, labels_other) in zip(here, there, strict=True):
        assert other.is_cuda
        assert torch.equal(labels_one, labels_other.cpu())
        assert torch.allclose(one, other.cpu(), atol=1e-4)
