"""Stage 2, what is compared: two responses of SL-CAI to each prompt."""

import asyncio
from collections.abc import Iterator
from typing import Any

from solon.feedback import run_comparisons
from solon.pipeline.artifacts import TEMPLATES, Records
from solon.pipeline.context import StageContext
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.requests import Known, Pool, Request
from solon.pipeline.stages.prompts import COMPARISON_PROMPTS
from solon.pipeline.stages.sft import SL_CAI
from solon.prompting import render_response
from solon.records import Comparison, Failure, count_reasons

COMPARISONS = Records("comparisons", Comparison)
FAILURES = Records("failures_comparisons", Failure, named_by="item")


def compare(context: StageContext) -> Outcome:
    """Have SL-CAI answer every prompt twice."""
    prompts = context.read(COMPARISON_PROMPTS)

    async def work() -> Any:
        return await context.collect(
            run_comparisons(
                prompts,
                model=context.model(SL_CAI),
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
    yield Request(SL_CAI, "a response", asked, render_response, limit="comparisons.max_tokens", calls=2, fixed=True)


COMPARE = Stage(
    "comparisons",
    settings=("comparisons", "max_failure_fraction"),
    reads=(TEMPLATES, COMPARISON_PROMPTS, SL_CAI),
    writes=(COMPARISONS, FAILURES),
    work=compare,
    asks=foresee,
)
