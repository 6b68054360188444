"""Runs the notebooks and reports on their runs: `python -m series`."""
