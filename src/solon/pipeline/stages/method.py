"""The method of Bai et al. (2022) as a graph of stages, its data alone, and the evaluation that follows any of it."""

from typing import Final

from solon.errors import ConfigError
from solon.pipeline.graph import Graph, Stage
from solon.pipeline.stages.comparisons import COMPARE, COMPARE_ASSISTANT
from solon.pipeline.stages.evaluation import evaluate_models
from solon.pipeline.stages.feedback import LABEL
from solon.pipeline.stages.ppo import PPO
from solon.pipeline.stages.preference_model import TRAIN_PREFERENCE_MODEL
from solon.pipeline.stages.prompts import DRAW_PROMPTS
from solon.pipeline.stages.revision import REVISE
from solon.pipeline.stages.sft import SFT
from solon.records import GIVEN, LABELS_ONLY

CONSTITUTIONAL_AI: Final = Graph(DRAW_PROMPTS, REVISE, SFT, COMPARE, LABEL, TRAIN_PREFERENCE_MODEL, PPO)
"""Stage 1 and stage 2 of the paper."""

CONSTITUTIONAL_DATA: Final = Graph(DRAW_PROMPTS, REVISE, COMPARE_ASSISTANT, LABEL)
"""The data of both stages, for people who train elsewhere: nothing is trained; the assistant is in SL-CAI's place."""

_REPORT: Final = ("report", "report.html", "results", "results.json")


def with_evaluation(graph: Graph) -> Graph:
    """Return a graph that ends with the evaluation of the base and of all models made before."""
    return graph.then(evaluate_models(graph))


def name_method(graph: Graph) -> str | None:
    """Return what results call the method of a graph, which ends with its evaluation.

    Returns:
        None for that of the paper or the beginning of it, `LABELS_ONLY` for its data alone, `GIVEN` for any other.
    """
    *made, _ = graph.stages
    names = ((None, CONSTITUTIONAL_AI), (LABELS_ONLY, CONSTITUTIONAL_DATA))
    return next((name for name, method in names if tuple(made) == method.stages[: len(made)]), GIVEN)


def choose_part(until: str | None, method: Graph = CONSTITUTIONAL_AI) -> Graph:
    """Return a method up to a stage or artifact, or the whole, and its evaluation.

    Raises:
        ConfigError: nothing of the method is called so; or it follows every part of it.
    """
    whole = with_evaluation(method)
    if until is None:
        return whole
    if until in _REPORT or whole.maker(until) is whole.stages[-1]:
        names = ", ".join(stage.name for stage in method)
        raise ConfigError(
            f"--until {until}: evaluation and report follow whatever a run ends with: leave --until out for the whole "
            f"method, or name a stage ({names}), or a record file or model that one writes"
        )
    return with_evaluation(method.until(until))


def choose_alone(name: str, until: str | None, method: Graph = CONSTITUTIONAL_AI) -> Stage:
    """Return the one stage that is to be done.

    Raises:
        ConfigError: none is called so, or the method was ended before it.
    """
    if name in _REPORT:
        raise ConfigError(
            f"--only {name}: the report is no stage: leave --only out, or write it with  solon report DIR"
        )
    part = choose_part(until, method)
    names = [stage.name for stage in part]
    if name not in names and name in [stage.name for stage in choose_part(None, method)]:
        raise ConfigError(
            f"--only {name}: --until {until} leaves this stage out: leave --until out, or name one that it keeps: "
            f"{', '.join(names)}"
        )
    return part.find(name)
