"""Proves that an assistant is asked, trained and talked to in one layout, token for token, through the whole method:
one with a system prompt and a chat template that is told something, and a base model without one, in transcripts.

The witness is transformers' own chat template, told the same over the same turns, and of transcripts the tokenizer's
own reading of the text as the paper has it. That of log-probabilities and scores is the forward pass of the model that
plain transformers loads.
"""

import re
import shutil
from collections import defaultdict

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from solon.inference import Sampler
from solon.lm import read_call
from solon.nets import decode_response, load_tokenizer
from solon.pipeline.manifests import load_manifest
from solon.pipeline.stages.evaluation import ANSWERS
from solon.pipeline.stages.feedback import LABELS, PAIRS
from solon.pipeline.stages.prompts import COMPARISON_PROMPTS, EVALUATION_PROMPTS, PPO_PROMPTS, REVISION_PROMPTS
from solon.pipeline.stages.revision import CHAINS, SFT_EXAMPLES
from solon.records import Conversation, RunPaths
from solon.training import learner, ppo, preference_model, rollout, sft
from solon.training.batching import RowEncoder, pack_rows
from solon.training.forward import read_logprobs, read_scores
from tests.alone import logprobs_alone, score_alone
from tests.e2e.conftest import call_solon
from tests.made_up_tokenizers import NANO_TOLD
from tests.tiny_world import build_tiny_base_model, tiny_options
from tests.tolerances import FLOAT32_SAME

RULE = "Write a reply to this request."
PACE = "Sure"
SETTINGS = [f"models.assistant.system_prompt={RULE}", f"models.assistant.chat_template_kwargs.pace={PACE}"]


@pytest.fixture
def seen(monkeypatch):
    """Prompts by who read them: sampler, forced choice, or the module that trained on them."""
    prompts = defaultdict(set)

    def watch(name, take):
        def watched(sampler, asked, *given, **options):
            prompts[name] |= set(map(tuple, asked))
            return take(sampler, asked, *given, **options)

        monkeypatch.setattr(Sampler, name, watched)

    def watch_rows(module):
        def packed(rows, **options):
            prompts[module.__name__] |= {row.ids[: row.prompt_length] for row in rows}
            return pack_rows(rows, **options)

        monkeypatch.setattr(module, "pack_rows", packed)

    for name in ("sample", "choose"):
        watch(name, getattr(Sampler, name))
    for module in (sft, preference_model, rollout, learner):
        watch_rows(module)
    return prompts


@pytest.fixture
def model(tmp_path, tiny_world):
    """The tiny model under a chat template that looks at `pace`."""
    shutil.copytree(tiny_world, tmp_path / "model")
    tokenizer = load_tokenizer(tmp_path / "model")
    tokenizer.chat_template = NANO_TOLD
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_what_is_asked_what_is_learnt_and_what_is_talked_to_have_one_layout(tmp_path, model, seen):
    folder = tmp_path / "run"
    options = [*tiny_options(model), *(word for setting in SETTINGS for word in ("--set", setting))]
    done = call_solon("run", "--out", folder, *options)
    assert done.returncode == 0, done.stderr
    tokenizer, paths = load_tokenizer(model), RunPaths(folder)

    def encode(messages):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, pace=PACE)
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    def laid_out(conversations):
        talks = ([{"role": m.role, "content": m.text} for m in talk.messages] for talk in conversations)
        return {encode([{"role": "system", "content": RULE}, *talk]) for talk in talks}

    def prompts_of(records):
        return laid_out(prompt.conversation for prompt in records.load(paths))

    for name in ("sample", "choose"):
        (system,) = {ids[: ids.index(tokenizer.eos_token_id) + 1] for ids in seen[name]}
        assert tokenizer.decode(system) == f"<|system|>{RULE}<|end|>"
    for asked in (REVISION_PROMPTS, COMPARISON_PROMPTS):
        assert prompts_of(asked) <= seen["sample"]
    assert seen[sft.__name__] == laid_out(example.conversation for example in SFT_EXAMPLES.load(paths))
    assert seen[preference_model.__name__] == laid_out(pair.prompt.conversation for pair in PAIRS.load(paths))
    assert seen[sft.__name__] <= seen["sample"]
    assert seen[preference_model.__name__] <= seen["sample"]
    assert seen[rollout.__name__] == seen[learner.__name__]
    assert set() < seen[rollout.__name__] <= seen["sample"] & prompts_of(PPO_PROMPTS)
    check_talk(folder, seen, laid_out)


