"""Proves that every configuration is frozen, refuses what it does not know, and holds finite numbers only."""

import inspect
import math

import pytest
from pydantic import ValidationError

from solon.evaluation import EvaluationConfig
from solon.feedback import ComparisonConfig, FeedbackConfig
from solon.pipeline.config import PoolSizes, PromptsConfig, RunConfig
from solon.pipeline.task import NoSizes
from solon.records import Config
from solon.revision import RevisionConfig
from solon.tasks import files
from solon.training.ppo import PPOConfig
from solon.training.preference_model import PreferenceModelConfig
from solon.training.sft import SFTConfig
from solon.world.nano.build import NanoConfig
from solon.world.nano.pretrain import PretrainConfig
from solon.world.task import EvaluationSizes


class Small(Config):
    rate: float = 0.5


def test_a_configuration_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Small().rate = 0.1  # type: ignore[misc]


def test_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Small.model_validate({"rat": 0.1})


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_none_or_infinite_is_refused(number):
    with pytest.raises(ValidationError, match="finite"):
        Small(rate=number)


CONFIGURATIONS = [
    EvaluationConfig,
    EvaluationSizes,
    ComparisonConfig,
    FeedbackConfig,
    NanoConfig,
    NoSizes,
    PoolSizes,
    PPOConfig,
    PreferenceModelConfig,
    PretrainConfig,
    PromptsConfig,
    RevisionConfig,
    RunConfig,
    SFTConfig,
    *(kind for name, kind in inspect.getmembers(files, inspect.isclass) if name.endswith(("File", "Files", "Sizes"))),
]


@pytest.mark.parametrize("kind", CONFIGURATIONS, ids=lambda kind: kind.__name__)
def test_every_configuration_is_as_strict_as_the_root(kind):
    assert issubclass(kind, Config)
    assert kind.model_config.items() >= Config.model_config.items()
