"""A sampler of a few lines: every token by a forward pass over the whole row, each row alone, by the same uniforms.

As an engine elsewhere would, it has a copy of the weights, as they were when it was last told to take them up.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from solon.inference import Generated
from solon.inference.sampling import draw_tokens, draw_uniforms
from solon.nets import decode_response, end_token_id
from solon.records import Sampling, StopReason


class PlainSampler:
    """A `ChoosingSampler` over a model whose tokenizer has a token for each of its rows."""

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int) -> None:
        self._given, self._tokenizer = model, tokenizer
        self.drawn: list[list[Generated]] = []
        self.refresh()

    @property
    def context(self) -> int:
        return int(self._given.config.max_position_embeddings)

    def refresh(self) -> None:
        self._model = copy.deepcopy(self._given)

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], *, stop: Sequence[str] = ()
    ) -> list[Generated]:
        uniforms = torch.from_numpy(draw_uniforms(seeds, sampling.max_tokens))
        self.drawn.append([self._continue(*row, sampling, stop) for row in zip(prompts, uniforms, strict=True)])
        return self.drawn[-1]

    @torch.no_grad()
    def choose(self, prompts: Sequence[list[int]], options: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        return [[self._weigh(prompt, ids) for ids in row] for prompt, row in zip(prompts, options, strict=True)]

    def _continue(
        self, prompt: list[int], uniforms: torch.Tensor, sampling: Sampling, stop: Sequence[str]
    ) -> Generated:
        ids: list[int] = []
        logprobs: list[float] = []
        reason: StopReason = "length"
        for uniform in uniforms:
            logits = self._model(torch.tensor([[*prompt, *ids]])).logits[:, -1].float()
            token, logprob = draw_tokens(logits, uniform[None], sampling)
            ids.append(int(token))
            logprobs.append(float(logprob))
            if ids[-1] in (end_token_id(self._tokenizer), self._tokenizer.eos_token_id):
                reason = "end"
            elif any(one in decode_response(self._tokenizer, ids) for one in stop):
                reason = "stop"
            if reason != "length":
                break
        return Generated(ids, logprobs, reason)

    def _weigh(self, prompt: list[int], option: list[int]) -> float:
        logprobs = self._model(torch.tensor([[*prompt, *option]])).logits[0].double().log_softmax(-1)
        return float(logprobs[range(len(prompt) - 1, len(prompt) + len(option) - 1), option].sum())