def check_talk(folder, seen, laid_out):
    """Every model of the run is talked to in the layout of its assistant."""
    for name in ("base", "sl-cai", "rl-cai"):
        seen.clear()
        talk = call_solon("chat", folder, "--model", name, "--max-tokens", "8", stdin="How do I bake a cake?\n")
        assert talk.returncode == 0, talk.stderr
        assert seen["sample"] == laid_out([Conversation.of("How do I bake a cake?")])


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    """A checkpoint without a chat template, which ends some answers and goes on with another request after others."""
    return build_tiny_base_model(tmp_path_factory.mktemp("base") / "base")


def test_a_base_model_without_a_chat_template_goes_through_the_whole_method(tmp_path, base_model, seen, monkeypatch):
    ends = []
    whole = ppo.read_rollout
    monkeypatch.setattr(
        ppo,
        "read_rollout",
        lambda rows, ended, *given, **options: (
            ends.append((ended, options["stopped"])) or whole(rows, ended, *given, **options)
        ),
    )
    folder = tmp_path / "run"
    done = call_solon("run", "--out", folder, *tiny_options(base_model), "--set", "models.assistant.layout=transcript")
    assert done.returncode == 0, done.stderr
    plain, paths = AutoTokenizer.from_pretrained(base_model), RunPaths(folder)
    assert plain.chat_template is None

    def laid_out(conversations):
        return {tuple(plain(transcript_of(talk))["input_ids"]) for talk in conversations}

    def prompts_of(records):
        return laid_out(prompt.conversation for prompt in records.load(paths))

    examples, pairs = SFT_EXAMPLES.load(paths), PAIRS.load(paths)
    assert prompts_of(REVISION_PROMPTS) | prompts_of(COMPARISON_PROMPTS) <= seen["sample"]
    assert seen[sft.__name__] == laid_out(example.conversation for example in examples)
    assert seen[preference_model.__name__] == laid_out(pair.prompt.conversation for pair in pairs)
    assert seen[rollout.__name__] == seen[learner.__name__]
    assert set() < seen[rollout.__name__] <= prompts_of(PPO_PROMPTS)
    # Of the episodes some ended with the end token and some with a stop string, as some answers of the base do.
    reasons = {(end, place in stopped) for ended, stopped in ends for place, end in enumerate(ended)}
    assert {(True, True), (True, False)} <= reasons
    kinds = {answer.response.stop_reason for answer in ANSWERS.load(paths)}
    assert {"end", "stop"} <= kinds
    check_talk(folder, seen, laid_out)
    check_rows(paths, examples)


def transcript_of(talk, user="Human", assistant="Assistant"):
    """Write a conversation down as the paper does, up to the next answer."""
    names = {"user": user, "assistant": assistant}
    return "".join(f"\n\n{names[message.role]}: {message.text}" for message in talk.messages) + f"\n\n{assistant}:"


@torch.no_grad()
def check_rows(paths, examples):
    """What training reads of the rows is what plain transformers reads, in models that have no chat template either."""
    policies = {name: AutoModelForCausalLM.from_pretrained(paths.model(name)) for name in ("sl-cai", "rl-cai")}
    scorer = AutoModelForSequenceClassification.from_pretrained(paths.model("preference-model"))
    for name in (*policies, "preference-model", "value"):
        assert AutoTokenizer.from_pretrained(paths.model(name)).chat_template is None
    tokenizer = load_tokenizer(paths.model("sl-cai"))
    encoder = RowEncoder(tokenizer, layout="transcript")
    rows = [encoder.row(example.conversation, example.response, example.tokens) for example in examples]
    assert encoder.reread == 0
    for row, example in zip(rows, examples, strict=True):
        said = transcript_of(example.conversation) + example.response
        assert tokenizer.decode(row.ids) == said + tokenizer.eos_token
    for share in (False, True):
        batch = pack_rows(rows, share_prompts=share)
        for model in policies.values():
            for row, found in zip(rows, read_logprobs(model, batch, None), strict=True):
                expected = logprobs_alone(model, row.ids)[row.prompt_length - 1 :]
                same(found[: row.response_length], expected)
        same(read_scores(scorer, batch), torch.stack([score_alone(scorer, row.ids) for row in rows]))


def same(found, expected):
    torch.testing.assert_close(found.double(), expected.double(), rtol=FLOAT32_SAME, atol=FLOAT32_SAME)


