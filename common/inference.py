"""A trained network at work: its weights in a file, and its prediction for a digit of your own."""

import json
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from common.config import ROOT, Config, InputError, write_whole
from common.data import MEAN, STD
from common.plots import BLUE, Picture, new_picture, style
from common.runs import MNIST
from common.standin import BOX, SIDE

FAINT = 0.2  # ink below this share of the darkest is taken for paper
SETTINGS = ("kernel_size", "stride", "padding", "dilation", "groups", "eps")  # those that a browser needs


def save_weights(config: Config, net: nn.Module) -> None:
    """Write the layers of a network with their weights as JSON, a layer a line, to `weights` in the run's folder."""
    leaves = [(name, layer) for name, layer in net.named_modules() if not list(layer.children())]
    path = config.folder / "weights" / config.stage / f"seed-{config.parameters['seed']}.json"
    write_whole(path, "[\n" + ",\n".join(json.dumps(describe(*leaf)) for leaf in leaves) + "\n]\n")


def describe(name: str, layer: nn.Module) -> dict:
    """Kind, settings and weights of a layer, with the digits that tell one 32-bit number from the next."""
    settings = {setting: getattr(layer, setting) for setting in SETTINGS if hasattr(layer, setting)}
    state = {key: tensor.cpu().numpy() for key, tensor in layer.state_dict().items()}
    state = {key: {"shape": x.shape, "values": [json.loads(str(v)) for v in x.ravel()]} for key, x in state.items()}
    return {"name": name, "kind": type(layer).__name__, **settings, "state": state}


def load_layers(path: Path | str) -> list[dict]:
    """The layers in a file of `save_weights`; a relative path starts at the root of the repository."""
    try:
        return json.loads((ROOT / path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{ROOT / path} can't be read ({error}): run the step again, or delete the file") from None


def restore(net: nn.Module, path: Path | str) -> nn.Module:
    """`net` with the weights in a file of `save_weights`, in eval mode; the path as in `load_layers`."""
    try:
        states = {f"{layer['name']}.{key}": x for layer in load_layers(path) for key, x in layer["state"].items()}
        net.load_state_dict({key: torch.tensor(x["values"]).view(x["shape"]) for key, x in states.items()})
    except (AttributeError, KeyError, RuntimeError, TypeError):
        raise InputError(f"{ROOT / path} holds no weights of this network: take the Net of its notebook") from None
    return net.eval()


@torch.no_grad()
def classify_file(net: nn.Module, path: Path | str) -> tuple[Tensor, Tensor]:
    """The digit in an image file as the network sees it, [28, 28], and the ten probabilities.

    In Colab, three lines ask you for a file and show the answer:

        from google.colab import files
        [name] = files.upload()
        show_answer(*classify_file(net, name))
    """
    digit = as_mnist(read_ink(path))
    images = digit.view(1, 1, SIDE, SIDE).to(next(net.parameters()).device)
    return digit, net.eval()((images - MEAN) / STD).softmax(1)[0].cpu()


def read_ink(path: Path | str) -> Tensor:
    """How far each pixel is from the colour of the paper, 0 to 1: dark ink on light paper, or the other way round."""
    try:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} can't be read as an image ({error}): give a PNG or JPEG file") from None
    paper = Image.new("RGBA", image.size, "white")  # seen where the image is transparent
    pixels = pil_to_tensor(Image.alpha_composite(paper, image).convert("L"))[0].float()
    ink = (pixels - torch.cat([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).median()).abs()
    if ink.max() < 32:  # of 255
        raise InputError(f"{path} shows no digit: it should be dark on light, or light on dark")
    return ink / ink.max()


def as_mnist(ink: Tensor) -> Tensor:
    """The ink scaled into 20×20 by means over squares, its centre of mass in the middle of 28×28, as MNIST has it."""
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


def show_answer(digit: Tensor, probabilities: Tensor, dataset: str = MNIST) -> Picture:
    """A digit as the network sees it, and the probability of each of the ten."""
    sure = "above 99.9%" if probabilities.max() > 0.999 else f"{probabilities.max():.1%}"
    finding = f"Read as a {probabilities.argmax()}, with a probability of {sure}"
    picture, (seen, chances) = new_picture(finding, 2.8, dataset, ncols=2)
    seen.imshow(digit.numpy(), cmap="gray_r", vmin=0, vmax=1)
    seen.set(xticks=[], yticks=[], xlabel="as the network sees it")
    style(chances, "digit", "probability, %")
    chances.bar(range(10), (100 * probabilities).tolist(), color=BLUE)
    chances.set(xticks=range(10), ylim=(0, 100))
    return picture
