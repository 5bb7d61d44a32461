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

if TYPE_CHECKING:
    from solon.constitution import Constitution, Principle, load_constitution
    from solon.errors import (
        ConfigError,
        ConstitutionError,
        JournalError,
        MissingExtraError,
        ModelError,
        RunError,
        SolonError,
    )
    from solon.evaluation import Evaluation
    from solon.lm import LanguageModel, ScriptedModel
    from solon.lm.backends.local import LocalModel
    from solon.pipeline.config import RunConfig, build_config
    from solon.pipeline.run import RunResult, load_run, run
    from solon.pipeline.task import Task
    from solon.records import (
        Comparison,
        Conversation,
        EvalRecord,
        Failure,
        Grade,
        Message,
        PreferenceLabel,
        Prompt,
        RevisionChain,
        RevisionStep,
        Sample,
        Sampling,
        SFTExample,
    )
    from solon.report import write_report

__version__ = "0.1.0"

_ROOMS = {
    "Comparison": "records",
    "ConfigError": "errors",
    "Constitution": "constitution",
    "ConstitutionError": "errors",
    "Conversation": "records",
    "EvalRecord": "records",
    "Evaluation": "evaluation",
    "Failure": "records",
    "Grade": "records",
    "JournalError": "errors",
    "LanguageModel": "lm",
    "LocalModel": "lm.backends.local",
    "Message": "records",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "PreferenceLabel": "records",
    "Principle": "constitution",
    "Prompt": "records",
    "RevisionChain": "records",
    "RevisionStep": "records",
    "RunConfig": "pipeline.config",
    "RunError": "errors",
    "RunResult": "pipeline.run",
    "SFTExample": "records",
    "Sample": "records",
    "Sampling": "records",
    "ScriptedModel": "lm",
    "SolonError": "errors",
    "Task": "pipeline.task",
    "build_config": "pipeline.config",
    "load_constitution": "constitution",
    "load_run": "pipeline.run",
    "run": "pipeline.run",
    "write_report": "report",
}

__all__ = [
    "Comparison",
    "ConfigError",
    "Constitution",
    "ConstitutionError",
    "Conversation",
    "EvalRecord",
    "Evaluation",
    "Failure",
    "Grade",
    "JournalError",
    "LanguageModel",
    "LocalModel",
    "Message",
    "MissingExtraError",
    "ModelError",
    "PreferenceLabel",
    "Principle",
    "Prompt",
    "RevisionChain",
    "RevisionStep",
    "RunConfig",
    "RunError",
    "RunResult",
    "SFTExample",
    "Sample",
    "Sampling",
    "ScriptedModel",
    "SolonError",
    "Task",
    "__version__",
    "build_config",
    "load_constitution",
    "load_run",
    "run",
    "write_report",
]

_LOCAL = ("torch", "transformers", "safetensors")


def __getattr__(name: str) -> Any:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'solon' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"solon.{room}"), name)
    except ModuleNotFoundError as error:
        if error.name not in _LOCAL:
            raise
        from solon.errors import MissingExtraError

        raise MissingExtraError(error.name, "local") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
