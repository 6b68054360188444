"""Muon (https://kellerjordan.github.io/posts/muon/), an optimizer for large networks, here on a tiny one.

Left out is its factor for the shape of a matrix: it is 1 for kernels with no more rows than columns, as most have here.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum, whose steps are made orthogonal in groups that have `orthogonal` set.

    A plain step is long along the few directions that most gradients share. An orthogonal one is as long along every
    direction, so what only few images ask for is learnt in the same time.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "orthogonal": False})

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["velocity"] = torch.zeros_like(weight)
                velocity = state["velocity"].mul_(group["momentum"]).add_(weight.grad)
                step = weight.grad + group["momentum"] * velocity
                if group["orthogonal"]:
                    step = orthogonal(step.flatten(1)).view_as(step)
                weight.add_(step, alpha=-group["lr"])


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """About the nearest matrix whose singular values are all 1, by a Newton-Schulz iteration.

    Each round maps a singular value s to 3.4445 s - 4.775 s³ + 2.0315 s⁵, Muon's coefficients. After five, one that was
    0.002 to 1 lies between 0.65 and 1.2.
    """
    if matrix.shape[0] > matrix.shape[1]:  # the other square is smaller
        return orthogonal(matrix.T, rounds).T
    matrix = matrix / (matrix.norm() + 1e-7)  # no singular value is above the norm
    for _ in range(rounds):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (2.0315 * square @ square - 4.775 * square) @ matrix
    return matrix


def muon(net: nn.Module, learning_rate: float, kernel_rate: float) -> Muon:
    """Muon at `kernel_rate` for kernels that mix channels, SGD at `learning_rate` for all other weights."""
    weights = list(net.parameters())
    mixing = {layer.weight for layer in net.modules() if isinstance(layer, nn.Conv2d) and layer.groups == 1}
    kernels = {"params": [w for w in weights if w in mixing], "lr": kernel_rate, "momentum": 0.95, "orthogonal": True}
    others = {"params": [w for w in weights if w not in mixing]}
    return Muon([kernels, others], learning_rate, momentum=0.9)
