"""Proves that what messages are worded with is on one line, short, and names what is near."""

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from solon.messages import Misfit, count_of, describe_error, describe_misfit, nearest, one_line, shorten


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", str_min_length=0)

    numbers: list[int] = []
    text: str = ""

    @field_validator("text")
    @classmethod
    def _no_shouting(cls, text: str) -> str:
        if text.isupper():
            raise ValueError("is loud:\n  say it softly")
        return text


class Outer(BaseModel):
    inner: Inner = Field(default_factory=Inner)


def _error(tree: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(tree)
    return caught.value


def test_one_line_folds_white_space_and_cuts_with_a_mark():
    assert one_line(" a\n\tb  c ") == "a b c"
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
    assert one_line(ValueError("two\nlines")) == "two lines"


def test_a_shortened_text_is_quoted():
    assert shorten("it\nis") == "'it is'"
    assert shorten("x" * 41) == f"'{'x' * 39}…'"


@pytest.mark.parametrize(("number", "said"), [(0, "0 goals"), (1, "1 goal"), (2, "2 goals")])
def test_a_number_has_its_noun(number, said):
    assert count_of(number, "goal") == said


@pytest.mark.parametrize(
    ("word", "known", "most", "advice"),
    [
        ("sed", ["ppo", "seed"], None, "did you mean 'seed'?"),
        ("y" * 10**6, ["ppo", "y" * 100], None, f"did you mean '{'y' * 100}'?"),  # no more of it is compared
        ("zzz", ["c", "a", "b"], None, "expected one of c, a, b"),
        ("zzz", ["c", "a", "b"], 3, "expected one of c, a, b"),
        ("zzz", ["c", "a", "b"], 2, "expected one of c, a, …"),
        ("zzz", iter(["c", "a"]), None, "expected one of c, a"),
        ("zzz", [], None, "there is none"),
    ],
)
def test_the_nearest_is_named_or_what_there_is_in_order(word, known, most, advice):
    assert nearest(word, known, most=most) == advice


def test_a_misfit_says_where_what_and_which_value():
    first = Misfit.of(_error({"inner": {"numbers": [1, "many"]}}))
    assert (first.path, first.field) == (("inner", "numbers", 1), "inner.numbers.1")
    assert (first.kind, first.found) == ("int_parsing", "many")
    assert first.said.startswith("Input should be a valid integer")


def test_what_a_validator_says_is_said_on_one_line_without_the_name_of_its_class():
    error = _error({"inner": {"text": "LOUD"}})
    assert describe_misfit(error) == "inner.text: is loud: say it softly"
    assert describe_misfit(error, "Outer", "x") == "Outer.x.inner.text: is loud: say it softly"


def test_a_key_that_is_long_or_has_lines_does_not_fill_the_message():
    said = describe_misfit(_error({"inner": {"a\nb" + "c" * 500: 1}}))
    assert said == f"inner.a b{'c' * 56}…: Extra inputs are not permitted"


def test_of_the_whole_no_field_is_named():
    assert describe_misfit(_error(3)).startswith("Input should be a valid dictionary")


def test_half_of_a_character_is_explained():
    assert describe_misfit(_error({"inner": {"text": "\ud83d"}})).startswith("inner.text: holds half of a character")


def test_an_error_is_described_by_its_words_and_one_of_pydantic_by_its_first_misfit():
    assert describe_error(KeyError("a\nb")) == "'a\\nb'"
    assert describe_error(ValueError("a\nb")) == "a b"
    assert describe_error(_error({"inner": {"text": "LOUD"}})) == "inner.text: is loud: say it softly"
