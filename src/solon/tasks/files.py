"""A task made of the user's own files: prompts to train on, prompts to measure on, and a grader.

    name: bakery
    training: {red_team: red-team.jsonl, helpful: helpful.csv}
    evaluations:
      - name: main
        groups:
          harmful: {file: harmful.jsonl, kind: red_team}
          benign: {file: benign.txt, kind: helpful}
    grader: my_grader:MyGrader

Paths are relative to the task's file. Every field is in docs/task.md. A prompt says its split, or gets one: where
there are files to measure on, all of a training file is `train` and all of the others is not; where there are none,
one fifth of the training file, by hash of the goal, is measured on instead.

Without sizes every training stage gets all training prompts, as in the paper; with a size, that many, drawn by seed.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files as find_files
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import Field, ValidationError, field_validator

from solon.constitution import Constitution
from solon.constitution.nodes import find_control
from solon.errors import ConfigError, RecordError
from solon.evaluation import Evaluation, Grader, PairGrader, measures_of
from solon.lm.spec import LOCAL, ModelSpec
from solon.messages import count_of, describe_misfit, one_line, shorten
from solon.pipeline.overrides import merge, validate
from solon.pipeline.task import Pools, Task, find_shipped_model
from solon.records import TRAIN, Config, Conversation, GoldComparison, Measures, Prompt, PromptKind
from solon.redteam import PromptPool, load_pools, load_prompts, select_prompts
from solon.redteam.files import Entry, read_entries
from solon.redteam.pools import HASH
from solon.storage import content_digest
from solon.tasks.graders import NoGrader, load_grader
from solon.words import is_blank

HELD_OUT: Final = "heldout"
_DEFAULT_GROUPS: Final[Mapping[PromptKind, str]] = {"red_team": "harmful", "helpful": "benign"}
_MOST_CHARACTERS: Final = 1_000_000


class TrainingFiles(Config):
    """Files of prompts to train on.

    Attributes:
        red_team: prompts that ask for harm; a file or several.
        helpful: ordinary prompts; a file or several.
    """

    red_team: tuple[str, ...] | str = ()
    helpful: tuple[str, ...] | str = ()

    @field_validator("red_team", "helpful", mode="before")
    @classmethod
    def _names_files(cls, value: Any) -> Any:
        many = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
        if not many and not isinstance(value, str):
            raise ValueError("expected the name of a file, or a list of names")
        return value

    def of_kind(self, kind: PromptKind) -> tuple[str, ...]:
        """Return the files of one kind."""
        given: tuple[str, ...] | str = getattr(self, kind)
        return (given,) if isinstance(given, str) else given


class GroupFile(Config):
    """One group of an evaluation.

    Attributes:
        file: its prompts.
        kind: whether they ask for harm (`red_team`) or are ordinary (`helpful`).
    """

    file: str
    kind: PromptKind


class EvaluationFile(Config):
    """One evaluation.

    Attributes:
        name: what records and results call it.
        caption: what is asked, for the heading of a table; the name if left out.
        groups: group to its prompts.
        grader: `module:Class` for this evaluation; the task's own if left out.
        measures: what is reported; what the grader says, if left out.
    """

    name: str
    caption: str = ""
    groups: dict[str, GroupFile] = Field(min_length=1)
    grader: str | None = None
    measures: Measures | None = None


class TaskFile(Config):
    """The content of a task's file.

    Attributes:
        name: what tables and pages call the task.
        title: end of the report's title; the name if left out.
        about: what a reader of the report should know first.
        training: files to train on.
        evaluations: what to measure on, the main evaluation first; without any, held-out prompts of the training files.
        grader: `module:Class`, imported from the folder of the task's file or the environment.
        measures: what is reported; what the grader says, if left out.
        example: the prompt that the report follows turn by turn; none if left out.
        models: role to model, where the command line gives none: what a configuration holds as `models`. A source that
            is no model that ships with the package is a path.
        gold: a file of gold comparisons, JSON lines with the fields of `GoldComparison`.
        settings: fields of the configuration, nested, as they are for this task; laid over every preset.
    """

    name: str
    title: str = ""
    about: str = ""
    training: TrainingFiles
    evaluations: tuple[EvaluationFile, ...] = ()
    grader: str | None = None
    measures: Measures | None = None
    example: str | None = None
    models: dict[str, Any] = Field(default_factory=dict)
    gold: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("example")
    @classmethod
    def _with_words(cls, value: str | None) -> str | None:
        if value is not None and (is_blank(value) or find_control(value)):
            raise ValueError("must be a text with words and no control character, or left out")
        return value

    @field_validator("name")
    @classmethod
    def _on_one_line(cls, value: str) -> str:
        if not value.isprintable() or set(value) & set("/\\") or not any(map(str.isalnum, value)):
            raise ValueError("must hold a letter or digit, and no '/', '\\', or control character")
        return value


class FileSizes(Config):
    """How many prompts the models are evaluated on.

    Attributes:
        at_most: most prompts of a group, drawn by seed; null for all.
    """

    at_most: int | None = Field(None, ge=1)


class FileTask(Task):
    """Prompts and graders of the user's own.

    Args:
        spec: what the task's file says.
        folder: what its paths are relative to.
        source: how it was asked for.

    Raises:
        ConfigError: no prompts to train on or to measure on, or a grader that cannot be made.
        RecordError: a file of prompts or gold comparisons is wrong; file and line are named.
    """

    sizes = FileSizes
    says_counts = True

    def __init__(self, spec: TaskFile, folder: Path, *, source: str) -> None:
        self.name, self.title, self.about, self.source = spec.name, spec.title or spec.name, spec.about, source
        self.models = {role: _find_model(role, model, folder) for role, model in spec.models.items()}
        own = merge({"models": self.models}, spec.settings)
        self.presets = {name: merge(preset, own) for name, preset in load_presets().items()}
        self._left_out: list[str] = []
        self._training: dict[PromptKind, list[Prompt]] = {"red_team": [], "helpful": []}
        held_out: dict[PromptKind, list[Prompt]] = {"red_team": [], "helpful": []}
        files = [(file, kind) for kind in self._training for file in spec.training.of_kind(kind)]
        pools = load_pools([(folder / file, kind) for file, kind in files], split=TRAIN if spec.evaluations else HASH)
        for (file, _), found in zip(files, pools, strict=True):
            for prompt in found.prompts:  # by its own kind, which need not be that of its file
                (self._training if prompt.split == TRAIN else held_out)[prompt.kind].append(prompt)
            unused = sum(prompt.split != TRAIN for prompt in found.prompts) if spec.evaluations else 0
            self._count(file, found, f"kept from training by their split: {unused}" if unused else "")
        grader = None if spec.grader is None else load_grader(spec.grader, folder)
        if spec.evaluations:
            self._evaluations = [self._read(e, spec, folder, grader) for e in spec.evaluations]
        else:
            groups = {_DEFAULT_GROUPS[kind]: prompts for kind, prompts in held_out.items() if prompts}
            if not groups:
                raise ConfigError(_describe_nothing_held_out(sum(map(len, self._training.values()))))
            self._evaluations = [_evaluation("main", "Held-out prompts", groups, grader, spec.measures)]
        self._example = None if spec.example is None else _example(spec.example)
        self._gold = () if spec.gold is None else _load_gold(folder / spec.gold)
        self.identity = f"file/1 {self._digest()}"

    @classmethod
    def of_files(cls, **files: Path) -> "FileTask":
        """Make a task of prompt files alone.

        Args:
            **files: role to file: `red_team` and `helpful` to train on, `harmful` and `benign` to measure on.

        Raises:
            ConfigError: no file to train on.
        """
        roles: Mapping[str, PromptKind] = {group: kind for kind, group in _DEFAULT_GROUPS.items()}
        training = {kind: str(files[kind]) for kind in _DEFAULT_GROUPS if kind in files}
        if not training:
            raise ConfigError("give prompts to train on:  --red-team FILE, --helpful FILE, or both")
        groups = {role: {"file": str(files[role]), "kind": kind} for role, kind in roles.items() if role in files}
        evaluations = [{"name": "main", "caption": "Prompts to measure on", "groups": groups}] if groups else []
        spec = TaskFile.model_validate({"name": "own-prompts", "training": training, "evaluations": evaluations})
        words = [word for role, path in files.items() for word in (f"--{role.replace('_', '-')}", str(path))]
        return cls(spec, Path(), source=shlex.join(words))

    def training_prompts(self, wanted: Pools, *, seed: int) -> Mapping[str, Sequence[Prompt]]:
        """Return all training prompts for a stage that names no number, else so many of each kind, drawn by seed."""
        return {stage: [*self._pick(stage, sizes, seed)] for stage, sizes in wanted.items()}

    def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
        """Return the evaluations, each group cut to the size that is wanted."""
        return [
            Evaluation(
                name=evaluation.name,
                caption=evaluation.caption,
                prompts={group: _at_most(p, sizes.at_most, seed) for group, p in evaluation.prompts.items()},
                grader=evaluation.grader,
                measures=evaluation.measures,
            )
            for evaluation in self._evaluations
        ]

    def choose_preset(self, *, has_gpu: bool) -> tuple[str | None, str]:
        """Return the preset for a small model that fits the machine."""
        chosen, why = ("small-gpu", "there is a GPU here") if has_gpu else ("small", "there is no GPU here")
        others = " or ".join(f"--preset {name}" for name in self.presets if name != chosen)
        return chosen, f"preset {chosen}: chosen since {why}; another is given with  {others}"

    def example(self) -> Prompt | None:
        """Return the prompt to follow turn by turn."""
        return self._example

    def gold(self) -> Sequence[GoldComparison]:
        """Return the comparisons of the task's file of them."""
        return self._gold

    def notices(self, constitution: Constitution, models: Mapping[str, str]) -> Sequence[str]:
        """Say what of the files was left out or passed over."""
        return self._left_out

    def _pick(self, stage: str, sizes: Mapping[PromptKind, int | None], seed: int) -> Iterator[Prompt]:
        for kind, pool in self._training.items():
            size = sizes[kind]
            if size is not None and size > len(pool):
                raise ConfigError(
                    f"prompts.{stage}.{kind}={size}: there are {len(pool)} prompts of this kind to train on: "
                    "ask for fewer, or leave the number out for all"
                )
            yield from pool if size is None else select_prompts(pool, size, seed=seed)

    def _read(
        self, asked: EvaluationFile, spec: TaskFile, folder: Path, grader: Grader | PairGrader | None
    ) -> Evaluation:
        groups: dict[str, list[Prompt]] = {}
        for group, given in asked.groups.items():
            found = load_prompts(folder / given.file, kind=given.kind, split=HELD_OUT)
            groups[group] = [prompt for prompt in found.prompts if prompt.split != TRAIN]
            unused = len(found.prompts) - len(groups[group])
            self._count(given.file, found, f"of the split train and not measured on: {unused}" if unused else "")
        own = grader if asked.grader is None else load_grader(asked.grader, folder)
        return _evaluation(asked.name, asked.caption or asked.name, groups, own, asked.measures or spec.measures)

    def _count(self, file: str, pool: PromptPool, unused: str) -> None:
        """Keep a line about what was left out of a file, if anything was."""
        left = (
            [f"left out as saying the same as another: {pool.counts['duplicate']}"] if pool.counts["duplicate"] else []
        )
        left += [unused] if unused else []
        left += [f"{name} passed over in {count_of(count, 'prompt')}" for name, count in pool.passed_over.items()]
        if left:
            self._left_out.append(f"{file}: {count_of(pool.counts['kept'], 'prompt')} kept; {', '.join(left)}")

    def _digest(self) -> str:
        training = {kind: [prompt.to_json() for prompt in pool] for kind, pool in self._training.items()}
        measured = [
            [e.name, {group: [prompt.to_json() for prompt in prompts] for group, prompts in e.prompts.items()}]
            for e in self._evaluations
        ]
        return content_digest([self.name, training, measured, self._example and self._example.to_json()])


