"""Red-team and helpfulness prompts: read, split, selected, and evaluation prompts kept out of training."""

from solon.redteam.leaks import Leak, find_alike, find_leaks, keep_evaluation_out
from solon.redteam.normalize import prompt_key, split_key
from solon.redteam.pools import PromptPool, load_pools, load_prompts, pool_prompts, prompts_from_constitution
from solon.redteam.selecting import assign_split, refuse_evaluation_prompts, select_prompts

__all__ = [
    "Leak",
    "PromptPool",
    "assign_split",
    "find_alike",
    "find_leaks",
    "keep_evaluation_out",
    "load_pools",
    "load_prompts",
    "pool_prompts",
    "prompt_key",
    "prompts_from_constitution",
    "refuse_evaluation_prompts",
    "select_prompts",
    "split_key",
]
