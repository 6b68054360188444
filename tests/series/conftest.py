"""A small series of notebooks to try the runner on."""

from pathlib import Path

import pytest
from fake_series import Series


@pytest.fixture
def series(tmp_path: Path) -> Series:
    """A series without notebooks yet, on a path as awkward as paths may be."""
    return Series(tmp_path / "a {series} é")


@pytest.fixture
def two(series: Series) -> Series:
    """One of two stages."""
    return series.add("01_first").add("02_second")