def test_own_templates_lay_out_all_that_is_asked_learnt_and_talked_of(tmp_path, base_model, seen):
    own, folder = tmp_path / "own", tmp_path / "run"
    (own / "transcript").mkdir(parents=True)
    for name, speaker in (("user", "Frage"), ("assistant", "Antwort")):
        (own / "transcript" / f"{name}.txt").write_text(f"\n\n{speaker}: {{{{text}}}}\n")
    settings = ["--set", "models.assistant.layout=transcript", "--templates", own]
    done = call_solon("run", "--out", folder, *tiny_options(base_model), *settings)
    assert done.returncode == 0, done.stderr
    plain, paths = AutoTokenizer.from_pretrained(base_model), RunPaths(folder)

    def laid_out(conversations):
        return {tuple(plain(transcript_of(talk, "Frage", "Antwort"))["input_ids"]) for talk in conversations}

    examples, pairs = SFT_EXAMPLES.load(paths), PAIRS.load(paths)
    for asked in (REVISION_PROMPTS, COMPARISON_PROMPTS):
        assert laid_out(prompt.conversation for prompt in asked.load(paths)) <= seen["sample"]
    assert laid_out(asked.prompt.conversation for asked in EVALUATION_PROMPTS.load(paths)) <= seen["sample"]
    assert seen[sft.__name__] == laid_out(example.conversation for example in examples)
    assert seen[preference_model.__name__] == laid_out(pair.prompt.conversation for pair in pairs)
    assert seen[rollout.__name__] == seen[learner.__name__]
    assert set() < seen[rollout.__name__] <= laid_out(prompt.conversation for prompt in PPO_PROMPTS.load(paths))
    # What follows in a critique's prompt is laid out by the package's templates, after the own ones.
    call = next(step.critique.call for chain in CHAINS.load(paths) for step in chain.steps)
    (said,) = read_call(paths.journal, call).request["turns"]
    text = "".join(span[1] for span in said[1])
    assert re.match(r"\n\nFrage: .*\n\nAntwort: .*\n\nCritiqueRequest: .*\n\nCritique:$", text, re.DOTALL)
    assert "Human:" not in text
    shutil.rmtree(own)  # a run keeps them
    check_talk(folder, seen, laid_out)
    assert f"--templates {own}" in (folder / "report.html").read_text()


RULES = """
name: two-shots
principles:
  - id: kind
    critique_request: Say what is unkind.
    revision_request: Make it kind.
    comparison: Choose the kinder one.
exemplars:
  revision:
    - {conversation: "How do I take a bell?", response: Take it., critique: It is theft., revision: I will not help.}
    - {conversation: "How do I take a lamp?", response: Go on., critique: It steals., revision: No.}
  comparison:
    - {conversation: "How do I take a hook?", response_a: Take it., response_b: No., better: b}
"""


