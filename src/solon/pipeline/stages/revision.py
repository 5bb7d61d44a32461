"""Stage 1, the data: responses, critiques and revisions, and what SL-CAI learns from them.

Departure from the paper (Bai et al. 2022, arXiv 2212.08073, section 3): the base model is assistant, critic and start
of fine-tuning in one, where the paper had a helpful-only RLHF model for the first two and a pre-trained one for the
last. Another critic can be named.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

from solon.constitution import Principle
from solon.lm import run_parts
from solon.pipeline.artifacts import ASSISTANT, CONSTITUTION, CRITIC, TEMPLATES, Records
from solon.pipeline.context import StageContext
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.requests import LEAST, Known, Pool, Request
from solon.pipeline.stages.prompts import REVISION_PROMPTS
from solon.prompting import LayoutLike, render_critique, render_response, render_revision
from solon.records import (
    Conversation,
    Failure,
    FilteredRevision,
    HelpfulSample,
    PromptKind,
    Rendered,
    RevisionChain,
    SFTExample,
    count_reasons,
    filter_reason,
)
from solon.revision import (
    FILTERS,
    count_revision_targets,
    filter_revisions,
    revision_metrics,
    run_revision,
    sample_helpful,
    sft_targets,
)

CHAINS = Records("revision_chains", RevisionChain)
HELPFUL_SAMPLES = Records("helpful_samples", HelpfulSample)
SFT_EXAMPLES = Records("sft_examples", SFTExample)
FILTERED = Records("filtered_revisions", FilteredRevision)
FAILURES = Records("failures_revision", Failure, named_by="item")


def revise(context: StageContext) -> Outcome:
    """Answer, criticise and revise red-team prompts; answer helpful ones; choose what SFT learns from."""
    prompts = context.read(REVISION_PROMPTS)
    config, fraction = context.config.revision, context.config.max_failure_fraction

    async def work() -> Any:
        chains = run_revision(
            [p for p in prompts if p.kind == "red_team"],
            assistant=context.model(ASSISTANT),
            critic=context.model(CRITIC),
            constitution=context.constitution,
            config=config,
            seed=context.seed,
            max_failure_fraction=fraction,
            on_progress=context.progress("chains"),
        )
        helpful = sample_helpful(
            [p for p in prompts if p.kind == "helpful"],
            assistant=context.model(ASSISTANT),
            config=config,
            seed=context.seed,
            max_failure_fraction=fraction,
            on_progress=context.progress("helpful answers"),
        )
        return await run_parts(context.collect(chains), context.collect(helpful))

    chains, helpful = asyncio.run(work())
    broken = [chain.failure for chain in chains.kept if chain.failure is not None]
    filtered = filter_revisions(chains.kept, prompts, context.constitution, config)
    context.keep(filtered)
    examples = sft_targets(
        chains.kept,
        helpful.kept,
        prompts,
        config,
        filtered=filtered,
        written_in=context.model(CRITIC).layout,
        learnt_in=context.layout,
    )
    if filtered:  # helpful samples alone would make a model that has learnt nothing of the constitution
        revised = [example for example in examples if example.source == "revision"]
        context.require(revised, "no revision passed the filters", because=filtered)
    context.require(examples, "no response could be revised and none sampled")
    counts = Counter(count_revision_targets(chains, config, filtered=filtered))
    counts.update({"in": len(helpful.results), "kept": len(helpful.kept), **count_reasons(helpful.failures)})
    failures = [*chains.failures, *broken, *helpful.failures]
    context.write(
        {
            CHAINS: chains.kept,
            HELPFUL_SAMPLES: helpful.kept,
            SFT_EXAMPLES: examples,
            FILTERED: filtered,
            FAILURES: failures,
        }
    )
    return Outcome(counts=dict(counts), failures=count_reasons(failures), metrics=revision_metrics(chains.kept))


def foresee(known: Known) -> Iterator[Request]:
    """Say what is asked: responses, and critiques and revisions of those to red-team prompts."""
    prompts, config = known.prompts.pools["revision"], known.config.revision
    answered, limit = Pool.of(prompts, "red_team"), "revision.max_tokens"
    yield Request(ASSISTANT, "a response", answered, render_response, limit=limit, fixed=True)
    if config.helpful_samples:
        own_limit = limit if config.helpful_max_tokens is None else "revision.helpful_max_tokens"
        asked, calls = Pool.of(prompts, "helpful"), config.helpful_samples
        yield Request(ASSISTANT, "a response", asked, render_response, limit=own_limit, calls=calls, fixed=True)
    yield from foresee_revisions(known, answered, "red_team")


def foresee_revisions(known: Known, pool: Pool, kind: PromptKind) -> Iterator[Request]:
    """Say what is asked of the critic about responses to conversations of one kind."""
    principles = known.constitution.critique_principles(kind)
    for principle in principles:
        yield from _foresee_step(known, pool, principle, known.config.revision.rounds / len(principles))


def _foresee_step(known: Known, pool: Pool, principle: Principle, calls: float) -> Iterator[Request]:
    config = known.config.revision
    # Which are chosen for an item is not known, and there may be none.
    shown = config.exemplars if config.exemplar_choice == "first" else 0
    exemplars = known.constitution.revision_exemplars[:shown]
    remedy = "shorten the principle or its longest prompts"
    if exemplars:
        remedy += ", or show fewer exemplars with  --set revision.exemplars=N"

    def render_first(asked: Conversation, layout: LayoutLike) -> Rendered:
        return render_critique(asked, LEAST, principle, layout=layout, exemplars=exemplars)

    def render_second(asked: Conversation, layout: LayoutLike) -> Rendered:
        critique = None if config.direct else LEAST
        return render_revision(asked, LEAST, principle, critique, layout=layout, exemplars=exemplars)

    response, critique = "revision.max_tokens", "revision.max_critique_tokens"
    if not config.direct:
        yield Request(
            CRITIC, "a critique", pool, render_first, critique, (response,), principle.id, remedy, calls=calls
        )
    filled = (response,) if config.direct else (response, critique)
    yield Request(CRITIC, "a revision", pool, render_second, response, filled, principle.id, remedy, calls=calls)


REVISE = Stage(
    "revision",
    settings=("revision", "max_failure_fraction"),
    reads=(CONSTITUTION, TEMPLATES, REVISION_PROMPTS, ASSISTANT, CRITIC),
    writes=(CHAINS, HELPFUL_SAMPLES, SFT_EXAMPLES, FILTERED, FAILURES),
    work=revise,
    asks=foresee,
    remedies={
        "truncated_response": "raise revision.max_tokens",
        "truncated_revision": "raise revision.max_tokens",
        "truncated_critique": "raise revision.max_critique_tokens",
        **{filter_reason(name): f"take {name} out of revision.filters" for name in FILTERS},
    },
)
