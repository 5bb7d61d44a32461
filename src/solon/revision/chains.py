"""Stage 1, first half: response -> critique -> revision -> critique -> revision ...

A helpful-only model answers a prompt. In each round one principle is drawn, a critique of the response as it
stands is asked for, then a revision in the light of that critique; the revision takes the response's place and
the critique is dropped. Every draw has a seed of its own, so that one item depends on no other.

A text that is empty or was cut off by the token limit ends the chain: nothing is built on it, it is not kept
among the steps, and the chain says which round failed and why. So does a call that fails. The steps before it
stay and may be learnt from. Where the initial response itself fails there is no chain, only the failure. With
`cut_responses` an initial response that was cut off is revised up to its last whole sentence; a revision, which may
be learnt from, must have ended.

Departures from the paper (Bai et al. 2022, arXiv 2212.08073, sections 3.1 and 3.2):
1. One prompt has one chain; the paper does not say how many it sampled.
2. Few-shot exemplars come with the constitution, and there may be none: a model that was taught the dialogue of
   critique and revision does not need them. They may be chosen for each item. The paper used the same five throughout.
3. Principles are drawn by weighted hashing; with equal weights these are the paper's uniform draws.
4. Empty and truncated texts are left out and counted, or an initial response revised up to its last whole sentence;
   the paper does not mention them.

Leaves out: which revisions may be learnt from (`filters`); keeping a revision only if it is better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator

from solon.constitution import Constitution, Principle, RevisionExemplar, choose_exemplars, choose_principle
from solon.errors import CallFailedError, ConstitutionError, StageFailedError
from solon.lm import ItemResults, LanguageModel, OnProgress, check_failures, respond, run_items
from solon.prompting import render_critique, render_revision
from solon.records import (
    MAY_GROW,
    DrawConfig,
    Failure,
    Prompt,
    Rendered,
    RevisionChain,
    RevisionStep,
    Sample,
    TokenLimit,
)
from solon.revision.filters import FILTERS, FilterName
from solon.storage import content_digest, derive_seed

STAGE = "revision"


class RevisionConfig(DrawConfig):
    """How responses are revised and what is learnt from them; every text is drawn as `DrawConfig` says.

    Attributes:
        rounds: critiques and revisions of each response. Paper: 4.
        targets: `all` learns from every revision (the paper's section 3.1), `last` from the last round's only (its
            section 1.2).
        direct: True asks for revisions without critiques (the paper's section 3.5).
        helpful_samples: responses to each helpful prompt, mixed in. Paper: 2.
        max_tokens: limit of a response and of a revision. Paper: not stated.
        max_critique_tokens: limit of a critique. Paper: not stated.
        helpful_max_tokens: limit of a response to a helpful prompt; None is `max_tokens`. Paper: not stated.
        exemplars: how many of the constitution's worked critiques and revisions are shown first; None shows all.
            Paper: 5.
        exemplar_choice: `first` shows the first of them to all items; `unlike` chooses for each item among those that
            share no content word with its request. Paper: `first`.
        cut_responses: True revises an initial response that reached `max_tokens` up to the end of its last whole
            sentence, which is counted and never learnt, and learns a response to a helpful prompt that reached its
            limit as far as it goes, without an end. Paper: not stated.
        filters: names of rules that a revision has to pass to be learnt from, in any order; see `filters`. Paper: none.
    """

    rounds: int = Field(4, ge=1)
    targets: Literal["all", "last"] = "all"
    direct: bool = False
    helpful_samples: int = Field(2, ge=0)
    max_tokens: TokenLimit = 256
    max_critique_tokens: TokenLimit = 256
    helpful_max_tokens: Annotated[int | None, Field(ge=1), MAY_GROW] = None
    exemplars: int | None = Field(None, ge=0)
    exemplar_choice: Literal["first", "unlike"] = "first"
    cut_responses: bool = False
    filters: tuple[FilterName, ...] = ()

    @field_validator("filters")
    @classmethod
    def _in_their_order(cls, names: tuple[FilterName, ...]) -> tuple[FilterName, ...]:
        """Two orders of the same filters are one configuration."""
        if len(set(names)) < len(names):
            raise ValueError("must name each filter once")
        return tuple(name for name in FILTERS if name in names)


async def run_revision(
    prompts: Sequence[Prompt],
    *,
    assistant: LanguageModel,
    critic: LanguageModel,
    constitution: Constitution,
    config: RevisionConfig,
    seed: int,
    max_failure_fraction: float,
    on_progress: OnProgress | None = None,
) -> ItemResults[RevisionChain]:
    """Answer every prompt and revise the answers.

    Args:
        prompts: what is put to the assistant; red-team prompts, in the paper.
        assistant: the helpful-only model that answers.
        critic: writes critiques and revisions. Paper: the same model.
        constitution: where principles and exemplars come from.
        config: how it is done.
        seed: the run's seed.
        max_failure_fraction: share of the prompts that may come to nothing or lose a step to a failed call; steps
            lost to empty and truncated texts are counted, not bounded.
        on_progress: told how many prompts are done, of how many.

    Returns:
        A chain for each prompt, in their order; a `Failure` where there was no initial response to revise.

    Raises:
        ConstitutionError: no principle applies to one of the prompts' kinds; before any call.
        StageFailedError: more items failed than the bound allows.
    """
    for kind in sorted({prompt.kind for prompt in prompts}):
        if not constitution.critique_principles(kind):
            raise ConstitutionError(
                f"no principle with a critique_request applies to {kind} prompts: widen a principle's applies_to"
            )
    sampling = config.sampling(config.max_tokens)

    async def answer_and_revise(prompt: Prompt) -> RevisionChain | Failure:
        draw = derive_seed(seed, STAGE, prompt.id, "initial")
        initial = await respond(assistant, prompt.conversation, sampling, seed=draw, trim=config.cut_responses)
        if initial.fault is not None:
            return Failure.of_text(initial, "response", item=prompt.id, stage=STAGE)
        return await revise_response(
            prompt, initial, critic=critic, constitution=constitution, config=config, seed=seed
        )

    results = await run_items(
        prompts,
        answer_and_revise,
        key=lambda prompt: prompt.id,
        stage=STAGE,
        max_failure_fraction=max_failure_fraction,
        on_progress=on_progress,
    )
    _check_calls(results, max_failure_fraction)
    return results


async def revise_response(
    prompt: Prompt,
    initial: Sample,
    *,
    critic: LanguageModel,
    constitution: Constitution,
    config: RevisionConfig,
    seed: int,
) -> RevisionChain:
    """Revise one response in `config.rounds` rounds, or up to the one that fails.

    Args:
        prompt: what the response answers.
        initial: the response; need not have been drawn here.
        critic: writes critiques and revisions.
        constitution: where principles and exemplars come from.
        config: how it is done.
        seed: the run's seed.

    Raises:
        ConstitutionError: no principle applies to the prompt's kind.
    """
    principles = constitution.critique_principles(prompt.kind)
    rounds = _Rounds(critic, prompt, _exemplars_for(prompt, constitution, config, seed), config, seed)
    response = initial
    steps: list[RevisionStep] = []
    failure: Failure | None = None
    for number in range(1, config.rounds + 1):
        principle = choose_principle(principles, seed=seed, item=prompt.id, round=number)
        try:
            step = await rounds.take_step(response, principle, number)
        except _StepError as fault:
            failure = fault.failure
            break
        steps.append(step)
        response = step.revision  # the next round criticises this one; the critique is dropped
    return RevisionChain(
        id=content_digest(["chain", prompt.id, seed, constitution.digest], size=8),
        prompt_id=prompt.id,
        initial_response=initial,
        steps=tuple(steps),
        failure=failure,
    )


def _exemplars_for(
    prompt: Prompt, constitution: Constitution, config: RevisionConfig, seed: int
) -> tuple[RevisionExemplar, ...]:
    exemplars = constitution.revision_exemplars
    if config.exemplar_choice == "first":
        return exemplars[: config.exemplars]
    return choose_exemplars(exemplars, prompt.conversation, most=config.exemplars, seed=seed, item=prompt.id)


class _StepError(Exception):
    """A round came to nothing; raised and caught in this module only."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


@dataclass(frozen=True)
class _Rounds:
    """What the rounds of one chain have in common."""

    critic: LanguageModel
    prompt: Prompt
    exemplars: tuple[RevisionExemplar, ...]
    config: RevisionConfig
    seed: int

    async def take_step(self, response: Sample, principle: Principle, number: int) -> RevisionStep:
        """Criticise a response as it stands under a principle, and revise it in the light of that.

        Raises:
            _StepError: a call failed, or a text is neither built on nor learnt from.
        """
        asked = (self.prompt.conversation, response.text, principle)
        layout, exemplars = self.critic.layout, self.exemplars
        critique = None
        if not self.config.direct:
            request = render_critique(*asked, layout=layout, exemplars=exemplars)
            critique = await self._write("critique", request, self.config.max_critique_tokens, number)
        said = None if critique is None else critique.text
        request = render_revision(*asked, said, layout=layout, exemplars=exemplars)
        revision = await self._write("revision", request, self.config.max_tokens, number)
        return RevisionStep(principle_id=principle.id, critique=critique, revision=revision)

    async def _write(
        self, what: Literal["critique", "revision"], request: Rendered, max_tokens: int, number: int
    ) -> Sample:
        sampling = self.config.sampling(max_tokens)
        item, where = self.prompt.id, f"round {number}: "
        try:
            sample = await self.critic.generate(
                request, sampling, seed=derive_seed(self.seed, STAGE, item, what, number)
            )
        except CallFailedError as error:
            failure = Failure(item=item, stage=STAGE, reason="call_failed", detail=f"{where}{error}")
            raise _StepError(failure) from error
        if sample.fault is not None:
            raise _StepError(Failure.of_text(sample, what, item=item, stage=STAGE, where=where))
        return sample


def _check_calls(results: ItemResults[RevisionChain], bound: float) -> None:
    """Hold calls that failed in a round, which their chains survive, to the same bound as prompts without a chain."""
    broken = [chain.failure for chain in results.kept if chain.failure is not None]
    failed = [*results.failures, *(failure for failure in broken if failure.reason == "call_failed")]
    try:
        check_failures(failed, len(results.results), stage=STAGE, max_failure_fraction=bound)
    except StageFailedError as error:
        error.results = results.results
        raise
