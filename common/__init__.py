"""What the six notebooks share: data, training loops, receptive fields, plots, reports and the runner."""


class InputError(ValueError):
    """Something the user can mend; its message is one line: what is wrong, and what to do."""