def test_a_whole_run_asks_in_one_turn_and_shows_exemplars_as_turns_with_their_answers(tmp_path, tiny_world, seen):
    folder, rules = tmp_path / "run", tmp_path / "rules.yaml"
    rules.write_text(RULES)
    settings = ["--set", "models.assistant.layout=single", "--constitution", rules]
    done = call_solon("run", "--out", folder, *tiny_options(tiny_world), *settings)
    assert done.returncode == 0, done.stderr
    plain, paths = AutoTokenizer.from_pretrained(tiny_world), RunPaths(folder)

    def turns_of(call):
        turns = read_call(paths.journal, call).request["turns"]
        return [(role, "".join(span[1] for span in spans)) for role, spans in turns]

    said = "Request: How do I take a {}?\n\nResponse: {}"
    criticised = [
        ("user", f"{said.format('bell', 'Take it.')}\n\nSay what is unkind."),
        ("assistant", "It is theft."),
        ("user", f"{said.format('lamp', 'Go on.')}\n\nSay what is unkind."),
        ("assistant", "It steals."),
    ]
    revised = [
        ("user", f"{said.format('bell', 'Take it.')}\n\nCritique: It is theft.\n\nMake it kind."),
        ("assistant", "I will not help."),
        ("user", f"{said.format('lamp', 'Go on.')}\n\nCritique: It steals.\n\nMake it kind."),
        ("assistant", "No."),
    ]
    compared = [
        ("user", "Human: How do I take a hook?\n\n(A) Take it.\n(B) No.\n\nChoose the kinder one."),
        ("assistant", "The answer is: (B)"),
    ]
    steps = [(chain, step) for chain in CHAINS.load(paths) for step in chain.steps[:1]]
    assert steps
    prompts = {prompt.id: prompt.conversation.messages[-1].text for prompt in REVISION_PROMPTS.load(paths)}
    for chain, step in steps:
        asked = f"Request: {prompts[chain.prompt_id]}\n\nResponse: {chain.initial_response.text.strip()}\n\n"
        *shown, (role, last) = turns_of(step.critique.call)
        assert (shown, role) == (criticised, "user")
        assert last.endswith(f"{asked}Say what is unkind.")
        *shown, (role, last) = turns_of(step.revision.call)
        assert (shown, role) == (revised, "user")
        assert last.endswith(f"{asked}Critique: {step.critique.text.strip()}\n\nMake it kind.")
    for label in LABELS.load(paths):
        for vote in label.votes:
            *shown, (_, question), answer = turns_of(vote.call)
            assert (shown, answer) == (compared, ("assistant", "The answer is: ("))
            assert question.endswith("Choose the kinder one.")

    def laid_out(conversations):
        talks = ([{"role": m.role, "content": m.text} for m in talk.messages] for talk in conversations)
        return {tuple(plain.apply_chat_template(talk, add_generation_prompt=True)["input_ids"]) for talk in talks}

    examples, pairs = SFT_EXAMPLES.load(paths), PAIRS.load(paths)
    assert seen[sft.__name__] == laid_out(example.conversation for example in examples)
    assert seen[preference_model.__name__] == laid_out(pair.prompt.conversation for pair in pairs)
    assert set() < seen[rollout.__name__] <= laid_out(prompt.conversation for prompt in PPO_PROMPTS.load(paths))
    check_talk(folder, seen, laid_out)
    assert {answer.model_name for answer in ANSWERS.load(paths)} == {"base", "sl-cai", "rl-cai"}
    assert (folder / "report.html").is_file()
    revision = load_manifest(paths.manifest("revision")).counts
    assert revision["kept"] > 0


@pytest.mark.parametrize("layout", ["chat", "single"])
@pytest.mark.parametrize("role", ["assistant", "critic", "judge"])
def test_a_layout_that_needs_a_template_is_refused_before_anything_is_written(
    tmp_path, tiny_world, base_model, role, layout
):
    model = base_model if role == "assistant" else tiny_world
    settings = [f"models.{role}.source={base_model}", f"models.{role}.layout={layout}"]
    words = [word for setting in settings for word in ("--set", setting)]
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(model), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {base_model}: has no chat template, which the {layout} layout needs: choose plain text with  "
        f"--set models.{role}.layout=transcript,  or add the model's chat_template.jinja to its folder\n"
    )
    assert not (tmp_path / "run").exists()


def test_every_layout_that_a_checkpoint_is_asked_in_is_looked_at(tmp_path, base_model):
    """Also where training starts from the same checkpoint in a layout that it has."""
    settings = ["models.assistant.layout=transcript", f"models.critic.source={base_model}"]
    words = [word for setting in settings for word in ("--set", setting)]
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(base_model), *words)
    assert "--set models.critic.layout=transcript" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("assistant", ["tiny_world", "base_model"])
def test_no_first_letter_tells_a_revision_of_a_critic_in_another_layout(tmp_path, tiny_world, base_model, assistant):
    """Both layouts have one vocabulary, and only one of them a space before a response."""
    models = {"tiny_world": (tiny_world, "chat"), "base_model": (base_model, "transcript")}
    critic = next(name for name in models if name != assistant)
    settings = []
    for role, name in (("assistant", assistant), ("critic", critic)):
        for field, value in zip(("source", "layout"), models[name], strict=True):
            settings += ["--set", f"models.{role}.{field}={value}"]
    folder = tmp_path / "run"
    done = call_solon("run", "--out", folder, "--until", "sft_examples", *tiny_options(models[assistant][0]), *settings)
    assert done.returncode == 0, done.stderr
    examples = SFT_EXAMPLES.load(RunPaths(folder))
    assert {example.source for example in examples} == {"revision", "helpful"}
    source, layout = models[assistant]
    encoder = RowEncoder(load_tokenizer(source), layout=layout)
    revisions = [example for example in examples if example.source == "revision"]
    rows = [encoder.row(example.conversation, example.response, example.tokens) for example in revisions]
    first = {decode_response(load_tokenizer(source), list(row.ids[row.prompt_length :]))[:1].isspace() for row in rows}
    assert first == {layout == "transcript"}
