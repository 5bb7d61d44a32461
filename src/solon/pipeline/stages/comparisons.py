"""Stage 2, what is compared: two responses of SL-CAI to each prompt, or of the assistant in its place.

Departure from the paper (Bai et al. 2022, arXiv 2212.08073, section 4.1): where labels alone are made, nothing is
trained and the assistant, which may be behind a server, gives the responses that SL-CAI gave there.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from solon.feedback import run_comparisons
from solon.pipeline.artifacts import ASSISTANT, TEMPLATES, Checkpoint, Records, Role
from solon.pipeline.context import StageContext
from solon.pipeline.graph import Graph, Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.requests import Known, Pool, Request
from solon.pipeline.stages.prompts import COMPARISON_PROMPTS
from solon.pipeline.stages.sft import SL_CAI
from solon.prompting import render_response
from solon.records import Comparison, Failure, count_reasons

COMPARISONS = Records("comparisons", Comparison)
FAILURES = Records("failures_comparisons", Failure, named_by="item")


def compare_answers_of(model: Role | Checkpoint) -> Stage:
    """Return the stage in which a model answers every prompt twice."""

    def compare(context: StageContext) -> Outcome:
        """Have the model answer, and keep both responses."""
        prompts = context.read(COMPARISON_PROMPTS)

        async def work() -> Any:
            return await context.collect(
                run_comparisons(
                    prompts,
                    model=context.model(model),
                    config=context.config.comparisons,
                    seed=context.seed,
                    max_failure_fraction=context.config.max_failure_fraction,
                    on_progress=context.progress("pairs"),
                )
            )

        found = asyncio.run(work())
        reasons = count_reasons(found.failures)
        context.write({COMPARISONS: found.kept, FAILURES: found.failures})
        cut = sum(response.trimmed for pair in found.kept for response in (pair.response_a, pair.response_b))
        return Outcome(
            counts={"in": len(prompts), "kept": len(found.kept), **reasons},
            failures=reasons,
            metrics={"comparisons/cut_responses": cut},
        )

    def foresee(known: Known) -> Iterator[Request]:
        """Say what is asked: responses."""
        asked = Pool.of(known.prompts.pools["comparisons"])
        yield Request(model, "a response", asked, render_response, limit="comparisons.max_tokens", calls=2, fixed=True)

    return Stage(
        "comparisons",
        settings=("comparisons", "max_failure_fraction"),
        reads=(TEMPLATES, COMPARISON_PROMPTS, model),
        writes=(COMPARISONS, FAILURES),
        work=compare,
        asks=foresee,
    )


COMPARE = compare_answers_of(SL_CAI)
COMPARE_ASSISTANT = compare_answers_of(ASSISTANT)


def describe_stand_in(graph: Graph, source: str) -> list[str]:
    """Return what a reader should know where the responses are not those of SL-CAI.

    Args:
        graph: the stages of the run.
        source: of the assistant.
    """
    if COMPARE_ASSISTANT not in graph.stages:
        return []
    return [
        f"comparisons: both responses of a pair are of models.assistant ({source}), in the place of SL-CAI: the labels "
        "are of what that model says, and of no model that learnt from revisions"
    ]
