"""A finished run in miniature, written by hand: everything a report reads, with markup in every text."""

import json

import pytest

from solon.constitution import Constitution, Principle
from solon.records import (
    RESULTS_SCHEMA,
    Conversation,
    EvalPrompt,
    EvalRecord,
    FilteredRevision,
    Grade,
    Manifest,
    Origin,
    PreferenceLabel,
    Prompt,
    RevisionChain,
    RevisionStep,
    RunHeader,
    RunPaths,
    Sample,
    Sampling,
    Vote,
    save_records,
)
from solon.world.task import ABOUT, CAPTIONS, MEASURES

EVIL = "<script>alert('x')</script> & \"quoted\" {{ 7*7 }} {% raw %}"


def rate(value, n=100):
    return {"value": value, "low": max(0.0, value - 0.03), "high": min(1.0, value + 0.03)}


def block(complies, helps):
    return {
        "harmful": {
            "n": 100,
            "goals": 41,
            "complies": rate(complies),
            "refuses_and_explains": rate(1 - complies),
            "evades": rate(0.0),
            "ungraded": rate(0.01),
            "cut": rate(0.2),
        },
        "benign": {"n": 90, "goals": 37, "helps_correctly": rate(helps), "ungraded": rate(0.0), "cut": rate(0.0)},
        "twins": {"n": 30, "goals": 13, "refused": rate(0.0), "ungraded": rate(0.0), "cut": rate(0.1)},
        "by_category": {
            "theft": {"n": 50, "goals": 7, "complies": rate(complies)},
            "drugs": {"n": 50, "goals": 7, "complies": rate(complies)},
        },
        "values": {"harmful": {"courteous": rate(0.4), "preaches": rate(0.1)}, "benign": {"warns": rate(0.2)}},
    }


def model(complies, helps):
    main = block(complies, helps)
    return {**main, "evaluations": {"heldout": main, "novel": block(complies, helps - 0.1)}}


def evaluation(name, measures=MEASURES, caption="", grader="world-oracle/1", groups=("harmful", "benign", "twins")):
    """What `results.json` says of an evaluation as such."""
    return {
        "name": name,
        "caption": caption,
        "grader": grader,
        "groups": dict.fromkeys(groups, 30),
        "measures": measures.model_dump(mode="json"),
    }


STAGES = ("prompts", "revision", "sft", "feedback", "ppo", "evaluation")

SHOWN = {
    "sft": {"charts": {"sft": [{"caption": "SFT: loss", "keys": ["sft/loss", "sft/eval_loss"]}]}},
    "ppo": {
        "charts": {"ppo": [{"caption": name, "keys": [f"objective/{name}"]} for name in ("score", "kl", "entropy")]},
        "figures": [
            {"caption": "iterations", "metrics": ["iterations"], "digits": 0, "share": False},
            {"caption": "score", "metrics": ["score_first", "score_last"], "digits": 2, "share": False},
            {"caption": "agrees", "metrics": ["accuracy"], "digits": 2, "share": True},
            {"caption": "agrees with nobody", "metrics": ["agreement"], "digits": 2, "share": True},
            {"caption": "never measured", "metrics": ["length"], "digits": 2, "share": False},
        ],
    },
}
"""What stages declare of curves and numbers."""

NUMBERS = {"iterations": 40.0, "score_first": -0.5, "score_last": 0.75, "accuracy": 0.9, "agreement": 0.5}
NUMBERS |= {"accuracy_low": 0.8, "accuracy_high": 0.95}


def results():
    return {
        "schema": RESULTS_SCHEMA,
        "seed": 3,
        "temperature": 1.0,
        "top_p": None,
        "min_p": None,
        "task": {"name": "world", "identity": "world/1", "title": "a run on the reference world", "about": ABOUT},
        "evaluations": [evaluation(split, caption=CAPTIONS[split]) for split in ("heldout", "novel")],
        "models": {"base": model(0.9, 0.9), "sl-cai": model(0.2, 0.88), "rl-cai": model(0.01, 0.9)},
        "stages": {
            name: {"seconds": 1.5, "model_calls": 7, "tokens": {"prompt": 70, "generated": 50}, "failures": 1}
            | {"charts": {}, "figures": [], **SHOWN.get(name, {})}
            for name in STAGES
        },
        "human_inputs": {"principles": 2, "exemplars": 0, "prompts": 0, "labels": 0},
        "ai_labels": 12,
        "grader_source": "",
        "until": None,
        "method": None,
        "model_names": {"base": "Base", "sl-cai": "SL-CAI", "rl-cai": "RL-CAI"},
        "notices": [f"feedback: {EVIL}"],
        "feedback": {
            "pairs": 14,
            "goals": 11,
            "order_disagreement": rate(0.3),
            "sure_contradictions": rate(0.05),
            "both_sure": 3,
            "near_ties": rate(0.6),
            "unlabeled": 2,
        },
        "preference_model": {"accuracy": rate(0.9), "ece_10_mirrored": 0.05},
        "ppo": {"iterations": 40, "kl": 1.25, "score_first": -0.5, "score_last": 0.75},
        "revisions": [
            {
                "round": r,
                "n": 40,
                "goals": 19,
                "complies": rate(c),
                "refuses_and_explains": rate(1 - c),
                "ungraded": rate(0.0),
                "cut": rate(0.0 if r else 0.3),
            }
            for r, c in enumerate((0.9, 0.4, 0.2))
        ],
        "total_seconds": 99.4,
        "cpu_seconds": 120.2,
        "peak_rss_mb": 812.0,
    }


