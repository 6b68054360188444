"""What the notebooks share: the public names, by the module that defines them."""

from importlib import import_module

MODULES = {
    "config": ("InputError", "begin"),
    "runs": ("recorded",),
    "data": ("Batches", "load_digits"),
    "augmentation": ("Augment",),
    "blocks": ("GlobalAveragePool", "conv_block"),
    "train": ("fit", "measure_scales", "predict"),
    "receptive_field": ("receptive_field_table",),
    "analysis": ("conclude",),
    "inference": ("classify_file", "restore", "save_weights", "show_answer"),
}
__all__ = [name for names in MODULES.values() for name in names]


def __getattr__(name: str):
    """A public name, imported when it is first used: not all that needs `common` needs torch."""
    for module, names in MODULES.items():
        if name in names:
            return getattr(import_module(f"common.{module}"), name)
    raise AttributeError(f"module 'common' has no attribute {name!r}")
