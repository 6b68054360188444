"""What all tests have in common."""

import torch

torch.set_num_threads(1)  # as runs have: threads that share a core wait for each other
