"""Proves where a key comes from, which hosts have it, what is refused, and that it never prints."""

import copy

import pytest

from solon.errors import ConfigError
from solon.lm.server.address import parse_address
from solon.lm.server.keys import find_keys

LOCAL = parse_address("http://a:8000/v1,http://b:8000/v1#m")
OPENAI = parse_address("https://api.openai.com/v1#m")


def test_a_named_variable_is_the_key_of_all_its_servers():
    keys = find_keys(LOCAL, "MY_KEY", {"MY_KEY": " key-of-mine\n", "OPENAI_API_KEY": "other"})
    assert {base: key.value.get_secret_value() for base, key in keys.items()} == dict.fromkeys(
        LOCAL.bases, "key-of-mine"
    )


@pytest.mark.parametrize(
    "source",
    [
        "http://a:8000/v1#m",
        "http://api.openai.com/v1#m",
        "https://api.openai.com.evil.net/v1#m",
        "https://api.openai.com:8443/v1#m",
        "https://xapi.openai.com/v1#m",
    ],
)
def test_the_key_of_openai_goes_to_openai_alone(source):
    environ = {"OPENAI_API_KEY": "key-of-openai"}
    assert find_keys(parse_address(source), None, environ) == {}
    both = find_keys(parse_address(f"{source[:-2]},https://api.openai.com/v1#m"), None, environ)
    assert list(both) == ["https://api.openai.com/v1"]


@pytest.mark.parametrize("environ", [{}, {"MY_KEY": ""}, {"MY_KEY": " \n"}])
def test_a_variable_that_is_not_set_is_named(environ):
    with pytest.raises(ConfigError, match=r"key_env: the environment variable MY_KEY is not set: export MY_KEY="):
        find_keys(LOCAL, "MY_KEY", environ)
    with pytest.raises(ConfigError, match=r"api\.openai\.com/v1: the environment variable OPENAI_API_KEY is not set"):
        find_keys(OPENAI, None, environ)


@pytest.mark.parametrize("value", ["sesame 12345678", "sesame\n12345678", "sésame12345678", "sesame\x0012345678"])
def test_what_can_be_no_key_is_refused_and_not_repeated(value):
    with pytest.raises(ConfigError, match="no key does") as caught:
        find_keys(LOCAL, "MY_KEY", {"MY_KEY": value})
    assert "sesame" not in str(caught.value)


def test_a_key_does_not_print():
    (key,) = find_keys(OPENAI, "MY_KEY", {"MY_KEY": "sentinel-key-123"}).values()
    for said in (repr(key), str(key), f"{key}", repr(copy.copy(key)), repr([key.value]), str({"k": key})):
        assert "sentinel" not in said
