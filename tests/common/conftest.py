"""What takes long to make, made once."""

from pathlib import Path

import pytest
from torch import Tensor

from common.data import Source, read


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Tensor, ...]]:
    """A cache that the whole stand-in was drawn into, and its images and labels."""
    cache = tmp_path_factory.mktemp("rendered")
    return cache, read("rendered", Source(cache))[1]
