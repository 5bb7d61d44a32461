"""What whoever needs tokens may ask: continue prompts, or weigh options after them, in tokens.

PPO's rollouts and the local model ask this and no more, so tokens may as well come from elsewhere: from another engine
in this process, or from a server that holds the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from solon.nets import CausalLM, Tokenizer
from solon.records import Sampling, StopReason


@dataclass(frozen=True, slots=True)
class Generated:
    """One continuation in tokens.

    Attributes:
        token_ids: what was drawn, the end token included where there is one.
        logprobs: natural log-probability of each at temperature 1, among the tokens of the tokenizer.
        stop_reason: `end`, `stop` or `length`.
    """

    token_ids: list[int]
    logprobs: list[float]
    stop_reason: StopReason


def text_before_stop(text: str, stop: Sequence[str]) -> str:
    """Return what a continuation's text is before the first of the stop strings that ended it."""
    return text[: min(place for string in stop if (place := text.find(string)) >= 0)]


class TokenSampler(Protocol):
    """Continues prompts by a model whose weights may be trained meanwhile."""

    @property
    def context(self) -> int:
        """Tokens that prompt and continuation may have together."""

    def refresh(self) -> None:
        """Take up the model's weights; to be called when they have changed, since draws until then are from neither."""

    def sample(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], *, stop: Sequence[str] = ()
    ) -> list[Generated]:
        """Continue each prompt.

        What a row becomes depends on its prompt, its seed, the sampling and the weights; on its batch only by rounding.
        Token `t` of a row is drawn by number `t` of `sampling.draw_uniforms` for its seed.

        Args:
            prompts: token ids, each row with at least one.
            sampling: how tokens are drawn, for all rows.
            seeds: one per row.
            stop: strings whose appearance in a continuation's text ends it.

        Returns:
            Continuations in the order of the prompts.

        Raises:
            ModelError: a prompt is empty, leaves no room for `max_tokens` in the model's context, or has a token that
                the model has no row for.
            PromptingError: a stop string is empty.
        """


class ChoosingSampler(TokenSampler, Protocol):
    """Weighs options too."""

    def choose(self, prompts: Sequence[list[int]], options: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """Return the log-probability of each option's whole token sequence after its prompt.

        Args:
            prompts: token ids, each row with at least one.
            options: for each prompt, its options, each with at least one token.

        Returns:
            For each prompt, natural log-probabilities in the order of its options.

        Raises:
            ModelError: a prompt is empty, does not fit the model's context with its longest option, or has a token
                that the model has no row for.
        """


S_co = TypeVar("S_co", bound=TokenSampler, covariant=True)


class MakeSampler(Protocol[S_co]):
    """Puts a sampler over a model in memory: `Sampler` itself, or what takes its place."""

    def __call__(self, model: CausalLM, tokenizer: Tokenizer, *, batch_size: int) -> S_co:
        """Return a sampler that decodes so many rows together where it can."""
