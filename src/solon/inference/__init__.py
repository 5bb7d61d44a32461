"""Drawing tokens from a model in memory: whoever needs continuations, a stage or PPO's rollouts, asks a `TokenSampler`.

What is behind `Sampler`, the one here, is this room's own affair. `sampler` continues prompts and weighs options, batch
by batch. A Llama-shaped model runs through our own forward pass (`decoder`) over a growing `cache`, beginnings that
prompts share read once (`prefix_sharing`); any other runs through transformers (`fallback`). `sampling` turns logits
and seeds into tokens.
"""

from solon.inference.protocol import ChoosingSampler, Generated, MakeSampler, TokenSampler, text_before_stop
from solon.inference.sampler import Sampler, read_context

__all__ = [
    "ChoosingSampler",
    "Generated",
    "MakeSampler",
    "Sampler",
    "TokenSampler",
    "read_context",
    "text_before_stop",
]
