"""A trained network at work: on images of one's own, made like MNIST's, and on those of the test set."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from common import InputError, canvas
from common.batches import MEAN, STD

SIDE, BOX = 28, 20  # of an MNIST image, and of the square that its digit is scaled into
FAINT = 0.2  # ink below this share of the darkest is taken for paper


@torch.no_grad()
def classify_file(net: nn.Module, path: Path | str) -> tuple[Tensor, Tensor]:
    """The digit in an image file as the network sees it, [28, 28], and the ten probabilities."""
    digit = as_mnist(read_ink(path))
    images = digit.view(1, 1, SIDE, SIDE).to(next(net.parameters()).device)
    return digit, net.eval()((images - MEAN) / STD).softmax(1)[0].cpu()


def read_ink(path: Path | str) -> Tensor:
    """How dark each pixel is against the paper, 0 to 1; light ink on a dark ground counts as well."""
    try:
        with Image.open(path) as file:
            pixels = pil_to_tensor(ImageOps.exif_transpose(file).convert("L"))[0].float()
    except OSError as error:
        raise InputError(f"{path} can't be read as an image ({error}): give a PNG or JPEG file") from None
    paper = torch.cat([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).median()
    ink = (pixels - paper).abs()
    if ink.max() < 32:  # of 255
        raise InputError(f"{path} shows no digit: it should be dark on light, or light on dark")
    return ink / ink.max()


def as_mnist(ink: Tensor) -> Tensor:
    """The ink as MNIST has it: scaled into 20×20, its centre of mass in the middle of 28×28.

    Every pixel of the result is the mean of the square that it covers in `ink`.
    """
    rows, columns = ((ink > FAINT).any(axis).nonzero().flatten() for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    zoom = BOX / max(ink.shape)
    return overlaps(ink.sum(1), zoom) @ ink @ overlaps(ink.sum(0), zoom).T


def overlaps(mass: Tensor, zoom: float) -> Tensor:
    """How much of each of 28 pixels lies over each old one, along an axis whose lines hold so much `mass`."""
    old = torch.arange(len(mass))
    centre = ((old + 0.5) * mass).sum() / mass.sum()
    start = ((torch.arange(SIDE) - SIDE / 2) / zoom + centre).view(-1, 1)
    return zoom * (torch.minimum(old + 1, start + 1 / zoom) - torch.maximum(old, start)).clamp(min=0)


def answers(images: Tensor, labels: Tensor, probabilities: Tensor, dataset: str) -> Figure:
    """The first twenty digits with answer and confidence, then the ten that it was least sure of and still right."""
    confidence, guesses = probabilities.cpu().max(1)
    right = (guesses == labels.cpu()).nonzero().flatten()
    doubtful = right[confidence[right].argsort(stable=True)][: canvas.COLUMNS]
    shown = torch.cat([torch.arange(len(labels))[: 2 * canvas.COLUMNS], doubtful])
    captions = [f"{guesses[index]}\n{100 * confidence[index]:.1f} %" for index in shown]
    title = "The first digits; in the last row, those it was least sure of and right: answer, confidence"
    return canvas.draw_captioned(title, dataset, images[shown.to(images.device)], captions)


def answer(digit: Tensor, probabilities: Tensor, dataset: str) -> Figure:
    """A digit as the network sees it, and how likely it takes it for each of the ten."""
    figure, (picture, chances) = canvas.new_figure("An image of one's own", f"trained on {dataset}", 2.8, ncols=2)
    picture.imshow(digit, cmap="gray_r", vmin=0, vmax=1)
    picture.set(xticks=[], yticks=[], xlabel="as the network sees it")
    canvas.label_axes(chances, "digit", "probability, %")
    chances.bar(range(10), 100 * probabilities, color=canvas.BLUE)
    chances.set(xticks=range(10), ylim=(0, 100))
    return figure
