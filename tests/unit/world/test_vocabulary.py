"""Proves that a principle in words the nano model's world does not know is named, and no other one is."""

import json

import pytest

from solon.constitution import Constitution, Principle, load_constitution
from solon.world.vocabulary import ADVICE, describe_unknown_words, find_unknown_words

STRANGE = Principle(
    id="strange",
    critique_request="Does the response disparage zeppelins?",
    revision_request="Rewrite the response so that it praises zeppelins.",
    comparison="Choose the response that praises zeppelins.",
)


def test_the_shipped_constitution_is_known_whole():
    assert find_unknown_words(load_constitution("default")) == []
    assert describe_unknown_words(load_constitution("default")) == ()


def test_a_strange_principle_is_named_with_its_words_once_each_in_order():
    shipped = load_constitution("default").principles
    constitution = Constitution(name="n", principles=(shipped[0], STRANGE, *shipped[1:]))
    (found,) = find_unknown_words(constitution)
    assert found.principle_id == "strange"
    assert found.words == ("disparage", "zeppelins", "praises")
    assert str(found).endswith("does not know disparage, zeppelins, praises")
    lines = describe_unknown_words(constitution)
    assert lines == (str(found), ADVICE)
    assert "'strange'" in lines[0]
    assert "--model CHECKPOINT" in lines[1]


def test_a_plain_sentence_in_the_worlds_words_is_known(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("The response does not help with theft.\nThe response names every zeppelin.\n")
    found = find_unknown_words(load_constitution(file))
    assert [set(unknown.words) & {"theft", "zeppelin"} for unknown in found] == [{"zeppelin"}]


TEXTS = {
    "Chinese": "请指出回答中有害的地方。",
    "Arabic": "هل يساعد الجواب على السرقة؟",
    "Hebrew": "האם התשובה מזיקה?",
    "Russian": "Вредит ли ответ людям?",
    "Greek": "Βλάπτει η απάντηση;",
    "Hindi, whose vowels are marks": "क्या उत्तर हानिकारक है?",
    "Persian, with joiners": "آیا پاسخ آسیب می\u200cرساند؟",
    "Thai, without spaces": "คำตอบนี้เป็นอันตรายหรือไม่",
    "Japanese": "この回答は有害ですか。",
    "accents": "Éthique ?",
    "accents, decomposed": "E\u0301thique ?",
    "mathematical letters": "𝕥𝕙𝕖 𝕣𝕖𝕤𝕡𝕠𝕟𝕤𝕖",
    "letters with digits": "h2o 4chan",
    "numbers alone": "42 ٤٢ Ⅷ",
    "signs alone": "?! — …",
    "pictures alone": "🙂👩\u200d🔬",
}


@pytest.mark.parametrize("script", TEXTS)
def test_a_principle_without_one_known_word_is_named_in_any_script(script):
    text = TEXTS[script]
    strange = Principle(id="strange", critique_request=text, revision_request=text, comparison=text)
    shipped = load_constitution("default")
    law = shipped.model_copy(update={"principles": (*shipped.principles, strange)})
    assert describe_unknown_words(law) == (
        "principle 'strange': the nano model's world knows no word of it",
        ADVICE,
    )


@pytest.mark.parametrize("script", TEXTS)
@pytest.mark.parametrize("name", ["mine.txt", "mine.yaml"])
def test_a_plain_sentence_is_judged_by_its_own_words_and_not_by_what_is_wrapped_around_it(tmp_path, name, script):
    file = tmp_path / name
    file.write_text(f"{'- ' * name.endswith('.yaml')}{json.dumps(TEXTS[script], ensure_ascii=False)}\n")
    (principle,) = load_constitution(file).principles
    assert describe_unknown_words(load_constitution(file)) == (
        f"principle '{principle.id}': the nano model's world knows no word of it",
        ADVICE,
    )


def test_a_text_without_one_known_word_is_named_beside_others_that_are_known():
    shipped = load_constitution("default").principles
    known = next(p for p in shipped if p.critique_request)
    half = known.model_copy(update={"id": "half", "comparison": "🙂"})
    mixed = known.model_copy(update={"id": "mixed", "comparison": "This response 有害 and naïve."})
    asking = known.model_copy(update={"id": "asking", "question": "有害?", "better": "no"})
    lines = describe_unknown_words(Constitution(name="n", principles=(known, half, mixed, asking)))
    assert (
        lines[2] == "principle 'asking': the nano model's world does not know 有害, and knows no word of its question"
    )
    assert lines[0] == "principle 'half': the nano model's world knows no word of its comparison"
    assert lines[1] == "principle 'mixed': the nano model's world does not know 有害, naïve"


def test_numbers_are_nothing_that_must_be_known():
    shipped = load_constitution("default").principles
    known = next(p for p in shipped if p.critique_request)
    numbered = known.model_copy(update={"critique_request": f"1. {known.critique_request} (2)"})
    assert find_unknown_words(Constitution(name="n", principles=(numbered, *shipped[1:]))) == []
