"""What runs the notebooks and tells of their runs: `python -m series`."""
