"""The weights of a trained network as plain numbers, beside the metrics of its run."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from common import InputError
from common.files import write_whole
from common.runs import metrics_path

SETTINGS = ("kernel_size", "stride", "padding", "dilation", "groups", "eps", "negative_slope")


def weights_path(folder: Path | str, stage: str, seed: int) -> Path:
    """Where the weights of a run lie."""
    return Path(folder) / "weights" / metrics_path("", stage, seed).relative_to("metrics")


def write_weights(folder: Path | str, run: dict, net: nn.Module) -> None:
    """Write the layers of the net that `run` has trained, a layer a line."""
    layers = ",\n".join(map(json.dumps, layers_of(net)))
    write_whole(weights_path(folder, run["stage"], run["seed"]), f"[\n{layers}\n]\n")


def layers_of(net: nn.Module) -> list[dict]:
    """What each layer is, how it is set, and its numbers, in the order of the network."""
    leaves = [(name, module) for name, module in net.named_modules() if not list(module.children())]
    return [
        {
            "name": name,
            "kind": type(module).__name__,
            **{setting: getattr(module, setting) for setting in SETTINGS if hasattr(module, setting)},
            "state": {key: numbers(tensor) for key, tensor in module.state_dict().items()},
        }
        for name, module in leaves
    ]


def numbers(tensor: Tensor) -> dict:
    """A tensor as its shape and its values, with the digits that tell one 32-bit number from the next."""
    values = tensor.detach().cpu().numpy().ravel()
    return {"shape": list(tensor.shape), "values": [json.loads(str(value)) for value in values]}


def read_layers(path: Path) -> list[dict]:
    """What `write_weights` wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}): run the stage again, or delete the file") from None


def restore(net: nn.Module, layers: list[dict]) -> nn.Module:
    """`net` with the weights of `layers`, ready to classify."""
    like = net.state_dict()
    state = {
        f"{layer['name']}.{key}": torch.tensor(numbers["values"]).view(numbers["shape"])
        for layer in layers
        for key, numbers in layer["state"].items()
    }
    if {key: tensor.shape for key, tensor in state.items()} != {key: tensor.shape for key, tensor in like.items()}:
        raise InputError("these are the weights of another network: run the stage again")
    net.load_state_dict(state)
    return net.eval()
