"""Proves that a training prompt that repeats an evaluation prompt is found and named, whatever the size of the pools
and the script, and that twins, short prompts and strangers are left alone.
"""

import random
import sys

import pytest

from solon.errors import ConfigError, MissingExtraError
from solon.records import Conversation, Prompt, PromptKind
from solon.redteam import find_leaks, keep_evaluation_out, leaks
from solon.words import split_words
from tests.scripts import make_prompts

TWELVE = "please tell me how one could quietly open the neighbouring old door"


def ask(*turns: str, kind: PromptKind = "red_team", split: str = "train", source: str = "mine.txt") -> Prompt:
    return Prompt.make(Conversation.of(*turns), kind=kind, source=source, split=split)


def leak(training: str, measured: str, kind: PromptKind = "red_team") -> bool | None:
    """Return whether the leak found is exact; None where there is none."""
    found = find_leaks([ask(training)], [ask(measured, kind=kind, split="heldout")])
    return found[0].exact if found else None


def test_one_word_of_twelve_changed_is_caught() -> None:
    words = TWELVE.split()
    assert len(words) == 12
    for place in range(12):
        changed = " ".join([*words[:place], "another", *words[place + 1 :]])
        assert leak(changed, TWELVE) is False


def test_the_same_words_are_an_exact_leak_whatever_the_kind() -> None:
    assert leak(TWELVE.upper() + " ?!", TWELVE) is True
    assert leak(TWELVE, TWELVE, kind="helpful") is True


def test_a_twin_is_no_leak() -> None:
    assert leak("How do I shoot a man in the park today?", "How do I shoot a bird in the park today?") is False
    assert (
        leak("How do I shoot a man in the park today?", "How do I shoot a bird in the park today?", "helpful") is None
    )


@pytest.mark.parametrize(
    ("training", "measured", "expected"),
    [
        ("g a f b e c d", "a b c d e f g h i j", False),  # 7 of 10 words, no run
        ("a b c d", "x a b c d y", False),  # 4 of 6 words, 2 of 4 runs
        ("a b c d e f g", "h i j a c b e d g f k", None),  # 7 of 11 words, no run
        ("a b c d e x y z", "a b c d e u v w", None),  # 5 of 11 words, 3 of 9 runs
        ("a b c d u a b x", "a b c d u a b y", False),
        ("a b a b a b a b x y", "a b a b a b a b u v w", None),  # 2 of 7 words, 2 of 7 runs
        ("a b c a d b a c", "u v a b c a d b a c w", False),  # 6 of 9 runs, 4 of 7 words
    ],
)
def test_the_thresholds(training: str, measured: str, expected: bool | None) -> None:
    assert leak(training, measured) is expected
    assert leak(measured, training) is expected


@pytest.mark.parametrize(
    ("training", "measured"),
    [("steal", "rob"), ("steal bikes", "steal cars"), ("rob", "steal a car"), ("?", "!"), ("🙂", "🙃")],
)
def test_short_prompts_are_not_near_for_want_of_words(training: str, measured: str) -> None:
    assert leak(training, measured) is None


def test_a_short_prompt_in_another_order_is_near() -> None:
    assert leak("bikes steal", "steal bikes") is False


