"""Constitutional AI, whole: from a constitution to a harmless, helpful, non-evasive model.

    import solon

    constitution = solon.load_constitution("default")
    result = solon.run(out="runs/mine", constitution=constitution, preset="smoke")
    result.results["models"]["rl-cai"]["harmful"]["complies"]

This is the front door: what most programs need, and nothing else. Names are fetched from their rooms when they
are first used, so that `import solon` is quick and works without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `as` says to type checkers that a name is meant to be imported from here
    from solon.constitution import Constitution as Constitution
    from solon.constitution import Principle as Principle
    from solon.constitution import load_constitution as load_constitution
    from solon.errors import ConfigError as ConfigError
    from solon.errors import ConstitutionError as ConstitutionError
    from solon.errors import JournalError as JournalError
    from solon.errors import MissingExtraError as MissingExtraError
    from solon.errors import ModelError as ModelError
    from solon.errors import RunError as RunError
    from solon.errors import SolonError as SolonError
    from solon.evaluation import Evaluation as Evaluation
    from solon.lm import LanguageModel as LanguageModel
    from solon.lm import ScriptedModel as ScriptedModel
    from solon.lm.backends.local import LocalModel as LocalModel
    from solon.pipeline.config import RunConfig as RunConfig
    from solon.pipeline.config import build_config as build_config
    from solon.pipeline.run import RunResult as RunResult
    from solon.pipeline.run import load_run as load_run
    from solon.pipeline.run import run as run
    from solon.pipeline.task import Task as Task
    from solon.records import Comparison as Comparison
    from solon.records import Conversation as Conversation
    from solon.records import EvalRecord as EvalRecord
    from solon.records import Failure as Failure
    from solon.records import Grade as Grade
    from solon.records import Message as Message
    from solon.records import PreferenceLabel as PreferenceLabel
    from solon.records import Prompt as Prompt
    from solon.records import RevisionChain as RevisionChain
    from solon.records import RevisionStep as RevisionStep
    from solon.records import Sample as Sample
    from solon.records import Sampling as Sampling
    from solon.records import SFTExample as SFTExample
    from solon.report import write_report as write_report

__version__ = "0.1.0"

_NAMES = {
    "constitution": ("Constitution", "Principle", "load_constitution"),
    "errors": (
        "ConfigError",
        "ConstitutionError",
        "JournalError",
        "MissingExtraError",
        "ModelError",
        "RunError",
        "SolonError",
    ),
    "evaluation": ("Evaluation",),
    "lm": ("LanguageModel", "ScriptedModel"),
    "lm.backends.local": ("LocalModel",),
    "pipeline.config": ("RunConfig", "build_config"),
    "pipeline.run": ("RunResult", "load_run", "run"),
    "pipeline.task": ("Task",),
    "records": (
        "Comparison",
        "Conversation",
        "EvalRecord",
        "Failure",
        "Grade",
        "Message",
        "PreferenceLabel",
        "Prompt",
        "RevisionChain",
        "RevisionStep",
        "SFTExample",
        "Sample",
        "Sampling",
    ),
    "report": ("write_report",),
}
"""Room to the names that are fetched from it."""

_ROOMS = {name: room for room, names in _NAMES.items() for name in names}

__all__ = sorted(["__version__", *_ROOMS])


def __getattr__(name: str) -> Any:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'solon' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"solon.{room}"), name)
    except ModuleNotFoundError as error:
        from solon.errors import find_missing_extra

        if (missing := find_missing_extra(error)) is None:
            raise
        raise missing from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
