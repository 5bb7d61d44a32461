"""The models of a run by role: which there are, what each role is given, and what is refused before a run.

Roles are an open table. The method asks for four; a grader of one's own may open any other by its name.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from solon.errors import ConfigError, ModelError, PromptingError
from solon.lm.spec import LOCAL, ModelSpec, find_backend
from solon.messages import nearest
from solon.pipeline.artifacts import ASSISTANT, CRITIC, FEEDBACK_MODEL, JUDGE
from solon.pipeline.overrides import merge
from solon.pipeline.task import Task, find_checkpoint
from solon.prompting import Templates, add_system_prompt, render_response
from solon.records import Conversation
from solon.storage import content_digest

DEFAULTS: Final = {CRITIC.key: ASSISTANT.key, FEEDBACK_MODEL.key: ASSISTANT.key, JUDGE.key: FEEDBACK_MODEL.key}
"""Whose model a role has where none is given: one model has them all, as in the paper. Feedback is never SL-CAI's."""

RENAMED: Final = {
    name: f"is the model of a role now: give it with {option}, or --set models.{role}.source=PATH"
    for name, option, role in (
        ("base_model", "--model PATH", ASSISTANT.key),
        ("critic_model", "--critic PATH", CRITIC.key),
        ("feedback_model", "--feedback PATH", FEEDBACK_MODEL.key),
    )
}
"""Fields that named a model before models had roles, and how each is given now."""

_ASKED = Conversation.of("What is the difference between a lake and a river?")