def load_presets() -> dict[str, Mapping[str, Any]]:
    """Return the presets for models of one's own, by name; `paper` is the core's own values."""
    folder = find_files("solon.tasks") / "presets"
    small, gpu = (
        yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("small", "small-gpu")
    )
    return {"small": small, "small-gpu": merge(small, gpu), "paper": {}}


def load(source: str, *, called: str | None = None) -> FileTask:
    """Read a task's file.

    Args:
        source: the file.
        called: how it was asked for; the file itself if left out.

    Raises:
        ConfigError: it cannot be read, or a field is wrong.
        RecordError: a file of prompts or gold comparisons is wrong; file and line are named.
    """
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a task's file: {error}") from error
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError(f"{path}: is too long for a task's file: prompts go into files of their own")
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        repeated = None if root is None else _find_repeated(root)
        body = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not YAML: {one_line(error)}") from error
    if repeated is not None:
        line = repeated.start_mark.line + 1
        raise ConfigError(f"{path}:{line}: the key {shorten(repeated.value)} is there twice: remove one")
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: expected the fields of a task (name, training, ...), found {type(body).__name__}")
    return FileTask(validate(TaskFile, body, where=str(path)), path.parent, source=called or source)


def _find_repeated(root: yaml.Node) -> yaml.ScalarNode | None:
    """Return the first key that its mapping has twice, at any depth; a node that aliases share is looked at once."""
    waiting, seen = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        parts = list(node.value) if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                parts.append(value)
                if isinstance(key, yaml.ScalarNode) and key.value in names:
                    return key
                names.add(str(key.value))
        new = [part for part in parts if id(part) not in seen]
        seen.update(map(id, new))
        waiting += new
    return None


