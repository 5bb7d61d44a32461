"""Proves that a chain is what the paper says: each round criticises the response as it stands under a principle of its
own, the revision takes its place, and every draw has a seed of its own.
"""

from typing import Any

import pytest

from solon.constitution import RevisionExemplar, choose_principle
from solon.errors import ConstitutionError
from solon.lm import ScriptedModel
from solon.prompting import render_critique, render_response, render_revision
from solon.records import Conversation, Rendered, RevisionChain, Sampling
from solon.revision import RevisionConfig, revise_response, run_revision
from tests.scripts import make_constitution, make_prompts, make_sample, wait_for

CONSTITUTION = make_constitution(
    revision_exemplars=(
        RevisionExemplar(conversation=Conversation.of("E1"), response="R1", critique="C1", revision="V1"),
        RevisionExemplar(conversation=Conversation.of("E2"), response="R2", critique="C2", revision="V2"),
    )
)
PROMPTS = make_prompts(6)
CONFIG = RevisionConfig(rounds=3, max_tokens=50, max_critique_tokens=40)


def write(rendered: Rendered, sampling: Sampling, seed: int) -> str:
    """Say what was asked for, and something that no other draw says."""
    last = rendered.turns[-1].text
    what = "critique" if last.startswith("What is wrong") else "revision" if last.startswith("Mend") else "response"
    return f"{what} {seed % 100_000}"


def run(prompts=PROMPTS, config=CONFIG, constitution=CONSTITUTION, seed=7, **models: Any) -> list[RevisionChain]:
    assistant = models.get("assistant") or ScriptedModel(write)
    results = wait_for(
        run_revision(
            prompts,
            assistant=assistant,
            critic=models.get("critic") or assistant,
            constitution=constitution,
            config=config,
            seed=seed,
            max_failure_fraction=0.0,
        )
    ).results
    assert all(isinstance(item, RevisionChain) for item in results)
    return results  # type: ignore[return-value]


def test_each_round_works_on_the_response_as_it_stands() -> None:
    assistant, critic = (ScriptedModel(write, identity=name) for name in "12")
    chains = run(assistant=assistant, critic=critic)
    assert [chain.prompt_id for chain in chains] == [prompt.id for prompt in PROMPTS]
    written = {seed: asked for asked, _, seed in critic.generated}
    responses = {seed: asked for asked, _, seed in assistant.generated}
    exemplars = CONSTITUTION.revision_exemplars
    for prompt, chain in zip(PROMPTS, chains, strict=True):
        assert len(chain.steps) == 3
        assert chain.failure is None
        assert responses[chain.initial_response.seed] == render_response(prompt.conversation)
        for number, step in enumerate(chain.steps, 1):
            before = chain.response_after(number - 1).text
            principle = choose_principle(CONSTITUTION.principles, seed=7, item=prompt.id, round=number)
            assert step.principle_id == principle.id
            assert step.critique is not None
            assert written[step.critique.seed] == render_critique(
                prompt.conversation, before, principle, exemplars=exemplars
            )
            assert written[step.revision.seed] == render_revision(
                prompt.conversation, before, principle, step.critique.text, exemplars=exemplars
            )
            assert step.critique.text.startswith("critique")
            assert step.revision.text.startswith("revision")
            assert (step.critique.model, step.revision.model) == ("2", "2")


def test_every_draw_has_a_seed_of_its_own_and_its_own_limit() -> None:
    model = ScriptedModel(write)
    run(assistant=model, config=CONFIG.model_copy(update={"temperature": 0.8, "top_p": 0.9, "min_p": 0.1}))
    seeds = [seed for *_, seed in model.generated]
    assert len(set(seeds)) == len(seeds) == 6 * (1 + 2 * 3)
    for rendered, sampling, _ in model.generated:
        critiques = rendered.turns[-1].text.startswith("What is wrong")
        assert sampling == Sampling(temperature=0.8, max_tokens=40 if critiques else 50, top_p=0.9, min_p=0.1)


def test_an_item_depends_on_no_other() -> None:
    together = run()
    assert [run([prompt])[0] for prompt in reversed(PROMPTS)] == together[::-1]


def test_another_seed_draws_anew() -> None:
    first, second = run(seed=7), run(seed=8)
    assert all(
        a.id != b.id and a.initial_response.seed != b.initial_response.seed for a, b in zip(first, second, strict=True)
    )
    assert [s.principle_id for c in first for s in c.steps] != [s.principle_id for c in second for s in c.steps]


def test_rewording_a_principle_keeps_every_draw_and_removing_one_moves_only_its_own() -> None:
    before = run()
    fewer = run(constitution=make_constitution("pqr", revision_exemplars=CONSTITUTION.revision_exemplars))
    for old, new in zip(before, fewer, strict=True):
        for was, now in zip(old.steps, new.steps, strict=True):
            assert was.principle_id in (now.principle_id, "s")
    assert any(step.principle_id == "s" for chain in before for step in chain.steps)


