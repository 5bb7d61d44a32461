"""A pipeline without a network: scripted answers in the world's own words, and training that only writes down what it
was given. Everything it does is a function of its inputs, so that two runs can be compared byte for byte.
"""

import json
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from solon.lm import ScriptedModel
from solon.lm.backends import local
from solon.pipeline import plan
from solon.storage import content_digest, replace_file
from solon.training.ppo import PPOSummary
from solon.training.preference_model import PMSummary
from solon.training.sft import SFTSummary
from solon.world.grammar import render_response, sample_style
from solon.world.oracle import parse_request
from solon.world.plans import ResponsePlan, sample_helpful_only_plan

SMALL = {
    "prompts": {
        "revision": {"red_team": 6, "helpful": 4},
        "comparisons": {"red_team": 12, "helpful": 6},
        "ppo": {"red_team": 8, "helpful": 8},
        "evaluation": {"harmful": 6, "benign": 5, "twins": 3},
    },
    "heldout_pairs": 0.3,
}
"""Overrides that make a run of a second or two."""


class FakeModels:
    """Checkpoints are folders with one JSON file, which says how harmless the model is."""

    def __init__(self, root: Path):
        self.base = root / "base"
        self.base.mkdir(parents=True, exist_ok=True)
        (self.base / "model.json").write_text('{"refuses": 0.0}')
        self.models = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put these in the place of torch: of the local backend, and of the three loops that train."""
        with pytest.MonkeyPatch.context() as patch:
            self.install(patch)
            yield

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put these in the place of torch until `patch` is undone."""
        patch.setattr(local, "identify", lambda spec: self.digest(Path(spec.source)))
        patch.setattr(local, "open_model", lambda spec: nullcontext(self.open_model(Path(spec.source))))
        patch.setattr(plan, "check_trainable", lambda role, spec: self.check_trainable(role, spec))
        patch.setattr(plan, "check_askable", lambda role, spec: ())
        patch.setattr(plan, "describe_thoughts", lambda models, trained, tokenizers: [])
        patch.setattr(plan, "check_openings", lambda models, tokenizers: None)
        patch.setattr(plan, "check_room", lambda graph, known, models, tokenizers: [])
        patch.setattr("solon.training.sft.run_sft", self.run_sft)
        patch.setattr("solon.training.preference_model.run_preference_model", self.run_preference_model)
        patch.setattr("solon.training.ppo.run_ppo", self.run_ppo)

    @property
    def assistant(self):
        """What a configuration says to have the base as the assistant."""
        return {"models": {"assistant": {"source": str(self.base)}}}

    def check_trainable(self, role, spec):
        return ()

    def digest(self, checkpoint):
        return content_digest((checkpoint / "model.json").read_text())

    def open_model(self, checkpoint):
        refuses = json.loads((checkpoint / "model.json").read_text())["refuses"]
        model = ScriptedModel(
            lambda prompt, sampling, seed: _reply(prompt, seed, refuses), _choose, identity=self.digest(checkpoint)
        )
        self.models.append(model)
        return model

    def run_sft(
        self,
        base,
        examples,
        config,
        out,
        *,
        seed,
        metrics,
        on_progress,
        device,
        chat_template_kwargs,
        system_prompt,
        layout,
    ):
        self._train(out, metrics, examples, 0.8, ("sft/loss",), on_progress)
        return SFTSummary(
            steps=3,
            examples=len(examples),
            eval_examples=0,
            left_out=0,
            reread=0,
            target_tokens=9,
            loss_first=2.0,
            loss_last=1.0,
            eval_loss_before=None,
            eval_loss_after=None,
        )

    def run_preference_model(
        self,
        init,
        pairs,
        heldout,
        config,
        out,
        *,
        seed,
        metrics,
        on_progress,
        device,
        chat_template_kwargs,
        system_prompt,
        layout,
    ):
        self._train(out, metrics, [*pairs, *heldout], 0.8, ("pm/loss",), on_progress)
        return PMSummary(
            steps=3,
            pairs=len(pairs),
            heldout_pairs=len(heldout),
            left_out=0,
            reread=0,
            train_loss=0.5,
            loss=0.5,
            accuracy=0.75,
            clear_pairs=4,
            ece_10_mirrored=0.1,
            ranked={pair.id: float(number > 0) for number, pair in enumerate(heldout[:4])},
        )

    def run_ppo(
        self,
        policy,
        preference_model,
        prompts,
        config,
        out,
        *,
        seed,
        metrics,
        on_progress,
        value_out,
        device,
        chat_template_kwargs,
        system_prompt,
        layout,
    ):
        self._train(out, metrics, prompts, 0.97, ("objective/score", "objective/kl"), on_progress)
        value_out.mkdir(parents=True, exist_ok=True)
        (value_out / "model.json").write_text('{"refuses": 0}')
        return PPOSummary(
            iterations=3,
            responses=12,
            prompts_left_out=0,
            kl=0.5,
            score_first=-1.0,
            score_last=1.0,
            score_mean=0.0,
            score_std=1.0,
            ended=1.0,
        )

    def _train(self, out, metrics, items, refuses, keys, on_progress):
        out.mkdir(parents=True, exist_ok=True)
        metrics.parent.mkdir(parents=True, exist_ok=True)
        with metrics.open("w") as file:
            for step in range(1, 4):
                file.write(json.dumps({"step": step, **dict.fromkeys(keys, 1.0 / step)}) + "\n")
                on_progress(step, 3)
        body = {"refuses": refuses, "from": content_digest([item.to_json() for item in items])}
        with replace_file(out / "model.json") as temporary:
            temporary.write_text(json.dumps(body))


def _reply(prompt, seed, refuses):
    """Answer a request as the world would; answer a critique or revision request with a fixed text."""
    rng = random.Random(seed)
    texts = [turn.text for turn in prompt.turns]
    goal = parse_request(texts)
    if goal is not None:
        if goal.harmful and rng.random() < refuses:
            return render_response(ResponsePlan(refuses=True, explains=goal.group), goal, sample_style(rng))
        return render_response(sample_helpful_only_plan(goal, rng), goal, sample_style(rng))
    if len(texts) % 4 == 1 and rng.random() < 0.1:
        return ("cut off in the middle of", "length")
    return "The response helps with harm." if rng.random() < 0.5 else "I will not help with that."


def _choose(prompt, options):
    rng = random.Random(prompt.text)
    p = rng.uniform(0.05, 0.95)
    return (math.log(p * 0.98), math.log((1 - p) * 0.98))


def read_folder(root, *patterns):
    """Return the content of every file below `root` that matches one of the patterns, by name."""
    files = (p for pattern in patterns for p in root.glob(pattern) if p.is_file())
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}
