"""What was tried on the validation split: the recipes of the runs, and the questions that they answer."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from common.batches import Augment, sampling_grid
from common.blocks import GlobalAveragePool, conv_block


@dataclass(frozen=True)
class Mirroring(Augment):
    """Augmentation that turns every second image, drawn at random, left to right as well."""

    mirrored: bool = True  # tells its recipes from those without

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """A row of amounts an image; the sign of the last one says whether the image is mirrored."""
        signs = torch.rand(count, 1, generator=generator) - 0.5
        return torch.cat([Augment(*list(vars(self).values())[:7]).draw(count, generator), signs], dim=1)

    def apply(self, images: Tensor, amounts: Tensor) -> Tensor:
        """`images`, each changed by its row of `amounts`."""
        mirrored = (amounts[:, 7] > 0).view(-1, 1, 1, 1)
        return super().apply(torch.where(mirrored, images.flip(3), images), amounts[:, :7])


@dataclass(frozen=True)
class Elastic(Augment):
    """Augmentation that also bends the image: each of 6×6 points moves by itself, and the pixels between follow."""

    bend: float = 0.0  # pixels, either way

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """A row of amounts an image; those behind the first seven are the moves of the points."""
        moves = (torch.rand(count, 72, generator=generator) * 2 - 1) * self.bend
        return torch.cat([Augment(*list(vars(self).values())[:7]).draw(count, generator), moves], dim=1)

    def apply(self, images: Tensor, amounts: Tensor) -> Tensor:
        """`images`, each changed by its row of `amounts`."""
        side = images.shape[-1]
        moves = nn.functional.interpolate(amounts[:, 7:].view(-1, 2, 6, 6), (side, side), mode="bicubic")
        grid = sampling_grid(amounts[:, :5], side) + moves.movedim(1, 3) * 2 / side
        return nn.functional.grid_sample(images, grid, align_corners=False)


MEDIUM = Augment(rotation=10, shift_x=1.5, shift_y=1.5, scale=0.12, shear=8)
MILD = Augment(rotation=8, shift_x=1, shift_y=1, scale=0.08, shear=5)
STRONG = Augment(rotation=12, shift_x=2, shift_y=2, scale=0.16, shear=10)
UNSHIFTED = replace(MEDIUM, shift_x=0, shift_y=0)
BENT = Elastic(*list(vars(MEDIUM).values()), bend=1.0)
AMOUNTS = {
    "none": Augment(),
    "rotation alone, 10°": Augment(rotation=10),
    "shift alone, 1.5 pixels": Augment(shift_x=1.5, shift_y=1.5),
    "scale alone, 12 %": Augment(scale=0.12),
    "shear alone, 8°": Augment(shear=8),
    "all four, mild: 8°, 1 pixel, 8 %, 5°": MILD,
    "all four, medium: 10°, 1.5 pixels, 12 %, 8°": MEDIUM,
    "all four, strong: 12°, 2 pixels, 16 %, 10°": STRONG,
    "medium, and every second image mirrored": Mirroring(*list(vars(MEDIUM).values())),
}
WARM = [0, 0.1], [0.05, 1]  # the rate rises during the first tenth of the steps
HEIGHTS: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "steps": lambda done: 0.3 ** int(done * 5),
    "cosine": lambda done: np.interp(done, *WARM) * (0.5 + 0.5 * np.cos(np.pi * done)),
    "one cycle": lambda done: (
        np.interp(done, [0, 0.3], [0.04, 1]) if done < 0.3 else 0.5 + 0.5 * np.cos(np.pi * (done - 0.3) / 0.7)
    ),
    "settle 0.6": lambda done: np.interp(done, [0, 0.1, 0.6, 1], [0.05, 1, 0.04, 0]),
    "settle 0.7": lambda done: np.interp(done, [0, 0.1, 0.7, 1], [0.05, 1, 0.04, 0]),
    "settle 0.8": lambda done: np.interp(done, [0, 0.1, 0.8, 1], [0.05, 1, 0.04, 0]),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": lambda: nn.ReLU(inplace=True),
    "leaky ReLU": lambda: nn.LeakyReLU(0.1, inplace=True),
    "SiLU": nn.SiLU,
}
HEADS: dict[str, Callable[[int, int], list[nn.Module]]] = {
    "GAP, FC": lambda channels, side: [GlobalAveragePool(), nn.Linear(channels, 10)],
    "1×1, GAP": lambda channels, side: [nn.Conv2d(channels, 10, 1), GlobalAveragePool()],
    "flatten, FC": lambda channels, side: [nn.Flatten(), nn.Linear(channels * side**2, 10)],
}


@dataclass(frozen=True)
class Recipe:
    """All that makes a run but its seed."""

    widths: tuple[int, ...] = (8, 8, 12, 14, 16, 16)
    padded: tuple[int, ...] = ()  # numbers of the blocks whose convolution is padded
    pooled: tuple[int, ...] = (2,)  # numbers of the blocks that pool
    separable: tuple[int, ...] = ()  # numbers of the blocks that see each channel alone, then mix
    shared: tuple[int, ...] = ()  # numbers of the blocks that use the convolution of the block before, too
    activation: str = "ReLU"
    norm: bool = True
    dropout: float = 0.0
    dropout_everywhere: bool = False
    head: str = "GAP, FC"
    augment: Augment = MEDIUM
    learning_rate: float = 0.2
    weight_decay: float = 0.0
    batch_size: int = 64
    schedule: str = "settle 0.7"
    epochs: int = 15
    channels_last: bool = True
    fresh_norms: bool = True  # whether batch norm's statistics are taken anew before each evaluation
    kernels: float = 0.0  # the rate of the kernels' orthogonal steps; 0 is plain SGD, at `learning_rate` like the rest
    fused: bool = True  # whether SGD takes its step in one kernel for all weights, which rounds otherwise
    he: bool = False  # whether convolutions start from He's weights, which keep the scale of what passes a ReLU

    @property
    def key(self) -> str:
        """Names the recipe's files; another recipe has another one, and a field that is added changes none."""
        usual = asdict(Recipe())
        unusual = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return hashlib.sha256(json.dumps(unusual, sort_keys=True).encode()).hexdigest()[:12]


