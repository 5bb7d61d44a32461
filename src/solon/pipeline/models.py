"""The models of a run by role: which there are, what each role is given, and what is refused before a run.

Roles are an open table. The method asks for four; a grader of one's own may open any other by its name.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from solon.errors import ConfigError, ModelError, PromptingError, find_missing_extra
from solon.evaluation import Evaluation, asks_of
from solon.lm.spec import LOCAL, ModelSpec, ServedBackend, find_backend
from solon.messages import nearest, shorten
from solon.pipeline.artifacts import ASSISTANT, CRITIC, FEEDBACK_MODEL, JUDGE
from solon.pipeline.overrides import merge
from solon.pipeline.task import Task, find_checkpoint, find_shipped_model
from solon.prompting import Templates, add_system_prompt, render_response
from solon.records import Conversation, Origin
from solon.storage import content_digest

if TYPE_CHECKING:
    from solon.nets import Tokenizer

DEFAULTS: Final = {CRITIC.key: ASSISTANT.key, FEEDBACK_MODEL.key: ASSISTANT.key, JUDGE.key: FEEDBACK_MODEL.key}
"""Whose model a role has where none is given: one model has them all, as in the paper. Feedback is never SL-CAI's."""

_BESIDE_SOURCE: Final = ModelSpec.model_fields.keys() - {"source"}

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
    assistant = table.get(ASSISTANT.key)
    if not assistant or (isinstance(assistant, Mapping) and assistant.keys() <= _BESIDE_SOURCE):
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


def place_of(given: ModelSpec, located: ModelSpec) -> str | None:
    """Return where the checkpoint of a model lies, whatever folder that is asked from; None of one that ships.

    Args:
        given: the model as a configuration names it.
        located: the same with the folder of its checkpoint.
    """
    folder = Path(located.source)
    has_place = located.backend == LOCAL and folder != find_shipped_model(given.source)
    return str(folder.resolve()) if has_place else None


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


def find_origins(models: Mapping[str, ModelSpec], sources: Mapping[str, str] | None = None) -> dict[str, Origin]:
    """Return role to where its model came from and what it is; roles that share a model are looked at once.

    Args:
        models: role to its model, checkpoints found.
        sources: role to its model's source as it was given, where that is another.

    Raises:
        ConfigError, ModelError: there is no such backend, or no such model.
    """
    seen: dict[str, tuple[str, dict[str, str]]] = {}
    origins = {}
    for role, spec in models.items():
        key = spec.model_dump_json()
        if key not in seen:
            with _naming(role, spec):
                seen[key] = identify_model(spec), describe_served(spec)
        digest, found = seen[key]
        origins[role] = Origin(source=(sources or {}).get(role, spec.source), digest=digest, found=found)
    return origins


@contextmanager
def _naming(role: str, spec: ModelSpec) -> Iterator[None]:
    """Have what is wrong with a model behind a server say whose it is: several roles may be at one address."""
    try:
        yield
    except ConfigError as error:
        raise error if spec.backend == LOCAL else ConfigError(f"models.{role}: {error}") from error
    except ModelError as error:
        raise error if spec.backend == LOCAL else ModelError(f"models.{role}: {error}") from error


def describe_served(spec: ModelSpec) -> dict[str, str]:
    """Return what was found about a model behind a server, in words; nothing of any other.

    Raises:
        ConfigError, ModelError: there is no such server, or it does not serve the model.
    """
    backend = find_backend(spec)
    return dict(backend.describe(spec)) if isinstance(backend, ServedBackend) else {}


def check_labels(roles: Collection[str], models: Mapping[str, ModelSpec]) -> None:
    """Refuse a model behind a server that is to give labels and from which none can be read.

    Args:
        roles: those whose models weigh options.
        models: role to its model.

    Raises:
        ModelError: no labels can be read; says of which role.
    """
    for role in roles:
        backend = find_backend(models[role])
        if isinstance(backend, ServedBackend):
            with _naming(role, models[role]):
                backend.check_labels(models[role])


def check_devices(models: Mapping[str, ModelSpec]) -> None:
    """Refuse a device that is not here, before anything is put there.

    Args:
        models: role to its model.

    Raises:
        ModelError: torch cannot use the device of a local model.
        MissingExtraError: there is a local model, and no torch.
    """
    for role, spec in models.items():
        if spec.backend == LOCAL:
            try:
                from solon.nets import check_device
            except ModuleNotFoundError as error:
                if (missing := find_missing_extra(error)) is None:
                    raise
                raise missing from error
            check_device(spec.device, setting=f"models.{role}.device")


