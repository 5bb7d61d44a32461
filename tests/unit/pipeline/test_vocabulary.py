"""Proves that a principle in words the nano model's world does not know is named, and no other one is."""

from solon.constitution import Constitution, Principle, load_constitution
from solon.pipeline.vocabulary import ADVICE, describe_unknown_words, find_unknown_words

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
    lines = describe_unknown_words(constitution)
    assert lines == (str(found), ADVICE)
    assert "'strange'" in lines[0]
    assert "base_model" in lines[1]


def test_a_plain_sentence_in_the_worlds_words_is_known(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("The response does not help with theft.\nThe response names every zeppelin.\n")
    found = find_unknown_words(load_constitution(file))
    assert [set(unknown.words) & {"theft", "zeppelin"} for unknown in found] == [{"zeppelin"}]
