"""What every test runs under: one torch thread, no network, before anything heavy is imported."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

try:
    import torch
except ImportError:  # the rooms that work without torch are tested without it too
    pass
else:
    torch.set_num_threads(1)
