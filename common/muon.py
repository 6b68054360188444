"""Muon (Keller Jordan and others, 2024), published for the hidden layers of large networks, here for a tiny one.

After https://kellerjordan.github.io/posts/muon/, but for a factor for the shape of a matrix, which is 1 for kernels
that have fewer rows than columns, as all have here.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum, whose steps of convolution kernels are made orthogonal; other weights step as usual.

    Plain steps are long along the few directions that most gradients share, and short along all others. An orthogonal
    one is as long along every direction, so those that few images ask for are learnt in the same time.
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
    """About the nearest matrix whose singular values are all 1, without computing a single one of them.

    Each round sends a singular value s to 3.4445 s - 4.775 s³ + 2.0315 s⁵: an iteration of Newton and Schulz's kind,
    with Muon's own coefficients, which were chosen to be fast. After five, one that was 0.002 to 1 lies between 0.65
    and 1.2; smaller ones have grown just as well, and nothing stays nothing.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T, rounds).T
    matrix = matrix / (matrix.norm() + 1e-7)  # no singular value is above the norm
    for _ in range(rounds):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (2.0315 * square @ square - 4.775 * square) @ matrix
    return matrix


def muon(net: nn.Module, learning_rate: float, kernels: float) -> Muon:
    """For a whole network: orthogonal steps at the rate `kernels`, and more momentum, for the convolutions' kernels."""
    weights = list(net.parameters())
    steady = {"lr": kernels, "momentum": 0.95, "orthogonal": True}
    return Muon(
        [
            {"params": [weight for weight in weights if weight.ndim == 4], **steady},
            {"params": [weight for weight in weights if weight.ndim != 4]},
        ],
        learning_rate,
        momentum=0.9,
    )