def check_trainable(role: str, spec: ModelSpec) -> tuple[str, ...]:
    """Refuse a model that training cannot start from, before anything is done; return what to know of the others.

    Raises:
        ModelError: it is no checkpoint, or one that cannot be trained.
    """
    if spec.backend != LOCAL:
        raise ModelError(
            f"models.{role}: training starts from this model, and the backend {spec.backend} has no checkpoint to "
            "train: give a checkpoint folder, or make data and labels without training with  --labels-only"
        )
    from solon.nets import check_trainable as check_checkpoint
    from solon.training.probe import check_reading

    notices = check_checkpoint(
        Path(spec.source), spec.chat_template_kwargs, layout=spec.layout, setting=f"models.{role}.layout"
    )
    check_reading(
        Path(spec.source),
        device=spec.device,
        dtype=spec.dtype,
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

    return check_checkpoint(
        Path(spec.source),
        device=spec.device,
        dtype=spec.dtype,
        layout=spec.layout,
        setting=f"models.{role}.layout",
    )


class Tokenizers:
    """The tokenizers of local models, each loaded once: reading one of 49,000 tokens and its template takes 0.6 s."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, str], Tokenizer] = {}

    def of(self, spec: ModelSpec) -> "Tokenizer":
        """Return the tokenizer of a model, told what its chat template is told.

        Raises:
            ModelError: it cannot be loaded.
        """
        from solon.nets import load_tokenizer

        key = spec.source, repr(sorted(spec.chat_template_kwargs.items()))
        if key not in self._loaded:
            self._loaded[key] = load_tokenizer(Path(spec.source), spec.chat_template_kwargs)
        return self._loaded[key]


def check_layouts(
    models: Mapping[str, ModelSpec], own: Mapping[str, str] | None = None, tokenizers: Tokenizers | None = None
) -> list[str]:
    """Refuse a chat template that cannot lay out what its role says; return what is said and changes nothing.

    Args:
        models: role to its model.
        own: templates in the place of the package's.
        tokenizers: those that are loaded already.

    Raises:
        ModelError: the template refuses what it is told, or has no place for a system prompt.
    """
    apart, tokenizers = _tell_apart(models), tokenizers or Tokenizers()
    return [note for role, spec in apart.items() for note in _check_layout(role, spec, own or {}, tokenizers)]


def _tell_apart(models: Mapping[str, ModelSpec]) -> dict[str, ModelSpec]:
    """Return the first role of each model: those that share one are looked at once."""
    first: dict[str, str] = {}
    for role, spec in models.items():
        first.setdefault(spec.model_dump_json(), role)
    return {role: models[role] for role in first.values()}


def _check_layout(role: str, spec: ModelSpec, own: Mapping[str, str], tokenizers: Tokenizers) -> Iterator[str]:
    begun = f"{spec.layout}/assistant.txt" in own  # may begin the answer, in a turn that is left open
    if spec.backend != LOCAL or not (spec.chat_template_kwargs or spec.system_prompt or begun):
        return
    from solon.nets import encode_prompt, find_unused_kwargs, has_system_turn

    tokenizer = tokenizers.of(spec)
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


def describe_thoughts(
    models: Mapping[str, ModelSpec], trained: Collection[str], tokenizers: Tokenizers | None = None
) -> list[str]:
    """Return a note for each model that may think before it answers, as nothing has turned that off.

    Args:
        models: role to its model.
        trained: roles whose model training starts from.
        tokenizers: those that are loaded already.
    """
    starts, tokenizers = [models[role] for role in trained], tokenizers or Tokenizers()
    apart = _tell_apart(models)
    notes = (_describe_thoughts(role, spec, spec in starts, tokenizers) for role, spec in apart.items())
    return [note for note in notes if note is not None]


def _describe_thoughts(role: str, spec: ModelSpec, is_trained: bool, tokenizers: Tokenizers) -> str | None:
    if spec.backend != LOCAL or spec.layout == "transcript":
        return None
    from solon.nets import find_thoughts

    thoughts = find_thoughts(tokenizers.of(spec))
    if thoughts is None or thoughts.state == "off":
        return None
    does = "begins every answer with a thought" if thoughts.state == "open" else "lets it think before it answers"
    said = f"models.{role}: its chat template {does}, which uses up max_tokens and is kept apart from the answer"
    if is_trained and thoughts.closing:
        said += "; training reads and writes answers after an empty thought"
    elif is_trained:
        said += "; fine-tuning learns answers without one"
    off = "raise the limits of what it writes"
    if thoughts.switch is not None:
        off += f", or turn thoughts off with  --set models.{role}.chat_template_kwargs.{thoughts.switch}=false"
    return f"{said}: {off}"


def check_openings(models: Mapping[str, ModelSpec], tokenizers: Tokenizers | None = None) -> None:
    """Refuse a chat template by which a model would be asked to go on with the user's turn.

    Args:
        models: role to its model.
        tokenizers: those that are loaded already.

    Raises:
        ModelError: there is no chat template where one is needed, or it does not open an assistant's turn when asked.
    """
    tokenizers = tokenizers or Tokenizers()
    for role, spec in _tell_apart(models).items():
        if spec.backend != LOCAL or spec.layout == "transcript":
            continue
        from solon.nets import find_unwritten_opening

        try:
            opening = find_unwritten_opening(tokenizers.of(spec))
        except ModelError as error:
            raise ModelError(f"models.{role}: {error}") from error
        if opening:
            raise ModelError(
                f"models.{role}: the chat template of {spec.source} ignores add_generation_prompt: it opens an "
                f"assistant's turn with {shorten(opening)} in a conversation and with nothing where it is to be "
                f"written, so that the model would go on with the user's turn: mend "
                f"chat_template.jinja, or set  models.{role}.layout=transcript"
            )


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


def describe_judges(evaluations: Sequence[Evaluation], models: Mapping[str, Origin]) -> list[str]:
    """Return a note for each evaluation whose grader asks a judge that is the feedback model.

    Args:
        evaluations: those of the run. A grader may name the roles that it asks as `asks`.
        models: role to its model.
    """
    if models[JUDGE.key].digest != models[FEEDBACK_MODEL.key].digest:
        return []
    return [
        f"evaluation {evaluation.name}: grader {evaluation.grader.identity} asks the model that gives the feedback, "
        "so that models are trained towards the taste they are graded by: give another with  --judge SOURCE"
        for evaluation in evaluations
        if JUDGE.key in (asks_of(evaluation.grader) or ())
    ]


def has_torch() -> bool:
    """Say whether torch is installed, which a run that opens no checkpoint does without."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return False
    return True


def has_gpu() -> bool:
    """Say whether torch finds a GPU on this machine; without torch there is none to use."""
    if not has_torch():
        return False
    import torch

    return torch.cuda.is_available()


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Run torch, where it is installed, on so many threads, and give the caller's number back afterwards."""
    if not has_torch():
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
