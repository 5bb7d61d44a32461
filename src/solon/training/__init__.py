"""The loops: supervised fine-tuning, the preference model, PPO. Records and checkpoint folders in, a folder out.

Each loop is called once and, after an interruption, once more in the same way: it then carries on from its last
checkpoint and ends, on a CPU, with the same bytes.
"""

from solon.training.ppo import PPOConfig, PPOSummary, run_ppo
from solon.training.preference_model import PMSummary, PreferenceModelConfig, run_preference_model
from solon.training.sft import SFTConfig, SFTSummary, run_sft

__all__ = [
    "PMSummary",
    "PPOConfig",
    "PPOSummary",
    "PreferenceModelConfig",
    "SFTConfig",
    "SFTSummary",
    "run_ppo",
    "run_preference_model",
    "run_sft",
]
