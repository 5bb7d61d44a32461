"""Proves which sources are read, as what, and that none leads to a metadata address or has its secrets repeated."""

import ipaddress
import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.errors import ConfigError, ModelError
from solon.lm.server.address import Address, check_peer, parse_address, root_of

METADATA = [0xA9FEA9FE, 0xA9FE0001, 0x646464C8, 0xA83F8110, 0xC00000C0]
OTHERS = [0x7F000001, 0x0A000001, 0xC0A80001, 0x08080808, 0xAC100001]


def numbers(value: int, parts: int, base: str) -> str:
    """Write an IPv4 address as one to four numbers, each decimal, octal or hexadecimal."""
    write = {"10": str, "8": lambda part: f"0{part:o}", "16": hex}[base]
    firsts = [value >> (24 - 8 * place) & 0xFF for place in range(parts - 1)]
    return ".".join(write(part) for part in [*firsts, value & ((1 << (8 * (5 - parts))) - 1)])


ways = st.one_of(
    st.tuples(st.integers(1, 4), st.sampled_from(["10", "8", "16"])).map(
        lambda way: lambda value: numbers(value, way[0], way[1])
    ),
    st.just(lambda value: f"[::ffff:{ipaddress.IPv4Address(value)}]"),
    st.just(lambda value: f"[::ffff:{value >> 16:x}:{value & 0xFFFF:X}]"),
    st.just(lambda value: f"[::{ipaddress.IPv4Address(value)}]"),
    st.just(lambda value: f"[64:ff9b::{ipaddress.IPv4Address(value)}]"),
    st.just(lambda value: f"[2002:{value >> 16:x}:{value & 0xFFFF:x}::1]"),
    st.just(lambda value: f"{ipaddress.IPv4Address(value)}."),
)


@given(st.sampled_from(METADATA), ways, st.sampled_from(["", ":8000"]), st.sampled_from(["http", "https", "HTTP"]))
def test_no_way_to_write_a_metadata_address_is_let_through(value, way, port, scheme):
    with pytest.raises(ConfigError, match="is a link-local or metadata address"):
        parse_address(f"{scheme}://{way(value)}{port}/v1#m")


@given(st.sampled_from(OTHERS), ways, st.sampled_from(["", ":8000"]))
def test_this_machine_and_private_networks_are_read_and_written_as_the_resolver_takes_them(value, way, port):
    (base,) = parse_address(f"http://{way(value)}{port}/v1#m").bases
    host = ipaddress.ip_address(urlsplit(base).hostname)
    assert value == int(host) & 0xFFFFFFFF or f"{value:08x}" in f"{int(host):032x}"
    assert parse_address(f"{base}#m").bases == (base,)


@pytest.mark.parametrize("host", ["fe80::1", "fe80::1%25eth0", "febf::2", "fd00:ec2::254", "fd20:ce::254"])
def test_link_local_and_metadata_addresses_of_ipv6_are_refused(host):
    with pytest.raises(ConfigError, match="is a link-local or metadata address"):
        parse_address(f"http://[{host}]:80/#m")


@given(st.text(st.sampled_from("abc019.-_:/@?#[]%\\ ,x\n"), max_size=30))
def test_whatever_is_given_is_an_address_that_reads_the_same_again_or_one_line(text):
    try:
        found = parse_address(f"http://{text}")
    except ConfigError as error:
        said = str(error)
    else:
        said = ""
        assert parse_address(f"{','.join(found.bases)}#{found.model}") == found
    assert said.isprintable()


@pytest.mark.parametrize(
    ("source", "bases", "model"),
    [
        ("http://host:8000/v1#org/model:7b", ["http://host:8000/v1"], "org/model:7b"),
        ("http://a:8000/v1/,http://b:8000/v1#m", ["http://a:8000/v1", "http://b:8000/v1"], "m"),
        ("https://HOST:443#m", ["https://host"], "m"),
        ("http://host:80/v1 , http://host:81/v1# m ", ["http://host/v1", "http://host:81/v1"], "m"),
        ("http://[::1]:8000/v1#@cf/m#2", ["http://[::1]:8000/v1"], "@cf/m#2"),
        ("http://2130706433:8000#m", ["http://127.0.0.1:8000"], "m"),
    ],
)
def test_a_source_is_base_urls_and_a_model(source, bases, model):
    assert parse_address(source) == Address(tuple(bases), model)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("http://host/v1", "http://host/v1: no model is named: put its name behind a #"),
        ("http://host/v1# ", "no model is named"),
        ("host:8000/v1#m", "host:8000/v1: is no http:// or https:// URL"),
        ("ftp://host#m", "is no http:// or https:// URL"),
        ("file:///etc/passwd#m", "is no http:// or https:// URL"),
        ("http:///v1#m", "is no host name"),
        ("http://%31%36%39/#m", "is no host name"),
        ("http://300.1.1.1#m", "300.1.1.1 is no IPv4 address"),
        ("http://[1:2]#m", "its host or port cannot be read"),
        ("http://host:99999#m", "its host or port cannot be read"),
        ("http://host:0#m", "port 0 is none"),
        ("http://①②⑦.0.0.1#m", "a URL consists of plain ASCII characters"),
        ("http://ho st#m", "a URL consists of plain ASCII characters"),
        ("http://host\\@other#m", "user:password@ is not used"),
        ("http://host/v1/../admin#m", "is not one of plain steps"),
        ("http://host/v1/chat/completions#m", "leave out /chat/completions"),
        ("http://host/v1,http://host/v1/#m", "http://host/v1: is named twice"),
        ("http://host/v1,#m", "is no http:// or https:// URL"),
        ("http://host/v1#m\x1b[2J", "holds characters that cannot be printed"),
    ],
)
def test_another_source_is_refused_in_one_line(source, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        parse_address(source)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "source",
    [
        "http://user:sesame@host/v1#m",
        "http://sesame@host#m",
        "http://user:ses/sesame@host/v1#m",
        "http://user:ses?sesame@host/v1#m",
        "http://user:ses,sesame@host/v1#m",
        "http://user:sesame#1@host/v1#m",
        "http://user:@sesame@host#m",
        "http://host/v1?api_key=sesame#m",
        "http://host/v1?api_key=a,sesame#m",
        "http://a/v1?sesame,http://b/v1#m",
        "http://user:sesame@host/v1",
    ],
)
def test_a_password_or_query_is_refused_and_not_repeated(source):
    with pytest.raises(ConfigError) as caught:
        parse_address(source)
    assert "sesame" not in str(caught.value)
    assert "sesame" not in repr(caught.value.__cause__)


def test_the_root_of_a_server_is_its_base_without_a_last_v1():
    assert root_of("http://host:8000/v1") == "http://host:8000"
    assert root_of("http://host:8000/proxy/v1") == "http://host:8000/proxy"
    assert root_of("http://host:8000") == "http://host:8000"


def test_a_connection_may_lead_anywhere_but_to_a_metadata_address():
    for peer in ("127.0.0.1", "10.0.0.1", "::1", "2606:4700::1", "fd00::1"):
        check_peer("http://host/v1", peer)
    for peer in ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1%eth0", "fd00:ec2::254"):
        with pytest.raises(ModelError, match=r"http://host/v1: its host leads to .* metadata address"):
            check_peer("http://host/v1", peer)
