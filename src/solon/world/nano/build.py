"""Build the nano model from nothing: `solon world build`.

Documents come from `world.corpus`, the tokenizer is frozen before any training, the training loop is
`world.nano.pretrain`. A build that is interrupted goes on from its last checkpoint when it is started again in the
same folder, by the same code, from the same recipe, constitution, templates and documents. The result is a plain
checkpoint folder with `manifest.json`: these, what it cost, the losses and the digest. The recipe and the abilities
(`nano_check`) are reproducible anywhere, the digest on one machine with one number of processes only.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from solon import __version__
from solon.constitution import load_constitution
from solon.errors import ModelError, RunError
from solon.nets import Tokenizer, load_tokenizer, save_policy, weights_digest
from solon.nets.llama import LlamaConfig
from solon.pipeline.folder import is_empty, lock_folder
from solon.pipeline.overrides import find_differences
from solon.prompting import templates_digest
from solon.records import Config
from solon.storage import content_digest, replace_file, replace_folder
from solon.world.corpus import RuleBook, sample_lesson
from solon.world.nano.documents import LessonSource, join_spans
from solon.world.nano.pretrain import PretrainConfig, PretrainLog, run_pretrain
from solon.world.nano.shape import build_nano_config, build_nano_model, build_tokenizer

MANIFEST = "manifest.json"
_WORK = ".build"


class NanoConfig(Config):
    """The recipe of a nano model.

    Every number here was chosen on goals of the `dev` split.
    """

    seed: int = Field(0, ge=0, description="of the documents and of the initial weights")
    tokens: int = Field(80_000_000, ge=1, description="training tokens in all")
    vocab_size: int = Field(1024, ge=300, description="tokens of the tokenizer")
    tokenizer_lessons: int = Field(20_000, ge=1, description="lessons the tokenizer is made from")
    width: int = Field(128, ge=32, description="of the residual stream")
    layers: int = Field(5, ge=1, description="of the model")
    heads: int = Field(4, ge=1, description="of attention")
    max_length: int = Field(1024, ge=64, description="context in tokens")
    max_document: int = Field(448, ge=64, description="longer documents are left out, in tokens")
    batch_tokens: int = Field(16_384, ge=1, description="of one optimizer step")
    answer_weight: float = Field(4.0, gt=0, description="weight of the answer to a comparison against a written word")
    learning_rate: float = Field(4e-3, gt=0, description="peak, of AdamW")
    muon_learning_rate: float = Field(0.02, gt=0, description="peak, of Muon")
    processes: int = Field(2, ge=1, le=2, description="one core each")

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} cannot be cut into {self.heads} heads of even size: change one")
        if self.max_document > self.max_length:
            raise ValueError(f"max_document {self.max_document} is more than max_length {self.max_length}: lower it")
        return self


def run_nano_build(
    config: NanoConfig, out: Path, *, on_log: Callable[[PretrainLog], None] = lambda _: None
) -> dict[str, Any]:
    """Build the nano model into `out`, or go on with a build that was interrupted there.

    Args:
        config: the recipe.
        out: folder of the checkpoint; the state of the training lies in `out/.build` until it is done.
        on_log: called with each line of metrics.

    Returns:
        The manifest, as it is written to `out/manifest.json`; that of a finished build if `out` holds it.

    Raises:
        RunError: `out` holds a build of another recipe or of other documents, or something else; or another process
            is building there.
    """
    recipe = _describe(config)
    done = _find_finished(out, recipe)
    if done is not None:
        return done
    work = out / _WORK
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{work}: cannot be made: {error.strerror or error}") from error
    with lock_folder(work):
        done = _find_finished(out, recipe)  # by the process that held the lock until now
        if done is None:
            _claim(work, recipe)
            done = _build(config, recipe, out, work, on_log)
    return done


def _build(
    config: NanoConfig, recipe: Mapping[str, Any], out: Path, work: Path, on_log: Callable[[PretrainLog], None]
) -> dict[str, Any]:
    tokenizer_path = work / "tokenizer"
    if not (tokenizer_path / "tokenizer.json").is_file():
        tokenizer = build_tokenizer(_spans(config), vocab_size=config.vocab_size, max_length=config.max_length)
        model = build_nano_model(_shape(tokenizer, config), seed=config.seed)
        save_policy(model, tokenizer, tokenizer_path)
    tokenizer = load_tokenizer(tokenizer_path)
    model = build_nano_model(_shape(tokenizer, config), seed=config.seed)
    steps = max(1, config.tokens // config.batch_tokens)
    source = LessonSource(tokenizer_path, steps, answer_weight=config.answer_weight, max_tokens=config.max_document)
    pretrain = PretrainConfig(
        steps=steps,
        batch_tokens=config.batch_tokens,
        learning_rate=config.learning_rate,
        muon_learning_rate=config.muon_learning_rate,
        seed=config.seed,
        processes=config.processes,
        warmup_steps=min(50, steps // 10),
    )
    summary = run_pretrain(model, source, pretrain, work / "training", on_log)
    loss_curve = _loss_curve(work / "training" / "metrics.jsonl")
    with replace_folder(out) as temporary:  # and with the old folder the state of the training goes
        save_policy(model, tokenizer, temporary)
        manifest = {
            "schema": 1,
            "command": "solon world build",
            **recipe,
            "parameters": sum(p.numel() for p in model.parameters()),
            "tokens": summary.tokens,
            "steps": summary.steps,
            "loss": round(summary.loss, 5),
            "loss_curve": loss_curve,
            "training_seconds": round(summary.seconds, 1),
            "digest": weights_digest(temporary),
        }
        save_nano_manifest(temporary, manifest)
    return manifest


def _describe(config: NanoConfig) -> dict[str, Any]:
    """Return all that a build depends on, under the names it has in the manifest."""
    return {
        "code_version": __version__,
        "config": config.model_dump(mode="json"),
        "constitution": load_constitution("default").digest,
        "templates": templates_digest(),
        "documents": documents_digest(),
    }


def documents_digest(lessons: int = 15) -> str:
    """Return a digest of a few hundred lessons from all stages of the training: of the world, as far as they show it.

    Args:
        lessons: from each of 21 points of the training, both ends included.
    """
    rules = RuleBook(load_constitution("default"))
    rng = random.Random(0)
    sampled = [sample_lesson(rules, rng, progress=step / 20) for step in range(21) for _ in range(lessons)]
    return content_digest(
        [
            (turn.role, [(span.text, span.trusted) for span in turn.spans], turn.weights, turn.end, turn.p_a)
            for lesson in sampled
            for turn in lesson.turns
        ]
    )


def _find_finished(out: Path, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the manifest of a finished build; None where there is none yet. Refuse anything else.

    It is known by configuration and documents, or by configuration alone where its manifest says no more, as that of
    the first models.
    """
    if (out / MANIFEST).is_file():
        manifest = load_nano_manifest(out)
        kept = {"config": manifest.get("config"), "documents": manifest.get("documents", recipe["documents"])}
        _refuse_another(out, kept, {name: recipe[name] for name in kept})
        return manifest
    if out.exists() and (not out.is_dir() or any(entry.name != _WORK for entry in out.iterdir())):
        raise RunError(f"{out}: holds something that is no build of a nano model: choose another folder")
    return None


