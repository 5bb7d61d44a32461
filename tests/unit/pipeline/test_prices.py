"""Proves that a table of prices is read as written, found by the model's name alone, and refused where it is wrong."""

import re
from importlib.resources import files

import pytest

from solon.errors import ConfigError
from solon.lm import ModelSpec, Price
from solon.pipeline.prices import load_prices

ENTRY = {"model": "a/b", "currency": "EUR", "prompt": 2, "cached": 0.5, "output": 8.0, "as_of": "2026-03-01"}


def write(path, *entries):
    text = "".join(f"- {{{', '.join(f'{key}: {value}' for key, value in entry.items())}}}\n" for entry in entries)
    (path / "prices.yaml").write_text(text)
    return str(path / "prices.yaml")


def test_a_price_is_of_a_model_wherever_it_is_served(tmp_path):
    plain = {**ENTRY, "model": "c", "as_of": "2026-01-31"}
    del plain["cached"]
    table = load_prices(write(tmp_path, ENTRY, plain))
    assert table.find(ModelSpec(source="http://x/v1#a/b")) == Price(2.0, 8.0, 0.5)
    assert table.find(ModelSpec(source="http://x/v1,http://y/v1#c")) == Price(2.0, 8.0, 2.0)
    assert table.find(ModelSpec(source="http://x/v1#d")) is None
    assert table.find(ModelSpec(source="a/b")) is None  # a folder of this machine
    assert (table.currency, table.origin.as_of) == ("EUR", ("2026-01-31", "2026-03-01"))


def test_a_table_is_known_by_what_it_says(tmp_path):
    first = load_prices(write(tmp_path, ENTRY)).origin.digest
    assert load_prices(write(tmp_path, {**ENTRY, "output": 8})).origin.digest == first
    assert load_prices(write(tmp_path, {**ENTRY, "output": 9})).origin.digest != first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": -1}, "entry 1: prompt: "),
        ({"prompt": ".nan"}, "entry 1: prompt: "),
        ({"output": ".inf"}, "entry 1: output: "),
        ({"output": "true"}, "entry 1: output: "),
        ({"output": "'8'"}, "entry 1: output: "),
        ({"currency": "euro"}, "entry 1: currency: "),
        ({"as_of": "soon"}, "entry 1: as_of: "),
        ({"outputs": 1}, "entry 1: unknown field 'outputs'; did you mean 'output'"),
    ],
)
def test_an_entry_that_is_wrong_is_named(tmp_path, change, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_prices(write(tmp_path, {**ENTRY, **change}))


def test_what_is_no_table_is_refused(tmp_path):
    lacking = {key: value for key, value in ENTRY.items() if key != "as_of"}
    for entries, said in (
        ([lacking], "entry 1: field 'as_of' is missing"),
        ([ENTRY, ENTRY], "a/b is there twice: remove one"),
        ([ENTRY, {**ENTRY, "model": "c", "currency": "USD"}], "has prices in EUR and USD"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            load_prices(write(tmp_path, *entries))
    for text, said in (
        ("[]", "found an empty list"),
        ("", "found NoneType"),
        ("a: 1", "found dict"),
        ("- 1", "entry 1: expected fields, found int"),
        ("[", "is not YAML"),
    ):
        (tmp_path / "other.yaml").write_text(text)
        with pytest.raises(ConfigError, match=re.escape(said)):
            load_prices(str(tmp_path / "other.yaml"))
    with pytest.raises(ConfigError, match="cannot be read as a table of prices: No such file"):
        load_prices(str(tmp_path / "none.yaml"))


def test_the_example_is_a_table_and_names_no_price():
    table = load_prices(str(files("solon.pipeline") / "data" / "prices.example.yaml"))
    assert [(price.prompt, price.output) for price in table.prices] == [(0, 0)]
