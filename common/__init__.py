"""What the six notebooks share: data, training loops, receptive fields, plots, reports and the runner."""

# Where the series is published. Links and notebooks take it from here: change it, then run ./run_all.sh --rewrite
REPOSITORY = "https://github.com/your-account/mnist-six-steps"


class InputError(ValueError):
    """Something the user can mend; its message is one line: what is wrong, and what to do."""
