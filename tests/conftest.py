"""No progress bars, one thread, and property tests that draw the same examples on every
run.
"""

import os

os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("book", deadline=None, derandomize=True, database=None)
settings.load_profile("book")
