"""Routes that put a question to the model in a template of their own and answer with the probabilities of the options.

They are asked only where log-probabilities of a first token are not to be had, since what the model reads is not what
was rendered: the rendered prompt is the state or input that the question is about. Their probabilities are among the
options and add up to 1. Where a server says beside them what share of everything the options have (vLLM and SGLang do),
they are of all that the model may say; elsewhere there is no mass. `confidence` means something else on every server
and is not read.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

from solon.errors import CallFailedError
from solon.lm.server.asking import Asked
from solon.lm.server.reading import ABOVE_ZERO, as_count, as_number, as_text, find_error, pick
from solon.lm.server.transport import Transport

_NAME: Final = "answer"
_ASKS: Final = "Which option does the text go on with?"

_ROUNDED: Final = 0.005
"""How far a probability is from one that was rounded to two decimals; so, the most that a 0 stands for."""


@dataclass(frozen=True)
class Weighed:
    """What a route says of options.

    Attributes:
        logprobs: of each option.
        has_mass: whether they are of all that the model may say.
        prompt_tokens: tokens read; None where they are not said.
        chosen: the option that the server says is likeliest; None where it does not say.
    """

    logprobs: tuple[float, ...]
    has_mass: bool
    prompt_tokens: int | None
    chosen: str | None = None


class QuestionDialect(ABC):
    """A route that answers questions.

    Attributes:
        name: what labels that were read so are marked with.
        path: the route.
    """

    name: ClassVar[str]
    path: ClassVar[str]

    async def weigh(self, transport: Transport, model: str, asked: Asked, options: tuple[str, ...]) -> Weighed:
        """Ask which option a prompt goes on with.

        Raises:
            ServerRefusedError: the server does not do this.
            CallFailedError: no answer came, or none that can be believed.
        """
        reply = await transport.post(self.path, self._request(model, asked, options))
        return self._parse(reply.body, options)

    @abstractmethod
    def _request(self, model: str, asked: Asked, options: tuple[str, ...]) -> dict[str, object]:
        """Return what is sent."""

    @abstractmethod
    def _parse(self, body: object, options: tuple[str, ...]) -> Weighed:
        """Return what an answer says, whatever it is.

        Raises:
            CallFailedError: it is no answer, refuses one, or says what cannot be.
        """


class SystemOne(QuestionDialect):
    """`/v1/systemone` of vLLM, SGLang, llama.cpp and transformers; asked for no more than all of them take."""

    name = "systemone"
    path = "systemone"

    def _request(self, model: str, asked: Asked, options: tuple[str, ...]) -> dict[str, object]:
        question = {"type": "choice", "instructions": _ASKS, "criteria": dict.fromkeys(options)}
        return {"model": model, "state": asked.wording, "questions": {_NAME: question}}

    def _parse(self, body: object, options: tuple[str, ...]) -> Weighed:
        answer = pick(body, "answers", _NAME)
        shares = [_as_share(pick(answer, "probabilities", option)) for option in options]
        found = _check_shares(shares, options, body)
        mass = _as_share(pick(body, "diagnostics", _NAME, "label_mass"))
        if mass is None:
            mass = _as_share(pick(answer, "x_label_mass"))
        if 0.0 in found or mass == 0.0:
            raise CallFailedError("the server gives an option a probability of 0: it is not known")
        logprobs = tuple(math.log(share) + (0.0 if mass is None else math.log(mass)) for share in found)
        tokens = as_count(pick(body, "usage", "input_tokens"))
        return Weighed(logprobs, mass is not None, tokens, as_text(pick(answer, "choice")))


class Decisions(QuestionDialect):
    """OpenAI's `/v1/decisions`, which may refuse, and rounds to two decimals: a 0 is read as the most it stands for."""

    name = "decisions"
    path = "decisions"

    def _request(self, model: str, asked: Asked, options: tuple[str, ...]) -> dict[str, object]:
        choices = [{"value": option} for option in options]
        question = {"type": "choice", "name": _NAME, "instructions": _ASKS, "choices": choices}
        return {"model": model, "input": asked.wording, "questions": [question]}

    def _parse(self, body: object, options: tuple[str, ...]) -> Weighed:
        answer = pick(body, "answers", 0)
        if pick(answer, "type") == "refusal":
            raise CallFailedError("refusal: the server declined to answer this question")
        listed = pick(answer, "probabilities")
        shares: dict[str, float | None] = {}
        for item in listed if isinstance(listed, list) else ():
            if isinstance(value := pick(item, "value"), str):  # a boolean is not its text
                shares[value] = _as_share(pick(item, "probability"))
        found = _check_shares([shares.get(option) for option in options], options, body)
        shares_at_most = [max(share, _ROUNDED) for share in found]
        logprobs = tuple(math.log(share / math.fsum(shares_at_most)) for share in shares_at_most)
        tokens = as_count(pick(body, "usage", "input_tokens"))
        return Weighed(logprobs, False, tokens, as_text(pick(answer, "choice")))


def _as_share(value: object) -> float | None:
    """Return a probability; None for what is none."""
    number = as_number(value)
    return None if number is None or not 0.0 <= number <= 1.0 + ABOVE_ZERO else min(number, 1.0)


def _check_shares(shares: list[float | None], options: tuple[str, ...], body: object) -> list[float]:
    """Return probabilities that are all there and add up to 1.

    Raises:
        CallFailedError: they are not.
    """
    known = [share for share in shares if share is not None]
    if len(known) < len(options):
        said = find_error(body)
        missing = ", ".join(repr(option) for option, share in zip(options, shares, strict=True) if share is None)
        raise CallFailedError(f"the server gives no probability of {missing}{f': {said}' if said else ''}")
    if abs(math.fsum(known) - 1.0) > _ROUNDED * len(options) + ABOVE_ZERO:
        raise CallFailedError(f"the server gives probabilities that add up to {math.fsum(known):g}, not to 1")
    return known