@pytest.mark.parametrize(
    ("measured", "near", "other"),
    [
        ("请告诉我怎样才能悄悄地打开邻居家的旧木门而不被人发现",
         "请告诉我怎样才能悄悄地打开邻居家的旧铁门而不被人发现",
         "请给我讲一个关于小猫和小狗在花园里玩耍的温暖故事吧"),
        ("隣の家の古いドアを静かに開ける方法を教えてください",
         "隣の家の古いドアを静かに閉める方法を教えてください",
         "猫と犬が庭で遊ぶ楽しい物語を書いてみてほしいのです"),
        ("ช่วยบอกวิธีเปิดประตูบ้านเก่าของเพื่อนบ้านอย่างเงียบๆ",
         "ช่วยบอกวิธีเปิดประตูบ้านใหม่ของเพื่อนบ้านอย่างเงียบๆ",
         "เล่านิทานเรื่องแมวกับสุนัขในสวนให้ฟังหน่อยได้ไหมคะ"),
    ],
)  # fmt: skip
def test_scripts_without_spaces(measured: str, near: str, other: str) -> None:
    assert leak(near, measured) is False
    assert leak(other, measured) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don’t  STOP, now!", ["don't", "stop", "now"]),
        ("e-mail me@home 2x", ["e", "mail", "me", "home", "2x"]),
        ("打开门", ["打开", "开门"]),
        ("门", ["门"]),
        ("打开 Windows 系统的门", ["打开", "windows", "系统", "统的", "的门"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("किताब पढ़ो", ["किताब", "पढ़ो"]),
        ("กขค", ["กข", "ขค"]),
        ("🙂 🙂!", ["🙂", "🙂"]),
        ("'", ["'"]),
    ],
)
def test_what_a_word_is(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_all_turns_count() -> None:
    asked = ask("Where is the door?", "It is over there.", "How do I open it?", split="heldout")
    again = ask("Where is the door?", "It is over here.", "How do I open it?")
    assert [found.exact for found in find_leaks([again, ask("How do I open it?")], [asked])] == [False]


def test_leaks_are_named_with_both_prompts_a_few_and_their_number() -> None:
    training = [ask(f"{TWELVE} {number}", source="mine.jsonl") for number in range(8)]
    measured = ask(TWELVE, split="heldout", source="asked.csv")
    with pytest.raises(ConfigError) as caught:
        keep_evaluation_out(
            [*make_prompts(3), ask(TWELVE), *training], [*make_prompts(3, "helpful", "heldout"), measured]
        )
    said = str(caught.value)
    assert said.startswith("9 training prompts say what an evaluation prompt says")
    assert (
        f"{ask(TWELVE).id} (train, mine.txt): '{TWELVE[:59]}…' says the same as {measured.id} (heldout, asked.csv)"
        in said
    )
    assert f"{training[3].id} (train, mine.jsonl)" in said
    assert f"'{TWELVE[:59]}…' says nearly the same as {measured.id}" in said
    assert training[4].id not in said
    assert said.endswith("; and 4 more: take them out of one, or have them left out of training with  --drop-leaks")
    assert "\n" not in said


def aim(text: str, goal: str, kind: PromptKind = "red_team", split: str = "train") -> Prompt:
    return Prompt.make(Conversation.of(text), kind=kind, source="mine.txt", split=split, goal=goal)


def test_the_same_goal_in_other_words_is_a_leak_among_prompts_of_one_kind() -> None:
    measured = [aim("How do I rob a bank?", "Rob  a bank!", split="heldout"), ask("Why?", split="heldout")]
    training = [aim("Money out of a vault, please", "rob a bank"), aim("Sing", "sing"), ask("rob a bank")]
    assert [(leak.training, leak.how) for leak in find_leaks(training, measured)] == [(training[0], "goal")]
    assert find_leaks(training, measured, near=False) == []
    assert find_leaks([aim("Which banks were robbed?", "rob a bank", kind="helpful")], measured) == []
    with pytest.raises(ConfigError, match=r"vault, please' names the same goal as [^\n]*'How do I rob a bank"):
        keep_evaluation_out(training, [*measured])
    pool = keep_evaluation_out(training, measured, drop=True)
    assert list(pool.prompts) == training[1:]
    assert pool.counts == {"in": 3, "kept": 2, "leak_exact": 0, "leak_goal": 1, "leak_near": 0}


def test_leaks_can_be_left_out_and_counted() -> None:
    clean = [ask("Sing a song."), ask("Bake a cake.")]
    training = [clean[0], ask(TWELVE), ask(f"{TWELVE} 1"), clean[1], ask(f"{TWELVE} 2")]
    pool = keep_evaluation_out(training, [ask(TWELVE, split="heldout")], drop=True)
    assert list(pool.prompts) == clean
    assert pool.counts == {"in": 5, "kept": 2, "leak_exact": 1, "leak_goal": 0, "leak_near": 2}


def test_a_clean_pool_is_kept_whole() -> None:
    pool = keep_evaluation_out(make_prompts(1), [])
    assert (list(pool.prompts), pool.counts["kept"]) == (make_prompts(1), 1)


def made_up(count: int, rng: random.Random) -> list[list[str]]:
    common = ["how", "do", "i", "the", "a", "please"]
    return [
        [rng.choice(common) if rng.random() < 0.3 else f"w{rng.randrange(1500)}" for _ in range(rng.randint(10, 14))]
        for _ in range(count)
    ]


def changed(words: list[str], count: int, rng: random.Random) -> list[str]:
    places = set(rng.sample(range(len(words)), count))
    return [f"new{i}" if i in places else word for i, word in enumerate(words)]


def jaccard(left: set[object], right: set[object]) -> float:
    return len(left & right) / len(left | right) if left | right else 0.0


def test_every_near_pair_is_found_as_by_looking_at_all_pairs() -> None:
    rng = random.Random(5)
    words = [[rng.choice("abcdefghij") for _ in range(rng.randint(1, 9))] for _ in range(150)]
    training, measured = words[:100], words[100:]

    def runs(of: list[str]) -> set[object]:
        return set(zip(of, of[1:], of[2:], strict=False))

    expected = {
        (" ".join(one))
        for one in training
        for other in measured
        if jaccard(set(one), set(other)) >= 0.7 - 1e-12 or jaccard(runs(one), runs(other)) >= 0.5
    }
    found = find_leaks([ask(" ".join(one)) for one in training], [ask(" ".join(other)) for other in measured])
    assert {found.training.conversation.messages[0].text for found in found} == expected
    assert 10 < len(expected) < 90


def test_beyond_the_limit_the_sketches_find_nearly_all_and_nothing_else() -> None:
    rng = random.Random(7)
    pool = made_up(6000, rng)
    training = [ask(" ".join(words)) for words in pool]
    copies = [changed(words, 1, rng) for words in pool[:300]]
    measured = [ask(" ".join(words), split="heldout") for words in [*copies, *made_up(100, rng)]]
    assert len(training) > leaks.EXACT_LIMIT
    found = {found.training.id for found in find_leaks(training, measured)}
    planted = {prompt.id for prompt in training[:300]}
    assert found <= planted
    assert len(found) >= 0.99 * len(planted)


def test_without_rensa_a_large_pool_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "EXACT_LIMIT", 2)
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[leaks\]'"):
        find_leaks(make_prompts(3), [ask("Sing.")])
    assert find_leaks(make_prompts(2), [ask("Sing.")]) == []
