"""Red-team and helpfulness prompts: read, split, selected, and evaluation prompts kept out of training."""

from solon.redteam.pools import PromptPool, load_prompts, pool_prompts, prompts_from_constitution
from solon.redteam.selecting import assign_split, refuse_evaluation_prompts, select_prompts
from solon.redteam.wording import normalize_text, prompt_key, split_key

__all__ = [
    "PromptPool",
    "assign_split",
    "load_prompts",
    "normalize_text",
    "pool_prompts",
    "prompt_key",
    "prompts_from_constitution",
    "refuse_evaluation_prompts",
    "select_prompts",
    "split_key",
]
