"""Lessons become token ids exactly as the same prompt is tokenised when it is asked, answers where they belong."""

import pickle
import random

import numpy as np
import pytest

from solon.constitution import load_constitution
from solon.nets import encode_prompt, save_policy
from solon.records import Rendered, Span, Turn
from solon.world.corpus import RuleBook, sample_lesson
from solon.world.nano.documents import LessonEncoder, LessonSource, join_spans
from solon.world.nano.shape import END, build_nano_config, build_nano_model, build_tokenizer

RULES = RuleBook(load_constitution("default"))


@pytest.fixture(scope="module")
def tokenizer():
    rng = random.Random(0)
    lessons = [sample_lesson(RULES, rng, progress=0.5) for _ in range(200)]
    return build_tokenizer(text for lesson in lessons for t in lesson.turns for text in join_spans(t.spans))


def parted(tokenizer, ids: list[int]) -> list[int]:
    """Ids in which a full stop and the line break after it are two tokens, as where two pieces of a lesson meet."""
    stop, line, both = tokenizer.convert_tokens_to_ids([".", "Ċ", ".Ċ"])
    return [part for index in ids for part in ((stop, line) if index == both else (index,))]


def test_ids_equal_those_of_the_rendered_prompt(tokenizer) -> None:
    encoder = LessonEncoder(tokenizer, answer_weight=4.0)
    end = tokenizer.convert_tokens_to_ids(END)
    for seed in range(60):
        lesson = sample_lesson(RULES, random.Random(seed), progress=0.5)
        ids = parted(tokenizer, encoder.encode(lesson).ids.tolist())
        for stop in range(1, len(lesson.turns) + 1):
            turns = tuple(Turn(role=turn.role, spans=turn.spans) for turn in lesson.turns[:stop])
            if any(turn.p_a is not None for turn in lesson.turns[: stop - 1]):
                break  # an answer stands between: a prompt of the toolkit has none
            prompt = parted(tokenizer, encode_prompt(tokenizer, Rendered(layout="chat", turns=turns)))
            if turns[-1].role == "user":
                prompt = prompt[:-1]  # without the mark that asks for the next turn
            assert ids[: len(prompt)] == prompt
            assert ids[len(prompt) - 1] == end or turns[-1].role == "assistant"


def test_answers_are_soft_targets_in_their_place(tokenizer) -> None:
    encoder = LessonEncoder(tokenizer, answer_weight=4.0)
    letters = {tokenizer.convert_tokens_to_ids("A"), tokenizer.convert_tokens_to_ids("B")}
    seen = 0
    for seed in range(80):
        lesson = sample_lesson(RULES, random.Random(seed), progress=0.5)
        document = encoder.encode(lesson)
        assert len(document.soft) == sum(turn.p_a is not None for turn in lesson.turns)
        for position, target in document.soft:
            assert set(target) <= letters
            assert sum(target.values()) == 1.0
            assert document.ids[position] in letters
            assert document.weights[position] == 4.0
            seen += 1
    assert seen > 50


def test_the_source_is_a_function_of_step_and_seed_and_pickles(tokenizer, tmp_path) -> None:
    model = build_nano_model(build_nano_config(tokenizer, width=32, layers=1, heads=1), seed=0)
    save_policy(model, tokenizer, tmp_path / "tokenizer")
    source = LessonSource(tmp_path / "tokenizer", 100, answer_weight=4.0, max_tokens=200)
    copy = pickle.loads(pickle.dumps(source))
    for _, one, other in zip(range(20), source(50, 7), copy(50, 7), strict=False):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.weights, other.weights)
        assert len(one.ids) <= 200
    assert next(source(50, 8)).ids.tolist() != next(source(50, 7)).ids.tolist()


def test_spans_are_joined_by_trust_and_spaces_belong_to_the_next_word() -> None:
    def spans(*parts: tuple[str, bool]) -> list[Span]:
        return [Span(text=text, trusted=trusted) for text, trusted in parts]

    assert join_spans(spans(("Ask: ", True), ("why", False), (" now", True))) == ["Ask:", " why", " now"]
    assert join_spans(spans(("a", True), ("b", True), ("c", False), ("", True), ("d", False))) == ["ab", "cd"]
    assert join_spans(spans(("a ", False), (" b", True))) == ["a ", " b"]
    assert join_spans(spans((" ", True), ("b", False))) == [" b"]
    assert join_spans(spans(("a  ", True), ("b", False))) == ["a ", " b"]
    assert join_spans(spans(("a\n", True), ("b", False))) == ["a\n", "b"]
    assert join_spans(spans(("a ", True))) == ["a "]
