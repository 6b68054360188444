"""Fixtures of the tests that lie beside this file."""

from helpers import folder, network, recorded, report  # noqa: F401
