"""A backend in one file: every answer is the source, and the first option is always likelier."""

from contextlib import AbstractContextManager, nullcontext

from solon.errors import ModelError
from solon.lm import LanguageModel, ModelSpec, ScriptedModel


def identify(spec: ModelSpec) -> str:
    if not spec.source.endswith("."):
        raise ModelError(f"{spec.source}: expected a sentence")
    return f"echo of {spec.source}"


def open_model(spec: ModelSpec) -> AbstractContextManager[LanguageModel]:
    return nullcontext(ScriptedModel(lambda *_: spec.source, lambda *_: (-0.1, -3.0), identity=identify(spec)))
