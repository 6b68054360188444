"""How large the values and the gradients of a network are, layer by layer, before any training."""

from copy import deepcopy

from torch import Tensor, nn
from torch.nn import functional as F


def measure_scales(net: nn.Sequential, images: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """The spread of the values behind each block, and the size of the gradient of each convolution's weights.

    In training mode, as the first step sees it, and on a copy: batch norm's running statistics stay as they were.
    """
    copy, values, spreads = deepcopy(net).train(), images, []
    for block in copy:
        values = block(values)
        if isinstance(block, nn.Sequential):
            spreads.append(values.std().item())
    F.cross_entropy(values, labels).backward()
    convolutions = [layer for layer in copy.modules() if isinstance(layer, nn.Conv2d)]
    gradients = [layer.weight.grad.norm().item() for layer in convolutions[: len(spreads)]]
    return {"values": spreads, "gradients": gradients}
