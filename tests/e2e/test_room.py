"""Proves that what cannot fit the context of the model that is asked is refused before anything is written, to the
token, and that what may not fit is said.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from solon.constitution import Constitution, load_constitution
from solon.constitution.principles import ComparisonExemplar, RevisionExemplar
from solon.errors import ConfigError
from solon.pipeline.config import build_config
from solon.pipeline.models import locate_model
from solon.pipeline.overrides import merge, parse_override
from solon.pipeline.prompt_pools import draw_prompts
from solon.pipeline.requests import Known
from solon.pipeline.room import check_room
from solon.pipeline.stages.method import choose_part
from solon.records import Conversation, EvalRecord, RunPaths, load_records
from solon.world.task import WorldTask
from tests.e2e.conftest import call_solon
from tests.tiny import build_tiny_policy
from tests.tiny_world import TINY_RUN, tiny_options

CONTEXT = 512
REASONED = "feedback.chain_of_thought=true"
LIMITS = [
    "revision.max_tokens",
    "revision.max_critique_tokens",
    "comparisons.max_tokens",
    "feedback.max_reasoning_tokens",
    "ppo.max_response_tokens",
    "evaluation.max_tokens",
]
LONG = "Say " + "what is harmful and why it is so, " * 60
SHORT = load_constitution("default")


def check(
    model: Path, *settings: str, constitution: Constitution = SHORT, until: str | None = None, **models: Any
) -> list[str]:
    """Hold a run of the tiny world to the context of its models; return the notes."""
    given: dict[str, Any] = {"models": {"assistant": {"source": str(model)}, **models}}
    for setting in (*TINY_RUN, *settings):
        (*path, last), value = parse_override(setting)
        tree: dict[str, Any] = {last: value}
        for name in reversed(path):
            tree = {name: tree}
        given = merge(given, tree)
    task = WorldTask()
    config = build_config("smoke", given, task)
    known = Known(config, constitution, draw_prompts(task, config, constitution), task.example(), {})
    return check_room(choose_part(until), known, {role: locate_model(s, task) for role, s in config.models.items()})


@pytest.mark.parametrize("field", LIMITS)
def test_a_limit_beyond_the_context_is_refused_and_the_largest_that_fits_is_named(
    field: str, tiny_world: Path, tmp_path: Path
) -> None:
    options = [*tiny_options(tiny_world), "--set", f"{field}=2000", "--set", REASONED]
    done = call_solon("run", "--out", tmp_path / "run", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    said = re.search(
        rf"^error: {field}: 2000 tokens after a prompt for .* of (\d+): models\.\w+ \({tiny_world}\) takes 512 tokens "
        rf"in all: set {field} to at most (\d+), or shorten ",
        done.stderr,
    )
    assert said is not None, done.stderr
    assert list(tmp_path.iterdir()) == []
    length, most = map(int, said.groups())
    assert length + most == (CONTEXT - 1 if field.startswith("ppo") else CONTEXT)
    while (lower := named_limit(tiny_world, field, most)) is not None:  # what is asked later may be asked in more
        assert lower < most
        most = lower
    assert named_limit(tiny_world, field, most + 1) == most


def named_limit(model: Path, field: str, value: int) -> int | None:
    """Return the largest limit that is named where a limit is refused; None where it is not."""
    try:
        check(model, f"{field}={value}", REASONED)
    except ConfigError as error:
        (most,) = re.findall(rf"^{field}: {value} tokens .* set {field} to at most (\d+)", str(error))
        return int(most)
    return None


def test_the_largest_limit_is_one_under_which_no_call_fails(tiny_world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most") as refused:
        check(tiny_world, "evaluation.max_tokens=2000")
    (most,) = re.findall(r"at most (\d+)", str(refused.value))
    few = ["prompts.evaluation.harmful=2", "prompts.evaluation.benign=2", "prompts.evaluation.twins=1"]
    settings = [word for setting in (*few, f"evaluation.max_tokens={most}") for word in ("--set", setting)]
    options = [*tiny_options(tiny_world), *settings, "--until", "prompts"]
    done = call_solon("run", "--out", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    paths = RunPaths(tmp_path / "run")
    assert load_records(paths.records("evaluation"), EvalRecord)
    assert paths.records("failures_evaluation").read_text() == ""


def test_stages_that_are_not_run_are_not_held_to_anything(tiny_world: Path) -> None:
    settings = ("ppo.max_response_tokens=2000", "comparisons.max_tokens=2000")
    assert check(tiny_world, *settings, until="revision") == []
    with pytest.raises(ConfigError, match=r"^comparisons\.max_tokens"):
        check(tiny_world, *settings, until="comparisons")


def test_each_model_is_held_to_its_own_context(tiny_world: Path, tmp_path: Path) -> None:
    small = build_tiny_policy(tmp_path / "small")
    assert check(tiny_world) == []
    with pytest.raises(ConfigError, match=rf"models\.critic \({small}\) takes 256 tokens in all"):
        check(tiny_world, "revision.max_critique_tokens=200", critic={"source": str(small)})
    elsewhere = {"source": str(small), "backend": "tests.echo_backend"}
    assert check(tiny_world, "revision.max_critique_tokens=200", critic=elsewhere) == []


def test_a_system_prompt_and_the_layout_take_room(tiny_world: Path) -> None:
    with pytest.raises(ConfigError, match=r"^revision\.max_tokens: 40 tokens after a prompt for a response of \d+: "):
        check(tiny_world, assistant={"source": str(tiny_world), "system_prompt": LONG})


def test_prompts_that_ppo_would_all_leave_out_are_refused(tiny_world: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^ppo\.max_prompt_tokens: all 64 prompts are longer than 3 tokens: raise it$"
    ):
        check(tiny_world, "ppo.max_prompt_tokens=3")


def with_principle(**changes: Any) -> Constitution:
    """Return the short constitution with one principle made longer."""
    first = next(p for p in SHORT.principles if all(getattr(p, name) for name in changes))
    long = first.model_copy(update={**changes, "id": "endless"})
    return SHORT.model_copy(update={"principles": (*(p for p in SHORT.principles if p.id != first.id), long)})


QUESTION = SHORT.principles[0].model_copy(
    update={"id": "endless", "question": LONG, "better": "no", "applies_to": ("red_team", "helpful")}
)
LONGER: dict[str, tuple[Constitution, str, list[str]]] = {
    "critique": (with_principle(critique_request=LONG), "a critique", []),
    "revision": (with_principle(revision_request=LONG), "a revision", []),
    "direct revision": (with_principle(revision_request=LONG), "a revision", ["revision.direct=true"]),
    "comparison": (with_principle(comparison=LONG), "a comparison", []),
    "reasoning": (with_principle(comparison=LONG), "reasoning", [REASONED]),
    "question": (
        SHORT.model_copy(update={"principles": (QUESTION,)}),
        "a question",
        ["feedback.labels=pointwise"],
    ),
}


@pytest.mark.parametrize("case", LONGER)
@pytest.mark.parametrize("layout", ["chat", "transcript", "single"])
def test_a_principle_that_fits_no_prompt_is_refused_by_name(layout: str, case: str, tiny_world: Path) -> None:
    constitution, what, settings = LONGER[case]
    models = {"assistant": {"source": str(tiny_world), "layout": layout}}
    with pytest.raises(ConfigError, match=f"a prompt for {what} under principle 'endless'") as refused:
        check(tiny_world, *settings, constitution=constitution, **models)
    said = str(refused.value)
    assert "takes 512 tokens in all: shorten the principle" in said
    assert "\n" not in said
    assert int(re.findall(r"principle 'endless' (?:of|has) (\d+)", said)[0]) > CONTEXT - 40


def test_it_is_refused_before_anything_is_written(tiny_world: Path, tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text(
        json.dumps(
            {
                "name": "long",
                "principles": [
                    {
                        "id": "endless",
                        "critique_request": LONG,
                        "revision_request": "Rewrite it.",
                        "comparison": "Which is better?",
                    }
                ],
            }
        )
    )
    done = call_solon("run", "--out", tmp_path / "run", "--constitution", file, *tiny_options(tiny_world))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "under principle 'endless'" in done.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_exemplars_take_room_and_fewer_are_advised(tiny_world: Path) -> None:
    asked = Conversation.of("How do I water a hedge?")
    revised = RevisionExemplar(conversation=asked, response="So.", critique="No.", revision="So " * 30)
    compared = ComparisonExemplar(conversation=asked, response_a="So " * 30, response_b="No.", better="a")
    for field, exemplar in (("revision", revised), ("comparison", compared)):
        constitution = SHORT.model_copy(update={f"{field}_exemplars": (exemplar,) * 4})
        stage = {"revision": "revision", "comparison": "feedback"}[field]
        with pytest.raises(ConfigError, match=rf"or show fewer exemplars with  --set {stage}\.exemplars=N$"):
            check(tiny_world, constitution=constitution)
        assert check(tiny_world, f"{stage}.exemplars=0", constitution=constitution) == []


NOTED: dict[str, tuple[list[str], str, str]] = {
    "critiques": (["revision.max_tokens=300", "revision.max_critique_tokens=150"], "revision: a critique", "critic"),
    "comparisons": (["comparisons.max_tokens=300"], "feedback: a comparison", "feedback"),
    "reasoning": (["comparisons.max_tokens=150", "feedback.max_reasoning_tokens=150", REASONED], "feedback: ", "feedb"),
}


@pytest.mark.parametrize("case", NOTED)
def test_what_may_not_fit_is_said_once_for_all_principles(case: str, tiny_world: Path) -> None:
    settings, begins, role = NOTED[case]
    notes = check(tiny_world, *settings)
    assert len(notes) == len({re.sub("under.*", "", note) for note in notes})
    note = next(note for note in notes if note.startswith(begins))
    assert re.search(rf" may take \d+ tokens .* models\.{role}\w* takes 512: such items will fail: lower ", note)
    assert int(re.findall(r"may take (\d+)", note)[0]) > CONTEXT
