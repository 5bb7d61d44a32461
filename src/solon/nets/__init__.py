"""Models as checkpoints and modules: policy, preference model, value model, tokenisation.

Everything is a plain Hugging Face folder with safetensors. What may enter a model as a control token is decided
here (`tokenizer`), and what a checkpoint may do to the process that loads it (`folder`): nothing.
"""

from solon.nets.checks import check_askable, check_device, check_numbers, check_trainable
from solon.nets.folder import weights_digest
from solon.nets.llama import is_llama_shaped
from solon.nets.policy import count_parameters, count_rows, load_policy, read_config, save_policy, stored_dtype
from solon.nets.protocols import CausalLM, Network, Scorer, Tokenizer, Trainable
from solon.nets.scorer import init_scorer_from_policy, load_scorer, save_scorer
from solon.nets.thoughts import Thoughts
from solon.nets.tokenizer import (
    begins_thought,
    decode_response,
    describe_template_kwargs,
    encode_continuations,
    encode_prompt,
    encode_text,
    end_token_id,
    find_thoughts,
    find_unused_kwargs,
    find_unwritten_opening,
    has_system_turn,
    load_tokenizer,
    set_template_kwargs,
)
from solon.nets.vocabulary import find_absent_rows, rule_out, vocabulary_digest

__all__ = [
    "CausalLM",
    "Network",
    "Scorer",
    "Thoughts",
    "Tokenizer",
    "Trainable",
    "begins_thought",
    "check_askable",
    "check_device",
    "check_numbers",
    "check_trainable",
    "count_parameters",
    "count_rows",
    "decode_response",
    "describe_template_kwargs",
    "encode_continuations",
    "encode_prompt",
    "encode_text",
    "end_token_id",
    "find_absent_rows",
    "find_thoughts",
    "find_unused_kwargs",
    "find_unwritten_opening",
    "has_system_turn",
    "init_scorer_from_policy",
    "is_llama_shaped",
    "load_policy",
    "load_scorer",
    "load_tokenizer",
    "read_config",
    "rule_out",
    "save_policy",
    "save_scorer",
    "set_template_kwargs",
    "stored_dtype",
    "vocabulary_digest",
    "weights_digest",
]