def network(recipe: Recipe) -> nn.Sequential:
    """The network of a recipe, from the blocks that the notebooks use."""
    blocks, channels, side = [], 1, 28
    for number, width in enumerate(recipe.widths, 1):
        drops, pools = recipe.dropout_everywhere or number == len(recipe.widths), number in recipe.pooled
        padding = int(number in recipe.padded)
        block = conv_block(
            channels, width, norm=recipe.norm, dropout=recipe.dropout * drops, pool=pools, padding=padding
        )
        if number in recipe.separable:
            block = separated(channels, width, padding, block)
        if number in recipe.shared:
            block[0] = blocks[-1][0]
        blocks.append(activated(block, recipe.activation))
        channels, side = width, (side - 2 + 2 * padding) // (1 + pools)
    net = nn.Sequential(*blocks, *HEADS[recipe.head](channels, side))
    if recipe.he:
        start_as_he(net)
    return net


def start_as_he(net: nn.Module) -> None:
    """Give the convolutions He's weights, and no bias to start with."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def separated(channels: int, width: int, padding: int, block: nn.Sequential) -> nn.Sequential:
    """A block that sees each channel alone and mixes them afterwards, in place of one that does both at once."""
    alone = nn.Conv2d(channels, channels, 3, padding=padding, groups=channels, bias=False)
    mixed = nn.Conv2d(channels, width, 1, bias=False)
    return nn.Sequential(alone, nn.BatchNorm2d(channels), nn.ReLU(), mixed, *block[1:])


def activated(block: nn.Sequential, name: str) -> nn.Sequential:
    """The block with another activation than ReLU."""
    layers = [ACTIVATIONS[name]() if isinstance(layer, nn.ReLU) else layer for layer in block]
    return nn.Sequential(*layers)


LAST = Recipe(dropout=0.02)
CONSTANT = replace(LAST, schedule="constant", learning_rate=0.02)
PLAIN = replace(CONSTANT, augment=Augment())


@dataclass(frozen=True)
class Question:
    """What was asked, in the stage that it belongs to, and the answers that were tried.

    `taken` is the one chosen, if any was; what is asked `aside` stands among all choices, and not in the notebook.
    Two seeds tell a large difference; a question about a small one needs more `seeds`. A `note` says what the answers'
    names mean, and what else the runs had.
    """

    stage: str
    text: str
    answers: dict[str, Recipe]
    taken: str
    aside: bool = False
    seeds: Sequence[int] = (0, 1)
    note: str = ""


def vary(base: Recipe, field: str, values: tuple) -> dict[str, Recipe]:
    """Recipes that differ from `base` in one field."""
    return {str(value): replace(base, **{field: value}) for value in values}


BARE = replace(PLAIN, norm=False, dropout=0.0)
# What the body was asked with: all that the last stage has but dropout and fresh statistics, which came later.
FRESH = replace(LAST, dropout=0.0)
# What the body was first asked with: the statistics of batch norm that training leaves, and mostly fewer channels.
WIDE = replace(FRESH, fresh_norms=False)
NARROW = replace(WIDE, widths=(8, 8, 10, 12, 12, 14))
PADDED = replace(NARROW, padded=(1, 3))
THRICE = replace(WIDE, widths=(8, 8, 18, 18, 18, 18), shared=(5, 6))
SMALL = replace(FRESH, widths=(8, 8, 10, 12, 12, 14), padded=(3,))
ORTHOGONAL = replace(SMALL, kernels=0.06)
SMALLER = replace(ORTHOGONAL, widths=(8, 8, 10, 12, 13, 15))
PADDINGS = {
    "none": (),
    "first block": (1,),
    "third block": (3,),
    "first and third block": (1, 3),
    "first, second and third block": (1, 2, 3),
}
# Most questions about the body were asked before two things had come to the series.
BEFORE = "asked of the last stage, when it had no dropout and was evaluated with the statistics that training leaves"
ROUNDING = "What makes steps faster and rounds otherwise"
QUESTIONS = [
    Question("01_skeleton", "Learning rate", vary(BARE, "learning_rate", (0.01, 0.02, 0.05, 0.1)), "0.02"),
    Question(
        "01_skeleton",
        "First weights of the convolutions",
        {
            "PyTorch's": BARE,
            "He's": replace(BARE, he=True),
            "He's, rate 0.05": replace(BARE, he=True, learning_rate=0.05),
        },
        "PyTorch's",
        note="*He's* are drawn so that values keep their scale behind a ReLU (`kaiming_normal_`), the biases are 0. A"
        " run that learns nothing ends near 10 %, and then means and deviations over seeds say little.",
    ),
    Question(
        "01_skeleton",
        "Widths",
        {
            "8 8 12 14 16 16": WIDE,
            "8 8 10 12 12 14": NARROW,
            "6 8 10 12 14 16": replace(NARROW, widths=(6, 8, 10, 12, 14, 16)),
            "8 10 16 32 32 32, the last four separable": replace(
                NARROW, widths=(8, 10, 16, 32, 32, 32), separable=(3, 4, 5, 6)
            ),
            "8 8 18 18 18 18, the last three with one convolution": THRICE,
            "8 8 16 16 16 16, the last three with one convolution": replace(THRICE, widths=(8, 8, 16, 16, 16, 16)),
        },
        "8 8 12 14 16 16",
        note="The channels of the six blocks, "
        + BEFORE
        + ", hence other numbers of parameters than this stage has. *Separable* blocks see each channel alone, then mix"
        " them; blocks *with one convolution* share its weights.",
    ),
    Question(
        "01_skeleton",
        "Padding",
        {name: replace(NARROW, padded=padded) for name, padded in PADDINGS.items()},
        "none",
        aside=True,
        note=f"Widths 8 8 10 12 12 14, {BEFORE}.",
    ),
    Question(
        "01_skeleton",
        "Fewer parameters, and combinations",
        {
            "6 8 10 12 12 16, padded": replace(PADDED, widths=(6, 8, 10, 12, 12, 16)),
            "8 8 8 10 10 12, padded": replace(PADDED, widths=(8, 8, 8, 10, 10, 12)),
            "8 8 8 10 10 12, padded, leaky ReLU": replace(
                PADDED, widths=(8, 8, 8, 10, 10, 12), activation="leaky ReLU"
            ),
            "8 8 10 12 12 14, padded, leaky ReLU": replace(PADDED, activation="leaky ReLU"),
            "8 8 16 24 24 24, the last four separable, padded, leaky ReLU": replace(
                PADDED, widths=(8, 8, 16, 24, 24, 24), separable=(3, 4, 5, 6), activation="leaky ReLU"
            ),
            "8 8 18 18 18 18 18, the last four with one convolution": replace(
                THRICE, widths=(8, 8, 18, 18, 18, 18, 18), shared=(5, 6, 7), padded=(5, 6)
            ),
            "8 8 18 18 18 18, the last three with one convolution, images not shifted": replace(
                THRICE, augment=UNSHIFTED
            ),
            "8 8 18 18 18 18, the last three with one convolution, images bent": replace(THRICE, augment=BENT),
            "8 8 10 12 12 14, SiLU, images not shifted": replace(NARROW, activation="SiLU", augment=UNSHIFTED),
            "16 16 16 16 16 16, the last five with one convolution": replace(
                NARROW, widths=(16,) * 6, shared=(3, 4, 5, 6)
            ),
        },
        "none of them",
        aside=True,
        note=f"All {BEFORE}.",
    ),
    Question(
        "01_skeleton",
        "Activation",
        vary(NARROW, "activation", ("ReLU", "leaky ReLU", "SiLU")),
        "ReLU",
        aside=True,
        note=f"Widths 8 8 10 12 12 14, unpadded, {BEFORE}.",
    ),
    Question(
        "02_batchnorm",
        "The statistics that evaluation uses, in the last stage but for its dropout",
        {
            "those that training leaves": WIDE,
            "taken anew from training images": FRESH,
            "third block padded: taken anew": replace(FRESH, padded=(3,)),
            "8 8 10 12 12 14: those that training leaves": NARROW,
            "8 8 10 12 12 14: taken anew": replace(NARROW, fresh_norms=True),
            "8 8 10 12 12 14, third block padded: those that training leaves": replace(NARROW, padded=(3,)),
            "8 8 10 12 12 14, third block padded: taken anew": SMALL,
        },
        "taken anew from training images",
    ),
    Question(
        "02_batchnorm",
        "Learning rate",
        vary(replace(PLAIN, dropout=0.0), "learning_rate", (0.02, 0.05, 0.1)),
        "0.02",
    ),
    Question(
        "03_dropout",
        "Rate of dropout, behind the last block or behind every one",
        {
            **vary(PLAIN, "dropout", (0.0, 0.02, 0.05, 0.1)),
            "0.05 behind every block": replace(PLAIN, dropout=0.05, dropout_everywhere=True),
        },
        "0.02",
    ),
    Question(
        "04_gap_fc",
        "Head, at about the same number of parameters",
        {
            "1×1, GAP": replace(PLAIN, head="1×1, GAP"),
            "GAP, FC": PLAIN,
            "flatten, FC (widths 8 8 12 14 16 8)": replace(PLAIN, head="flatten, FC", widths=(8, 8, 12, 14, 16, 8)),
        },
        "GAP, FC",
    ),
    Question(
        "05_augmentation",
        "What augmentation does, at a constant rate",
        {name: replace(CONSTANT, augment=augment) for name, augment in AMOUNTS.items()},
        "all four, medium: 10°, 1.5 pixels, 12 %, 8°",
    ),
    Question(
        "05_augmentation",
        "Shifting and bending, in the last stage but for dropout and padding, with the statistics that training leaves",
        {
            "all four, medium": NARROW,
            "without shifting": replace(NARROW, augment=UNSHIFTED),
            "with bending by 1 pixel": replace(NARROW, augment=BENT),
            "with bending, without shifting": replace(NARROW, augment=replace(BENT, shift_x=0, shift_y=0)),
        },
        "all four, medium",
        aside=True,
    ),
    Question(
        "06_lr_scheduler",
        "Schedule",
        {
            "constant, 0.02": CONSTANT,
            "constant, 0.2": replace(LAST, schedule="constant"),
            "settle 0.7, from 0.02": replace(LAST, learning_rate=0.02),
            **{f"{name}, from 0.2": replace(LAST, schedule=name) for name in list(HEIGHTS)[1:]},
        },
        "settle 0.7, from 0.2",
        seeds=range(4),
        note="*Steps* leave three tenths of the rate after every fifth of the training. *Cosine* rises for a tenth of"
        " it, *one cycle* for three tenths, and both fall along half a cosine to nothing. *Settle* is what stage 6 has,"
        " the number its parameter `settle`.",
    ),
    Question(
        "06_lr_scheduler",
        "Augmentation, under the schedule",
        {"none": replace(LAST, augment=Augment()), "as in stage 5": LAST},
        "as in stage 5",
        seeds=range(10),
    ),
    Question("06_lr_scheduler", "Highest rate", vary(LAST, "learning_rate", (0.1, 0.2, 0.4)), "0.2"),
    Question("06_lr_scheduler", "Batch size", vary(LAST, "batch_size", (32, 64, 128)), "64"),
    Question("06_lr_scheduler", "Dropout", vary(LAST, "dropout", (0.0, 0.02)), "0.02", seeds=range(4)),
    Question("06_lr_scheduler", "Weight decay", vary(LAST, "weight_decay", (0.0, 0.0005)), "0.0"),
    Question(
        "06_lr_scheduler",
        ROUNDING,
        {
            "channels last, SGD fused": LAST,
            "as PyTorch has it, neither": replace(LAST, channels_last=False, fused=False),
        },
        "channels last, SGD fused",
        seeds=range(10),
    ),
    Question(
        "smaller_network",
        "Rate of the kernels' orthogonal steps, 8 8 10 12 12 14, third block padded",
        {"plain SGD": SMALL, **vary(SMALL, "kernels", (0.02, 0.06, 0.12))},
        "0.06",
    ),
    Question(
        "smaller_network",
        "How small, third block padded, orthogonal steps",
        {
            "8 8 10 12 13 15": SMALLER,
            "8 8 10 12 13 15, plain SGD": replace(SMALLER, kernels=0.0),
            "6 8 10 12 14 15": replace(ORTHOGONAL, widths=(6, 8, 10, 12, 14, 15)),
            "8 8 10 12 12 14": ORTHOGONAL,
            "8 8 8 10 10 12": replace(ORTHOGONAL, widths=(8, 8, 8, 10, 10, 12)),
            "8 8 8 10 10 12, plain SGD": replace(SMALL, widths=(8, 8, 8, 10, 10, 12)),
            "8 8 15 15 15 15, the last three with one convolution": replace(
                ORTHOGONAL, widths=(8, 8, 15, 15, 15, 15), shared=(5, 6)
            ),
            "6 6 8 8 8 10": replace(ORTHOGONAL, widths=(6, 6, 8, 8, 8, 10)),
        },
        "8 8 10 12 13 15",
        seeds=range(4),
    ),
    Question(
        "smaller_network",
        "How far images are moved",
        {
            "all four, medium": SMALLER,
            "all four, strong": replace(SMALLER, augment=STRONG),
            "8 8 10 12 12 14: mild": replace(ORTHOGONAL, augment=MILD),
            "8 8 10 12 12 14: medium": ORTHOGONAL,
            "8 8 10 12 12 14: strong": replace(ORTHOGONAL, augment=STRONG),
        },
        "all four, medium",
    ),
    Question(
        "smaller_network",
        "Schedule",
        {
            "settle 0.7": SMALLER,
            "cosine": replace(SMALLER, schedule="cosine"),
            "8 8 10 12 12 14: settle 0.7": ORTHOGONAL,
            "8 8 10 12 12 14: settle 0.8": replace(ORTHOGONAL, schedule="settle 0.8"),
            "8 8 10 12 12 14: cosine": replace(ORTHOGONAL, schedule="cosine"),
        },
        "settle 0.7",
    ),
]
