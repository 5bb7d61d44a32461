"""What this package uses of a model and of a tokenizer, as far as it is the same for every family of transformers.

They are protocols, since transformers is not typed: a checkpoint takes its type where it is loaded, and a test holds
loaded models of several families to what is written here. What only a Llama-shaped model has stands where it is used,
in `inference.decoder`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
from torch import Tensor, nn

from solon.records import TemplateArgument

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine


class TextConfig(Protocol):
    """The part of a configuration that is about text."""

    model_type: str
    vocab_size: int
    pad_token_id: int | None


class ModelConfig(Protocol):
    """A checkpoint's `config.json`."""

    model_type: str
    pad_token_id: int | None
    _attn_implementation: str | None

    def get_text_config(self) -> TextConfig:
        """Return the part that is about text: all of it in a model of text alone."""


class CausalOutput(Protocol):
    """What a causal language model returns: logits of the token after each. Shape (B, T, V)."""

    logits: Tensor


class TrunkOutput(Protocol):
    """What a trunk returns: its last layer's output at each token. Shape (B, T, width)."""

    last_hidden_state: Tensor


class Trainable(Protocol):
    """A torch module, as optimizers and checkpoints need it: a model, or a head alone."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return its weights, tied ones once."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the same with their names."""

    def state_dict(self, *, keep_vars: bool) -> dict[str, Any]:
        """Return its weights and stored buffers by name."""

    def train(self) -> Self:
        """Switch dropout on."""

    def eval(self) -> Self:
        """Switch dropout off."""


class Network(Trainable, Protocol):
    """A model of transformers, whatever its head.

    Attributes:
        config: saved with it.
        device: where its weights are.
        dtype: what its weights are kept in.
        base_model: the trunk; takes `input_ids`, shape (B, T), and options of `forward`.
    """

    config: ModelConfig
    device: torch.device
    dtype: torch.dtype
    base_model: Callable[..., TrunkOutput]

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""

    def get_output_embeddings(self) -> nn.Linear | None:
        """Return the word head; None where there is none."""

    def to(self, target: torch.device | str | torch.dtype) -> Self:
        """Move its weights to a device, or convert them."""

    def get_buffer(self, target: str) -> Tensor:
        """Return what it holds beside weights, by name."""

    def requires_grad_(self, requires_grad: bool) -> Self:
        """Let its weights learn, or freeze them."""

    def save_pretrained(self, save_directory: str) -> None:
        """Write configuration and weights into a folder."""


class CausalLM(Network, Protocol):
    """A causal language model: policy, reference, whatever is sampled from.

    Attributes:
        generation_config: what `generate` does where it is told nothing.
    """

    generation_config: object

    def __call__(self, *, input_ids: Tensor, **options: Tensor | bool) -> CausalOutput:
        """Read tokens, shape (B, T); takes the options of `forward`."""

    def generate(self, inputs: Tensor, **options: object) -> object:
        """Continue prompts, shape (B, T), by transformers' own loop."""


class Scorer(Network, Protocol):
    """A sequence classifier with one label: preference model and value model.

    Attributes:
        score: the scalar head, read at any token.
    """

    score: nn.Linear


class Tokenizer(Protocol):
    """A fast tokenizer of transformers.

    Attributes:
        backend_tokenizer: its engine, of the tokenizers library.
        chat_template: how conversations are laid out, in Jinja; some have several, by name; None where it has none.
        init_kwargs: what is saved with it.
        vocab_files_names: what each of the files is called that its class reads a vocabulary from.
        model_max_length: tokens that its model takes; a huge number where nobody knows.
        name_or_path: what to call it.
        bos_token, bos_token_id: begins texts. These four are None where it has none.
        eos_token, eos_token_id: ends texts.
        pad_token, pad_token_id: fills up batches.
        unk_token, unk_token_id: stands for what the vocabulary lacks.
        all_special_tokens, all_special_ids: its control tokens.
    """

    backend_tokenizer: "Engine"
    chat_template: str | dict[str, str] | None
    init_kwargs: dict[str, Any]
    vocab_files_names: dict[str, str]
    model_max_length: int
    name_or_path: str
    bos_token: str | None
    bos_token_id: int | None
    eos_token: str | None
    eos_token_id: int | None
    pad_token: str | None
    pad_token_id: int | None
    unk_token: str | None
    unk_token_id: int | None
    all_special_tokens: list[str]
    all_special_ids: list[int]

    def __len__(self) -> int:
        """Return how many tokens there are, added ones included."""

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each token."""

    def convert_tokens_to_ids(self, tokens: str) -> int:
        """Return the id of a token."""

    def get_chat_template(self) -> str:
        """Return the template by which conversations are laid out."""

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, str]],
        chat_template: str,
        *,
        tokenize: bool,
        **options: TemplateArgument,
    ) -> str:
        """Write a conversation as a template lays it out."""

    def save_pretrained(self, save_directory: str) -> object:
        """Write all of it into a folder."""