def _claim(work: Path, recipe: Mapping[str, Any]) -> None:
    """Keep the recipe with an unfinished build, or make sure that it is the same."""
    path = work / "recipe.json"
    if path.is_file():
        _refuse_another(work.parent, json.loads(path.read_text(encoding="utf-8")), recipe)
    elif is_empty(work):
        with replace_file(path) as temporary:
            temporary.write_text(json.dumps(recipe) + "\n", encoding="utf-8")
    else:
        raise RunError(f"{work}: holds no recipe.json, so nobody knows what this build is of: choose another folder")


def _refuse_another(out: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    differences = find_differences(old, new)
    if differences:
        lines = "\n".join(f"  {difference}" for difference in differences)
        raise RunError(
            f"{out}: holds a build of another recipe or of other documents (old -> new):\n{lines}\n"
            "nothing was changed: choose another folder, or undo the difference"
        )


def load_nano_manifest(checkpoint: Path) -> dict[str, Any]:
    """Read a nano model's manifest.

    Raises:
        ModelError: the folder holds none, as that of another model.
    """
    path = checkpoint / MANIFEST
    if not path.is_file():
        raise ModelError(f"{path} is not there: `solon world build` writes it beside the weights")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def save_nano_manifest(checkpoint: Path, manifest: dict[str, Any]) -> None:
    """Write a nano model's manifest, whole or not at all."""
    with replace_file(checkpoint / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _shape(tokenizer: Tokenizer, config: NanoConfig) -> LlamaConfig:
    return build_nano_config(
        tokenizer, width=config.width, layers=config.layers, heads=config.heads, max_length=config.max_length
    )


def _spans(config: NanoConfig) -> Iterator[str]:
    """Every text that the tokenizer is made from: the spans of lessons from the middle of the training."""
    rules = RuleBook(load_constitution("default"))
    rng = random.Random(config.seed)
    for _ in range(config.tokenizer_lessons):
        for turn in sample_lesson(rules, rng, progress=0.5).turns:
            yield from join_spans(turn.spans)


def _loss_curve(metrics: Path, points: int = 20) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    every = max(1, len(lines) // points)
    return [(line["tokens"], round(line["loss"], 4)) for line in lines[every - 1 :: every]]
