"""Proves that presets, `--set` and errors of configuration work on any nested model, and name the nearest field."""

import math
from typing import get_args

import pytest
from pydantic import BaseModel, ConfigDict, Field

from solon.errors import ConfigError
from solon.pipeline.config import RunConfig, build_config
from solon.pipeline.overrides import ABSENT, find_differences, merge, nest, parse_override, validate


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kl_coef: float = Field(0.05, ge=0.0)
    rounds: int


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    seed: int = 0
    ppo: Inner
    critic: Inner | None = None


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("seed=3", ("seed",), 3),
        ("ppo.kl_coef=0.1", ("ppo", "kl_coef"), 0.1),
        ("a.b=[x, 2]", ("a", "b"), ["x", 2]),
        ("a=", ("a",), None),
        ("a=b=c", ("a",), "b=c"),
        ("a=true", ("a",), True),
    ],
)
def test_an_override_is_a_path_and_a_yaml_value(text, path, value):
    assert parse_override(text) == (path, value)


@pytest.mark.parametrize(
    "text", ["seed", "=3", "a..b=1", ".a=1", "a={", "a=2024-13-45", "a=0b_", pytest.param(f"a={'[' * 9000}", id="deep")]
)
def test_a_malformed_override_is_refused_by_its_text(text):
    with pytest.raises(ConfigError, match="--set"):
        parse_override(text)


def test_merge_replaces_leaves_and_keeps_the_rest():
    below = {"ppo": {"kl_coef": 1, "rounds": 2}, "seed": 0, "list": [1, 2]}
    assert merge(below, nest(("ppo", "rounds"), 5)) == {**below, "ppo": {"kl_coef": 1, "rounds": 5}}
    assert merge(below, {"list": [3]})["list"] == [3]
    assert below["ppo"]["rounds"] == 2


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"ppo": {"rounds": 1, "kl_coeff": 1}}, r"preset x: unknown field 'ppo.kl_coeff'; did you mean 'kl_coef'\?"),
        ({"sed": 1, "ppo": {"rounds": 1}}, r"unknown field 'sed'; did you mean 'seed'\?"),
        ({"zzz": 1, "ppo": {"rounds": 1}}, r"unknown field 'zzz'; expected one of seed, ppo, critic"),
        ({"ppo": {"rounds": 1}, "critic": {"rounds": 1, "round": 2}}, r"'critic.round'; did you mean 'rounds'\?"),
        ({"ppo": {}}, r"field 'ppo.rounds' is missing"),
        ({"ppo": {"rounds": 1, "kl_coef": -1.0}}, r"ppo.kl_coef: .*greater than or equal to 0 \(got -1.0\)"),
        ({"ppo": {"rounds": "many"}}, r"ppo.rounds: .*\(got 'many'\)"),
    ],
)
def test_a_wrong_field_is_named_with_what_it_got_and_what_is_near(tree, message):
    with pytest.raises(ConfigError, match=message):
        validate(Outer, tree, where="preset x")


def test_numbers_in_scientific_notation_are_numbers():
    path, value = parse_override("ppo.kl_coef=1e-4")
    assert validate(Outer, merge({"ppo": {"rounds": 1}}, nest(path, value)), where="x").ppo.kl_coef == 1e-4


def test_differences_are_listed_by_field_and_shown_old_to_new():
    found = find_differences({"a": {"b": 1, "c": [1]}, "d": "x"}, {"a": {"b": 2, "c": [1]}, "e": None})
    assert [(d.field, d.old, d.new) for d in found] == [("a.b", 1, 2), ("d", "x", ABSENT), ("e", ABSENT, None)]
    assert [str(d) for d in found] == ["a.b: 1 -> 2", "d: x -> <absent>", "e: <absent> -> null"]
    assert find_differences({"a": {"b": 1}}, {"a": {"b": 1}}) == []


def float_fields(model, path=()):
    """The path of every field of a configuration that holds a float."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from float_fields(field.annotation, (*path, name))
        elif float in (field.annotation, *get_args(field.annotation)):
            yield (*path, name)


@pytest.mark.parametrize("path", list(float_fields(RunConfig)), ids=".".join)
def test_no_number_of_a_configuration_may_be_infinite_or_no_number(path):
    for value in (math.nan, math.inf):
        with pytest.raises(ConfigError, match=f"{'.'.join(path)}: .*finite number"):
            build_config("smoke", nest(path, value))