def test_direct_revision_asks_for_no_critique() -> None:
    model = ScriptedModel(write)
    chains = run(assistant=model, config=CONFIG.model_copy(update={"direct": True}))
    assert all(step.critique is None for chain in chains for step in chain.steps)
    assert len(model.generated) == 6 * (1 + 3)
    assert not any("What is wrong" in asked.text for asked, *_ in model.generated)


def test_one_response_can_be_revised_by_itself() -> None:
    response = make_sample("given")
    chain = wait_for(
        revise_response(
            PROMPTS[0], response, critic=ScriptedModel(write), constitution=CONSTITUTION, config=CONFIG, seed=7
        )
    )
    assert chain.initial_response == response
    assert len(chain.steps) == 3


def test_progress_counts_prompts() -> None:
    seen: list[tuple[int, int]] = []
    wait_for(
        run_revision(
            PROMPTS,
            assistant=ScriptedModel(write),
            critic=ScriptedModel(write),
            constitution=CONSTITUTION,
            config=CONFIG,
            seed=7,
            max_failure_fraction=0.0,
            on_progress=lambda done, total: seen.append((done, total)),
        )
    )
    assert seen[-1] == (6, 6)


def test_a_kind_without_principles_is_an_error_before_any_call() -> None:
    principles = tuple(p.model_copy(update={"applies_to": ("red_team",)}) for p in CONSTITUTION.principles)
    model = ScriptedModel(write)
    with pytest.raises(ConstitutionError, match="helpful prompts"):
        run(
            [*PROMPTS, *make_prompts(1, "helpful")],
            constitution=make_constitution(principles=principles),
            assistant=model,
        )
    assert model.generated == []


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": 2},
        {"direct": True},
        {"temperature": 0.5},
        {"top_p": 0.9},
        {"min_p": 0.1},
        {"max_tokens": 9},
        {"max_critique_tokens": 9},
        {"exemplars": 1},
    ],
)
def test_fields_turn_something(change: dict[str, Any]) -> None:
    before, after = ScriptedModel(write), ScriptedModel(write)
    run(assistant=before)
    run(assistant=after, config=CONFIG.model_copy(update=change))
    assert before.generated != after.generated


def test_every_request_is_in_the_layout_of_the_model_that_is_asked() -> None:
    def write_anything(*_: Any) -> str:
        return "fine"

    assistant = ScriptedModel(write_anything)
    critic = ScriptedModel(write_anything, layout="transcript")
    run(assistant=assistant, critic=critic)
    assert [asked.layout for asked, *_ in assistant.generated] == ["chat"] * 6
    assert [asked.layout for asked, *_ in critic.generated] == ["transcript"] * 6 * 2 * 3
    assert all("E1" in asked.text and "E2" in asked.text for asked, *_ in critic.generated)


def test_a_critic_of_the_single_layout_is_asked_for_each_step_in_one_turn() -> None:
    critic = ScriptedModel(write, layout="single")
    chain = run(critic=critic)[0]
    asked = [rendered for rendered, *_ in critic.generated]
    assert {turn.role for rendered in asked for turn in rendered.turns[-1:]} == {"user"}
    first = next(rendered for rendered in asked if chain.initial_response.text in rendered.turns[-1].text)
    assert first.turns[-1].text.count("\n\nResponse: ") == 1
    assert {len(rendered.turns) for rendered in asked} == {5}  # two exemplars of a turn and an answer, and the item


def test_unlike_exemplars_share_no_word_with_the_request() -> None:
    prompts = make_prompts(6)
    shared = prompts[0].conversation
    exemplars = (RevisionExemplar(conversation=shared, response="R0", critique="C0", revision="V0"),)
    constitution = make_constitution(revision_exemplars=(*exemplars, *CONSTITUTION.revision_exemplars))
    shown = {}
    for choice in ("first", "unlike"):
        critic = ScriptedModel(write)
        config = CONFIG.model_copy(update={"exemplar_choice": choice, "exemplars": 2})
        run(prompts[:1], config, constitution, critic=critic)
        shown[choice] = {
            tuple(name for name in ("V0", "V1", "V2") if name in asked.text) for asked, *_ in critic.generated
        }
    assert shown == {"first": {("V0", "V1")}, "unlike": {("V1", "V2")}}


def test_every_field_is_tried() -> None:
    drawn = {"temperature", "top_p", "min_p", "max_tokens", "max_critique_tokens"}
    tried = {"rounds", "direct", *drawn, "exemplars", "exemplar_choice"}
    elsewhere = {"targets", "helpful_samples", "helpful_max_tokens", "cut_responses", "filters"}  # in other files
    assert set(RevisionConfig.model_fields) - tried == elsewhere
