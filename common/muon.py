"""An optimizer for networks that have few parameters and few epochs: every step of a kernel is made orthogonal."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum, whose steps of convolution kernels are made orthogonal; other weights step as usual.

    Plain steps are long along the few directions that most gradients share, and short along all others. An orthogonal
    one is as long along every direction, so those that few images ask for are learnt in the same time.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in filter(lambda weight: weight.grad is not None, group["params"]):
                state = self.state[weight]
                velocity = state.setdefault("velocity", torch.zeros_like(weight))
                velocity.mul_(group["momentum"]).add_(weight.grad)
                step = weight.grad + group["momentum"] * velocity
                if weight.ndim == 4:
                    step = orthogonal(step.flatten(1)).view_as(step)
                weight.add_(step, alpha=-group["lr"])


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """About the nearest matrix whose singular values are all 1, without computing a single one of them.

    Each round sends a singular value s to 3.4445 s - 4.775 s³ + 2.0315 s⁵ (the published coefficients of Newton and
    Schulz's iteration, chosen to be fast): whatever s is at first, up to 1, it ends between about 0.7 and 1.2.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T, rounds).T
    matrix = matrix / (matrix.norm() + 1e-7)  # no singular value is above the norm
    for _ in range(rounds):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (2.0315 * square @ square - 4.775 * square) @ matrix
    return matrix


def muon(net: nn.Module, learning_rate: float, kernels: float) -> Muon:
    """For a whole network: its kernels move at the rate `kernels`, all else at `learning_rate`."""
    weights = list(net.parameters())
    return Muon(
        [
            {"params": [weight for weight in weights if weight.ndim == 4], "lr": kernels, "momentum": 0.95},
            {"params": [weight for weight in weights if weight.ndim != 4]},
        ],
        learning_rate,
    )
