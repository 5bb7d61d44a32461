"""The method of Bai et al. (2022) as a graph of stages, and the evaluation that follows any part of it."""

from typing import Final

from solon.pipeline.graph import Graph
from solon.pipeline.stages.comparisons import COMPARE
from solon.pipeline.stages.evaluation import evaluate_models
from solon.pipeline.stages.feedback import LABEL
from solon.pipeline.stages.ppo import PPO
from solon.pipeline.stages.preference_model import TRAIN_PREFERENCE_MODEL
from solon.pipeline.stages.prompts import DRAW_PROMPTS
from solon.pipeline.stages.revision import REVISE
from solon.pipeline.stages.sft import SFT

CONSTITUTIONAL_AI: Final = Graph(DRAW_PROMPTS, REVISE, SFT, COMPARE, LABEL, TRAIN_PREFERENCE_MODEL, PPO)
"""Stage 1 and stage 2 of the paper."""


def with_evaluation(graph: Graph) -> Graph:
    """Return a graph that ends with the evaluation of the base and of all models made before."""
    return graph.then(evaluate_models(graph))
