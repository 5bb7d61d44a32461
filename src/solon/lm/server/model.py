"""A model behind a server, as a `LanguageModel`: each call goes out by the route and the dialect that the probe found.

With token ids an option is weighed as in this process: as a whole, token after token, each at the first position that
the server generates after the prompt and the tokens before. Without them its probability is that of a first token that
spells it, by the rule of `solon.lm.spelling`: spellings that the server does not list count nothing, so that the sum is
a lower bound, and an option without any that is listed leaves the call without a result.

Where a server gives no log-probabilities, answers are drawn and counted. With n of k draws for one of K options and all
else as one more outcome its probability is taken to be (n + 1/2) / (k + (K + 1)/2), the estimate of Krichevsky and
Trofimov, which is never 0 or 1.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence

from solon.errors import CallFailedError, ModelError, PromptingError, ServerRefusedError
from solon.lm.server.asking import Asked, Tokens
from solon.lm.server.dialects import Dialect, Key, Position
from solon.lm.server.findings import VOTES, Findings
from solon.lm.server.generating import Writing, path_of, read_text, request_text
from solon.lm.server.label_probe import BY_CHAT, BY_ID, BY_TEXT, QUESTIONS
from solon.lm.server.questions import QuestionDialect
from solon.lm.server.reading import find_doubt
from solon.lm.server.routing import ask, word
from solon.lm.server.settings import ServerSettings
from solon.lm.server.transport import Reply, Transport
from solon.lm.spelling import check_apart, spell, spell_distinct
from solon.records import Choice, Layout, Rendered, Sample, Sampling, TemplateArgument
from solon.storage import content_digest, derive_seed

_DIALECTS: Mapping[str, type[Dialect]] = {kind.name: kind for kind in (*BY_ID, *BY_TEXT, *BY_CHAT)}
_QUESTIONS: Mapping[str, type[QuestionDialect]] = {kind.name: kind for kind in QUESTIONS}

_ITEM_STATUSES = (400, 413, 422)
"""Statuses by which a server refuses one prompt, such as one that is too long."""


class ServerModel:
    """A served model.

    Args:
        transport: to the server.
        findings: what the probe found.
        settings: how it is asked.
        tokens: its tokenizer, if that is at hand.
        template_kwargs: what its chat template is told beside the conversation.

    Attributes:
        findings: what the probe found.
        escaped: control strings in texts from outside that were broken so far.
    """

    def __init__(
        self,
        transport: Transport,
        findings: Findings,
        settings: ServerSettings | None = None,
        *,
        tokens: Tokens | None = None,
        template_kwargs: Mapping[str, TemplateArgument] | None = None,
    ) -> None:
        self.findings = findings
        self.escaped = 0
        self._transport = transport
        self._settings = settings or ServerSettings()
        self._tokens = tokens
        self._kwargs = dict(template_kwargs or {})
        told = f", told {content_digest(self._kwargs, size=8)}" if self._kwargs else ""
        self._identity = findings.identity + told

    @property
    def identity(self) -> str:
        """Name of the model and what was found about it, and not where the server is."""
        return self._identity

    @property
    def layout(self) -> Layout:
        """How its prompts are laid out."""
        return self.findings.layout

    @property
    def limit_only_cuts(self) -> bool:
        """False: a server promises nothing about draws under another limit."""
        return False

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Continue a prompt; see `LanguageModel.generate`."""
        asked = self._ask(prompt)
        self._check_room(asked, sampling.max_tokens)
        writing = Writing(prompt, asked, sampling, seed)
        reply = await self._post(path_of(self.findings), request_text(self.findings, writing))
        try:
            sample = read_text(self.findings, writing, reply.body, self._tokens)
        except CallFailedError as error:
            raise self._failed(error) from error
        return sample.model_copy(update={"model": self._identity})

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Weigh options after a prompt by the dialect that was found; see `LanguageModel.choose`.

        Raises:
            ModelError: the probe found no way to read labels from this server that could be believed.
        """
        name = self.findings.dialect
        try:
            if name in _QUESTIONS:
                return await self._put_question(_QUESTIONS[name](), prompt, options)
            if name in _DIALECTS:
                dialect = _DIALECTS[name](self.findings.limit)
                by = self._weigh_ids if dialect.keys == "ids" else self._weigh_texts
                return await by(dialect, prompt, options)
            if name == VOTES:
                return await self._draw_votes(prompt, options)
        except CallFailedError as error:
            raise self._failed(error) from error
        except ServerRefusedError as error:
            raise self._of_item(error) from error
        raise ModelError(f"{self._identity}: {self.findings.describe_lack()}")

    def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the spellings of each option that are weighed apart; see `SpellingModel`.

        Without token ids they are summed where an option is weighed, and each option stands for all of its own.
        """
        dialect, tokens = _DIALECTS.get(self.findings.dialect), self._tokens
        if dialect is None or dialect.keys == "texts" or tokens is None:
            return tuple((option,) for option in options)
        return spell_distinct(options, lambda texts: tokens.options(prompt, texts)[1])

    def count_requests(self, options: tuple[str, ...]) -> int:
        """Return how many requests weighing options takes at most: a draw each, or one for each of their tokens."""
        dialect = self.findings.dialect
        if dialect == VOTES:
            return self._settings.votes
        by_id = dialect in _DIALECTS and _DIALECTS[dialect].keys == "ids"
        return sum(len(option.encode()) for option in options) if by_id else 1

    # ----------------------------------------------------------------------------------- labels

    async def _weigh_ids(self, dialect: Dialect, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Weigh options as a whole: the probability of each token after the prompt and the tokens before it."""
        if self._tokens is None:
            raise ModelError(f"{self._identity}: the dialect {dialect.name} needs server.tokenizer")
        ids, encoded = self._tokens.options(prompt, options)
        check_apart(options, encoded, model=self._identity)
        base = Asked(ids=tuple(ids))
        self._check_room(base, max(map(len, encoded)))
        wanted: dict[tuple[int, ...], list[Key]] = {}
        for option in encoded:
            for place, token in enumerate(option):
                following = wanted.setdefault(tuple(option[:place]), [])
                if token not in following:
                    following.append(token)
        reads = [
            dialect.read(self._transport, self.findings.model, base.then(before), keys)
            for before, keys in wanted.items()
        ]
        positions = dict(zip(wanted, await asyncio.gather(*reads), strict=True))
        logprobs = []
        for text, tokens in zip(options, encoded, strict=True):
            steps = [positions[tuple(tokens[:place])].logprobs.get(token) for place, token in enumerate(tokens)]
            known = [step for step in steps if step is not None]
            if len(known) < len(steps):
                raise CallFailedError(_describe_missing(text, positions[()]))
            logprobs.append(math.fsum(known))
        return self._choice(options, logprobs, dialect.name, len(ids))

    async def _weigh_texts(self, dialect: Dialect, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Weigh options by the text of their first token."""
        spellings = self._spell_apart(options)
        asked = self._ask(prompt)
        wanted: list[Key] = [text for texts in spellings for text in texts]
        position = await dialect.read(self._transport, self.findings.model, asked, wanted)
        logprobs = []
        for option, texts in zip(options, spellings, strict=True):
            known = [math.exp(position.logprobs[text]) for text in texts if text in position.logprobs]
            if not known or math.fsum(known) == 0.0:
                raise CallFailedError(_describe_missing(option, position))
            logprobs.append(math.log(math.fsum(known)))
        return self._choice(options, logprobs, dialect.name, position.prompt_tokens)

    async def _put_question(self, dialect: QuestionDialect, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        asked = word(prompt, self._tokens)
        self.escaped += asked.escaped
        weighed = await dialect.weigh(self._transport, self.findings.model, asked, options)
        return self._choice(
            options, list(weighed.logprobs), dialect.name, weighed.prompt_tokens, has_mass=weighed.has_mass
        )

    async def _draw_votes(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Draw one-token answers and count them."""
        spellings = self._spell_apart(options)
        asked, draws = self._ask(prompt), self._settings.votes
        self._check_room(asked, 1)
        prompt = prompt.model_copy(update={"stop": ()})
        name = content_digest([prompt.model_dump(mode="json"), options])
        answers = await asyncio.gather(*(self._draw(prompt, asked, derive_seed(name, place)) for place in range(draws)))
        counts = [sum(answer.text in texts for answer in answers) for texts in spellings]
        if not any(counts):
            raise CallFailedError(f"of {draws} answers that were drawn none begins with {_list(options)}")
        outcomes = len(options) + 1
        logprobs = [math.log((count + 0.5) / (draws + outcomes / 2)) for count in counts]
        return self._choice(options, logprobs, VOTES, answers[0].prompt_tokens, draws=draws)

    async def _draw(self, prompt: Rendered, asked: Asked, seed: int) -> Sample:
        writing = Writing(prompt, asked, Sampling(temperature=1.0, max_tokens=1), seed)
        reply = await self._transport.post(path_of(self.findings), request_text(self.findings, writing))
        return read_text(self.findings, writing, reply.body, self._tokens)

    def _choice(
        self,
        options: tuple[str, ...],
        logprobs: Sequence[float],
        dialect: str,
        prompt_tokens: int | None,
        *,
        has_mass: bool = True,
        draws: int | None = None,
    ) -> Choice:
        if (doubt := find_doubt(logprobs)) is not None:
            raise CallFailedError(doubt)
        return Choice(
            options=options,
            logprobs=tuple(min(value, 0.0) for value in logprobs),
            model=self._identity,
            prompt_tokens=prompt_tokens or 0,
            has_mass=has_mass,
            dialect=dialect,
            draws=draws,
        )

    def _spell_apart(self, options: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return the texts that each option may be spelled as, none of which is also another option's.

        Raises:
            PromptingError: one option begins another, so that its first token tells neither.
        """
        for number, option in enumerate(options):
            others = (*options[:number], *options[number + 1 :])
            if not option.strip() or any(other.startswith(option) for other in others):
                raise PromptingError(
                    f"options {options!r}: option {number} is empty or the beginning of another, so the two cannot be "
                    f"told apart by {self._identity}: word them differently"
                )
        spelled = [spell(option) for option in options]
        kept = []
        for number, option in enumerate(options):
            foreign = {text for other in (*spelled[:number], *spelled[number + 1 :]) for text in other}
            kept.append(tuple(text for text in spelled[number] if text == option or text not in foreign))
        return kept

    # ----------------------------------------------------------------------------------- asking

    def _ask(self, prompt: Rendered) -> Asked:
        try:
            asked = ask(self.findings, prompt, self._tokens, self._kwargs)
        except CallFailedError as error:
            raise self._failed(error) from error
        self.escaped += asked.escaped
        return asked

    def _check_room(self, asked: Asked, more: int) -> None:
        context = self.findings.context
        if asked.ids is not None and context is not None and len(asked.ids) + more > context:
            raise CallFailedError(
                f"{self._identity}: the prompt has {len(asked.ids)} tokens and {more} may follow, the model takes "
                f"{context}: shorten the prompt or max_tokens"
            )

    async def _post(self, path: str, body: Mapping[str, object]) -> Reply:
        try:
            return await self._transport.post(path, body)
        except ServerRefusedError as error:
            raise self._of_item(error) from error

    def _of_item(self, error: ServerRefusedError) -> ModelError:
        """Return the failure of a call whose prompt was refused; the error itself where all would be."""
        return self._failed(error) if error.status in _ITEM_STATUSES else error

    def _failed(self, error: ModelError) -> CallFailedError:
        return CallFailedError(f"{self._identity}: {error}")


def _describe_missing(option: str, position: Position) -> str:
    return (
        f"option {option!r} is not among the {len(position.logprobs)} tokens whose log-probabilities the server gives, "
        "so that its probability is not known: give server.tokenizer where the server takes token ids, or serve the "
        "model with more of them"
    )


def _list(options: tuple[str, ...]) -> str:
    return " or ".join(map(repr, options))
