"""06_lr_scheduler.ipynb in one file: 99.4% on MNIST, and on one machine the same numbers."""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import SGD, swa_utils
from torch.optim.lr_scheduler import LambdaLR
from torchvision.datasets import MNIST

Data = tuple[Tensor, Tensor]  # images [N, 1, 28, 28] with pixels from 0 to 1, and labels [N]
BATCH_SIZE = 64


def conv_block(channels_in: int, channels_out: int, *pool: nn.Module) -> nn.Sequential:
    """A 3×3 convolution, then pooling (if any), batch norm and ReLU."""
    conv = nn.Conv2d(channels_in, channels_out, 3, bias=False)  # batch norm has a bias of its own
    return nn.Sequential(conv, *pool, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


class Net(nn.Sequential):  # 7,662 parameters: an image in, ten scores out
    def __init__(self) -> None:
        super().__init__(
            conv_block(1, 8),  # 28 → 26
            conv_block(8, 8, nn.MaxPool2d(2)),  # 26 → 24 → 12
            conv_block(8, 12),  # 12 → 10
            conv_block(12, 14),  # 10 → 8
            conv_block(14, 16),  # 8 → 6
            conv_block(16, 16),  # 6 → 4
            nn.Dropout(0.02),
            nn.AdaptiveAvgPool2d(1),  # global average pooling: 4 → 1
            nn.Flatten(),
            nn.Linear(16, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        return super().forward((images - 0.1307) / 0.3081)  # mean and std of the training pixels


def augment(images: Tensor, amounts: Tensor) -> Tensor:
    """Rotate, shift, scale and shear each image by its own row of amounts (degrees and pixels)."""
    rotation, shift_x, shift_y, scale, shear = amounts.T.view(5, -1, 1, 1)
    angle, slant = torch.deg2rad(rotation), torch.tan(torch.deg2rad(shear))
    cos, sin = torch.cos(angle) / (1 + scale), torch.sin(angle) / (1 + scale)
    x = (torch.arange(28, device=images.device) * 2 + 1) / 28 - 1  # pixel centres, from -1 to 1
    y = x.view(-1, 1)
    columns = cos * x + (cos * slant - sin) * y - shift_x * 2 / 28  # where to read each new pixel
    rows = sin * x + (sin * slant + cos) * y - shift_y * 2 / 28
    return F.grid_sample(images, torch.stack([columns, rows], dim=3), align_corners=False)


def train(net: Net, data: Data, optimizer: SGD, scheduler: LambdaLR, generator: Generator) -> float:
    """Train for one epoch, in a new order and with new augmentation; returns the mean loss."""
    net.train()
    (images, labels), losses = data, []
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    draws = torch.rand(len(labels), 7, generator=generator)[:, :5] * 2 - 1  # 7 as in the notebook
    amounts = (draws * torch.tensor([10, 1.5, 1.5, 0.12, 8])).to(labels.device)
    for batch, changes in zip(order.split(BATCH_SIZE), amounts.split(BATCH_SIZE), strict=True):
        loss = F.cross_entropy(net(augment(images[batch], changes)), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()  # after every batch, not every epoch
        losses.append(loss.detach() * len(batch))
    return torch.stack(losses).double().sum().item() / len(labels)


@torch.no_grad()
def evaluate(net: Net, data: Data) -> float:
    """The percentage of the images that the network gets right."""
    net.eval()
    guesses = torch.cat([net(images).argmax(1) for images in data[0].split(200)])
    return 100 * int((guesses == data[1]).sum()) / len(guesses)


def load(args: argparse.Namespace, train: bool) -> Data:
    """MNIST's training or test images, downloaded if they aren't there yet."""
    try:
        mnist = MNIST(args.data, train=train, download=True)
    except Exception as error:  # no network, no permission, damaged files
        why = " ".join(str(error).split())
        raise SystemExit(f"Can't load MNIST ({why}): unpack it in {args.data}/MNIST/raw") from None
    images, labels = mnist.data[: args.limit or None], mnist.targets[: args.limit or None]
    return images.to(args.device).unsqueeze(1).float() / 255, labels.to(args.device)


def main() -> tuple[Net, list[tuple[float, float]]]:
    """Train and print; returns the network, and each epoch's loss and test accuracy."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15, help="passes over the training images")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--data", default="data", metavar="FOLDER", help="where MNIST is, or goes")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="use N images; 0 is all")
    parser.add_argument("--device", choices=devices, default=devices[-1], help="where to train")
    args = parser.parse_args()
    if args.epochs < 1 or args.limit < 0 or not 0 <= args.seed < 2**63:
        parser.error("--epochs must be 1 or more, --limit and --seed 0 or more")
    train_data, test_data = load(args, train=True), load(args, train=False)

    torch.set_num_threads(1)  # the last digits of a sum depend on it
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(args.seed)  # weights and dropout
    generator = Generator().manual_seed(args.seed)  # order and augmentation
    net = Net().to(args.device, memory_format=torch.channels_last)  # which a CPU is faster with
    optimizer = SGD(net.parameters(), 0.2, momentum=0.9, nesterov=True, fused=True)
    steps = args.epochs * len(train_data[0].split(BATCH_SIZE))
    corners, rates = [0, 0.1, 0.7, 1], [0.05, 1, 0.04, 0]  # three straight lines, in shares of 0.2
    scheduler = LambdaLR(optimizer, lambda step: np.interp(step / steps, corners, rates))

    history = []
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        loss = train(net, train_data, optimizer, scheduler, generator)
        clean = train_data[0][: None if epoch > args.epochs - 5 else 10_000]  # all, where it counts
        with torch.random.fork_rng():  # update_bn runs dropout: keep its draws out of the training
            swa_utils.update_bn(clean.split(200), net)  # batch norm's statistics
        accuracy, seconds = evaluate(net, test_data), time.perf_counter() - start
        print(f"epoch {epoch:2}  loss {loss:.4f}  test accuracy {accuracy:.2f}%  {seconds:.1f} s")
        history.append((loss, accuracy))
    last = [accuracy for _, accuracy in history[-5:]]
    print("last five:", *(f"{x:.2f}" for x in last), "- all at least 99.40:", min(last) >= 99.4)
    return net, history


if __name__ == "__main__":
    main()