def sample(text):
    return Sample(
        text=text,
        token_ids=None,
        logprobs=None,
        stop_reason="end",
        model="m",
        sampling=Sampling(),
        seed=0,
        prompt_tokens=1,
        generated_tokens=1,
        call="c0ffee",
    )


def answer(name, text, *, complies):
    prompt = Prompt.make(Conversation.of(f"How can I {EVIL}?"), kind="red_team", source="world", split="heldout")
    grade = Grade(values={"complies": complies, "courteous": True})
    return EvalRecord(
        id=f"{name}-{text[:5]}",
        evaluation="heldout",
        model_name=name,
        prompt=prompt,
        group="example",
        response=sample(text),
        grade=grade,
        grader="world-oracle/1",
    )


def ask_for(number, kind="red_team"):
    """Return one of the evaluation's prompts."""
    said = Conversation.of(f"Request {number}: {EVIL}?")
    return Prompt.make(said, kind=kind, source="world", split="heldout", goal=f"goal {number}")


ASKED = [
    *(EvalPrompt(evaluation="heldout", group="harmful", prompt=ask_for(n)) for n in range(8)),
    *(EvalPrompt(evaluation="heldout", group="benign", prompt=ask_for(n, "helpful")) for n in range(2)),
]
"""What the evaluation asked: more harmful prompts than are shown, and fewer benign ones."""


def answer_asked(name, asked, grade=None, text=None):
    """Return a model's answer to a prompt of the evaluation."""
    said = text or f"{name} answers {asked.id} {EVIL}"
    return EvalRecord(
        id=f"{name}-{asked.group}-{asked.id}",
        evaluation=asked.evaluation,
        model_name=name,
        prompt=asked.prompt,
        group=asked.group,
        response=sample(said).model_copy(update={"model": f"{name}@1"}),
        grade=grade or Grade(values={"complies": name == "base", "refuses_and_explains": name != "base"}),
        grader="world-oracle/1",
    )


def make_filtered(text, name="no_leak"):
    """Return a revision that a filter left out."""
    conversation = Conversation.of(f"How can I {EVIL}?")
    return FilteredRevision(
        id="f1", prompt_id="q1", conversation=conversation, response=text, chain_id="c1", round=2, filter=name
    )


@pytest.fixture
def finished_run(tmp_path):
    """A folder with everything a report reads."""
    paths = RunPaths(tmp_path / "my-run")
    paths.root.mkdir()
    constitution = Constitution(
        name=f"test {EVIL}",
        principles=(
            Principle(id="p-1", critique_request=f"Find {EVIL}", revision_request="Mend it.", comparison="Choose."),
            Principle(id="p-2", comparison="Choose again."),
        ),
    )
    RunHeader(
        code_version="0.1.0",
        config={"preset": "smoke", "seed": 3, "note": EVIL},
        task=Origin(source="default", name="world", digest="world/1"),
        constitution=Origin(source="my rules.yaml", name=constitution.name, digest=constitution.digest),
        models={"assistant": Origin(source="nano", digest="d1")},
        overrides={"ppo.kl_coef": 0.1},
        notices=(f"principle 'p-1': unknown {EVIL}",),
    ).save(paths.header)
    paths.constitution.write_text(constitution.to_json())
    paths.results.write_text(json.dumps(results()))
    for stage in results()["stages"]:
        manifest = Manifest(
            stage=stage,
            status="complete",
            config={},
            seed=3,
            inputs={},
            code_version="0.1.0",
            metrics=NUMBERS if stage == "ppo" else {},
            counts={"in": 10, "kept": 8, "too_long": 1, "call_failed": 1 if stage != "sft" else 0},
            seconds=1.5,
            cpu_seconds=1.25,
        )
        paths.manifest(stage).parent.mkdir(exist_ok=True)
        paths.manifest(stage).write_text(manifest.to_json())
    steps = (
        RevisionStep(principle_id="p-1", critique=sample(f"Bad: {EVIL}"), revision=sample("I will not.")),
        RevisionStep(principle_id="p-1", critique=sample("Fine."), revision=sample("I will not, as it hurts.")),
    )
    chain = RevisionChain(id="c1", prompt_id="q1", initial_response=sample(EVIL), steps=steps)
    save_records(paths.records("revision_chains"), [chain])
    votes = tuple(
        Vote(principle_id="p-2", order=order, logprob_a=-0.1, logprob_b=-3.0, call="c1") for order in ("ab", "ba")
    )
    label = PreferenceLabel(comparison_id="k1", p_a=0.9, p_a_unclamped=0.9, votes=votes, labeler="m", status="labeled")
    save_records(paths.records("preference_labels"), [label])
    draws = [answer("base", "No, sorry.", complies=False), answer("base", EVIL, complies=True)]
    finals = [answer("sl-cai", "I will not.", complies=False), answer("rl-cai", f"No {EVIL}", complies=False)]
    save_records(paths.records("prompts_evaluation"), ASKED)
    answered = [answer_asked(name, asked) for name in ("base", "sl-cai", "rl-cai") for asked in ASKED]
    save_records(paths.records("evaluation"), answered)
    save_records(paths.records("example"), [*draws, *finals])
    save_records(paths.records("example_chain"), [chain])
    paths.metrics("sft").parent.mkdir()
    paths.metrics("sft").write_text(
        "".join(json.dumps({"step": s, "sft/loss": 2.0 / s}) + "\n" for s in range(1, 1000))
    )
    paths.metrics("ppo").write_text(json.dumps({"step": 1, "objective/kl": 0.1, "objective/score": 1}) + "\n")
    return paths
