"""The building blocks of every step's network."""

from torch import Tensor, nn


class GlobalAveragePool(nn.Module):
    """The mean over each map: one number a channel."""

    def forward(self, maps: Tensor) -> Tensor:
        """[batch, channels, height, width] in, [batch, channels] out."""
        return maps.mean((2, 3))


def conv_block(
    channels_in: int, channels_out: int, norm: bool = True, dropout: float = 0.0, pool: bool = False, padding: int = 0
) -> nn.Sequential:
    """A 3×3 convolution; if asked for, 2×2 max-pooling and batch norm; ReLU; if asked for, dropout."""
    layers: list[nn.Module] = [nn.Conv2d(channels_in, channels_out, 3, padding=padding, bias=not norm)]
    if pool:  # before norm and ReLU, which then have a quarter of the pixels to do
        layers.append(nn.MaxPool2d(2))
    if norm:  # its shift replaces the bias of the convolution
        layers.append(nn.BatchNorm2d(channels_out))
    layers.append(nn.ReLU(inplace=True))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)
