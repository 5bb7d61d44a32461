"""What every test runs under: one torch thread, no network, before anything heavy is imported; no bound on time."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

try:
    import torch
except ImportError:  # the rooms that work without torch are tested without it too
    pass
else:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of a few thousand weights as a checkpoint folder; not to be written to."""
    from tests.tiny import build_tiny_policy

    return build_tiny_policy(tmp_path_factory.mktemp("tiny") / "tiny")