def _evaluation(
    name: str,
    caption: str,
    groups: Mapping[str, Sequence[Prompt]],
    grader: Grader | PairGrader | None,
    measures: Measures | None,
) -> Evaluation:
    grader = grader or NoGrader()
    return Evaluation(name, caption, groups, grader, measures or measures_of(grader, groups))


def _example(text: str) -> Prompt:
    return Prompt.make(Conversation.of(text), kind="red_team", source="example", split=HELD_OUT)


def _find_model(role: str, model: Any, folder: Path) -> Any:
    """Return a model as a configuration holds it, its source found from the folder of the task's file.

    Raises:
        ConfigError: a field of it is wrong.
    """
    if not isinstance(model, Mapping):
        return model
    spec = validate(ModelSpec, model, where=f"models.{role}")
    beside = folder / spec.source
    if beside.exists() or (spec.backend == LOCAL and not find_shipped_model(spec.source)):
        spec = spec.model_copy(update={"source": str(beside)})
    return spec.model_dump(mode="json", exclude_unset=True) | {"backend": spec.backend}


def _describe_nothing_held_out(training: int) -> str:
    if not training:
        return "there are no prompts to train on: name files of them under `training` as red_team, helpful or both"
    return (
        f"there is nothing to measure on, since none of the {training} prompts to train on is held out: give prompts "
        "with  --harmful FILE  or  --benign FILE, or as `evaluations` in the task's file"
    )


def _load_gold(path: Path) -> tuple[GoldComparison, ...]:
    return tuple(_read_gold(entry) for entry in read_entries(path))


def _read_gold(entry: Entry) -> GoldComparison:
    if not isinstance(entry.body, dict):
        raise RecordError(
            f"{entry.where}: expected an object with prompt, response_a, response_b, answer and kind, "
            f"found {type(entry.body).__name__}"
        )
    try:
        return GoldComparison.model_validate(entry.body)
    except ValidationError as error:
        raise RecordError(f"{entry.where}: {describe_misfit(error)}") from error


def _at_most(prompts: Sequence[Prompt], size: int | None, seed: int) -> Sequence[Prompt]:
    return prompts if size is None or size >= len(prompts) else select_prompts(prompts, size, seed=seed)