def name_models(given: Any, task: Task) -> dict[str, Any]:
    """Return role to fields of its model, whole: a role that names another has the model of that one.

    Args:
        given: role to fields of a model, or to another role.
        task: says which models there are where none is given.

    Raises:
        ConfigError: a role is not there, or roles name each other in a circle; or nobody says what the assistant is.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"models: expected role to model, found {type(given).__name__}")
    table = merge(merge(DEFAULTS, task.models), given)
    if not table.get(ASSISTANT.key):
        raise ConfigError(f"task {task.name}: brings no model: give a checkpoint with  --model PATH")
    models = {role: _follow(role, table) for role in sorted(table)}
    for role, model in models.items():
        if isinstance(model, Mapping) and "source" not in model:
            raise ConfigError(_describe_sourceless(role, model))
    return models


def _describe_sourceless(role: str, model: Mapping[str, Any]) -> str:
    for name in model:
        if name not in ModelSpec.model_fields:
            return f"models.{role}: unknown field {name!r}; {nearest(str(name), ModelSpec.model_fields)}"
    fields = ", ".join(model) or "nothing"
    return f"models.{role}: is given {fields} and no source: give  models.{role}.source  too"


def _follow(role: str, table: Mapping[str, Any]) -> Any:
    passed = [role]
    while isinstance(named := table[passed[-1]], str):
        if named not in table:
            raise ConfigError(
                f"models.{passed[-1]}: there is no role {named!r}; {nearest(named, table)}; "
                f"a checkpoint is given with  models.{passed[-1]}.source"
            )
        if named in passed:
            raise ConfigError(f"models: {' is '.join([*passed, named])}: give one of them a source")
        passed.append(named)
    return named


def locate_model(spec: ModelSpec, task: Task | None) -> ModelSpec:
    """Return a model with the folder of its checkpoint for a name that comes with the task or with the package."""
    if spec.backend != LOCAL:
        return spec
    return spec.model_copy(update={"source": str(find_checkpoint(task, spec.source))})


def trained_model(assistant: ModelSpec, path: Path) -> ModelSpec:
    """Return a model that training made of the assistant: opened as that is, from its own folder."""
    return assistant.model_copy(update={"source": str(path), "backend": LOCAL})


def identify_model(spec: ModelSpec) -> str:
    """Return a digest of all that decides a model's answers: its content, and settings that are not left as they are.

    Raises:
        ConfigError, ModelError: there is no such backend, or no such model.
    """
    digest = find_backend(spec).identify(spec)
    return content_digest([digest, spec.settings]) if spec.settings else digest


def check_trainable(role: str, spec: ModelSpec) -> tuple[str, ...]:
    """Refuse a model that training cannot start from, before anything is done; return what to know of the others.

    Raises:
        ModelError: it is no checkpoint, or one that cannot be trained.
    """
    if spec.backend != LOCAL:
        raise ModelError(
            f"models.{role}: training starts from this model, and the backend {spec.backend} has no checkpoint to "
            "train: give a checkpoint folder, or end before training with  --until revision"
        )
    from solon.nets import check_trainable as check_checkpoint
    from solon.training.probe import check_reading

    notices = check_checkpoint(
        Path(spec.source), spec.chat_template_kwargs, layout=spec.layout, setting=f"models.{role}.layout"
    )
    check_reading(
        Path(spec.source),
        device=spec.device,
        chat_template_kwargs=spec.chat_template_kwargs,
        system_prompt=spec.system_prompt,
        layout=spec.layout,
    )
    return notices


def check_askable(role: str, spec: ModelSpec) -> tuple[str, ...]:
    """Refuse a model that will not answer, before anything is done; return what to know of the others.

    What is behind another backend is seen when it is opened.

    Raises:
        ModelError: it is a checkpoint that cannot be loaded or asked.
    """
    if spec.backend != LOCAL:
        return ()
    from solon.nets import check_askable as check_checkpoint

    return check_checkpoint(Path(spec.source), layout=spec.layout, setting=f"models.{role}.layout")


def check_layouts(models: Mapping[str, ModelSpec], own: Mapping[str, str] | None = None) -> list[str]:
    """Refuse a chat template that cannot lay out what its role says; return what is said and changes nothing.

    Args:
        models: role to its model.
        own: templates in the place of the package's.

    Raises:
        ModelError: the template refuses what it is told, or has no place for a system prompt.
    """
    roles: dict[str, str] = {}
    for role, spec in models.items():  # roles that share a model are looked at once
        roles.setdefault(spec.model_dump_json(), role)
    return [note for role in roles.values() for note in _check_layout(role, models[role], own or {})]


def _check_layout(role: str, spec: ModelSpec, own: Mapping[str, str]) -> Iterator[str]:
    begun = f"{spec.layout}/assistant.txt" in own  # may begin the answer, in a turn that is left open
    if spec.backend != LOCAL or not (spec.chat_template_kwargs or spec.system_prompt or begun):
        return
    from solon.nets import encode_prompt, find_unused_kwargs, has_system_turn, load_tokenizer

    tokenizer = load_tokenizer(Path(spec.source), spec.chat_template_kwargs)
    try:
        templates = Templates(spec.layout, own)
        encode_prompt(tokenizer, add_system_prompt(render_response(_ASKED, templates), spec.system_prompt, templates))
    except (ModelError, PromptingError) as error:
        raise ModelError(f"models.{role}: {error}") from error
    if spec.layout == "transcript":
        if spec.chat_template_kwargs:
            yield f"models.{role}.chat_template_kwargs: change nothing, since its layout is transcript"
        return
    if spec.system_prompt and not has_system_turn(tokenizer):
        raise ModelError(
            f"models.{role}.system_prompt: the chat template of {spec.source} has no place for a system turn: leave it "
            "out, or choose a model whose template has one"
        )
    for name in find_unused_kwargs(tokenizer):
        yield f"models.{role}.chat_template_kwargs: its chat template does not look at {name}, which changes nothing"


def describe_idle_templates(own: Mapping[str, str], models: Mapping[str, ModelSpec]) -> list[str]:
    """Return a note on own templates of layouts that no model is asked in."""
    layouts = {spec.layout for spec in models.values()}
    idle = [file for file in own if file.partition("/")[0] not in layouts]
    asked = ", ".join(sorted(layouts))
    return [f"templates: {', '.join(idle)}: change nothing, since models are asked in {asked}"] if idle else []


def describe_idle_roles(models: Mapping[str, ModelSpec]) -> list[str]:
    """Return a note for each role that no stage asks for, as one that is misspelt."""
    known = (ASSISTANT.key, *DEFAULTS)
    notes = []
    for role in models:
        if role not in known:
            hint = nearest(role, known)
            meant = f"; {hint}" if hint.startswith("did") else ""
            notes.append(f"models.{role}: no stage asks for this role, a grader may{meant}")
    return notes


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Run torch on so many threads, and give the caller's number back afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
