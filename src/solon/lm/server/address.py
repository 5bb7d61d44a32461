"""Where a model is: one or several base URLs and the name that the servers know it by.

`http://host:8000/v1#model`, or `http://a:8000/v1,http://b:8000/v1#model` for one model on several servers. The URLs
come from the user's own configuration, so this machine and private networks are allowed. Not allowed are the
link-local and metadata addresses at which clouds hand out credentials, however they are written: an address in a URL
is checked here, in every form that a resolver would take (`2852039166`, `0xa9.254.43518`, `[::ffff:a9fe:a9fe]`); what
a host name leads to is checked at every connection, before a byte is sent (`check_peer`).
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from solon.errors import ConfigError, ModelError
from solon.messages import one_line, shorten

_METADATA = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local; most clouds
        "fe80::/10",
        "fd00:ec2::254/128",  # Amazon
        "fd20:ce::254/128",  # Google
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # link-local by another name, of one cloud
    )
)
_EMBEDDING = tuple(ipaddress.ip_network(network) for network in ("::/96", "::ffff:0:0/96", "64:ff9b::/96"))
"""Networks of IPv6 whose last 32 bits are an IPv4 address."""

_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.IGNORECASE)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~:+-]+)*")
_ENDPOINTS = ("/chat/completions", "/completions", "/models", "/responses")
_FORBIDDEN = "a link-local or metadata address, at which no model is asked: give the address of the model's server"
_KEYS = "a key comes from an environment variable, whose name is set as key_env"
_EXAMPLE = "http://localhost:8000/v1#MODEL"

Address4or6 = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Address:
    """A model on servers.

    Attributes:
        bases: base URLs, without a slash at their end: scheme, host, a port where it is not the scheme's own, path.
        model: the name that the servers know the model by.
    """

    bases: tuple[str, ...]
    model: str


def parse_address(source: str) -> Address:
    """Read a source, `URL[,URL...]#MODEL`.

    Raises:
        ConfigError: it is none, or leads where no model is asked. Nothing that could be a secret is repeated.
    """
    urls, hash_sign, model = source.partition("#")
    if not hash_sign or not model.strip():
        raise ConfigError(
            f"{_safe(urls)}: no model is named: put its name behind a #, as the server lists it under /models, e.g. "
            f"{_EXAMPLE}"
        )
    if not model.isprintable():
        raise ConfigError(f"{_safe(urls)}: the model's name {shorten(model)} holds characters that cannot be printed")
    if "@" in urls:
        raise ConfigError(f"{_safe(urls)}: a URL with user:password@ is not used: leave that out; {_KEYS}")
    if "?" in urls:
        raise ConfigError(f"{_safe(urls)}: a URL with a query (?...) is not used: leave that out; {_KEYS}")
    bases = tuple(_parse_base(url.strip()) for url in urls.split(","))
    if repeated := [base for number, base in enumerate(bases) if base in bases[:number]]:
        raise ConfigError(f"{repeated[0]}: is named twice: name each server once")
    return Address(bases=bases, model=model.strip())


def root_of(base: str) -> str:
    """Return the server's root: the base URL without a last `/v1`."""
    return base.removesuffix("/v1")


def check_peer(server: str, peer: str) -> None:
    """Refuse a connection that leads to a forbidden address.

    Args:
        server: the base URL that was meant.
        peer: the address that the connection has, as a literal.

    Raises:
        ModelError: it is link-local, or one at which a cloud hands out credentials.
    """
    if _is_forbidden(ipaddress.ip_address(peer.partition("%")[0])):
        raise ModelError(f"{server}: its host leads to {peer}, {_FORBIDDEN}")


def _parse_base(url: str) -> str:
    where = _safe(url)
    if not url.isascii() or any(character <= " " or character in "\\<>\"'`{}|^\x7f" for character in url):
        raise ConfigError(
            f"{where}: a URL consists of plain ASCII characters without spaces: write other hosts in their xn-- form"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # whose message may repeat half of a password
        raise ConfigError(f"{where}: its host or port cannot be read: give a URL as {_EXAMPLE}") from None
    if parts.scheme not in ("http", "https") or not url.lower().startswith(("http://", "https://")):
        raise ConfigError(f"{where}: is no http:// or https:// URL: give one as {_EXAMPLE}")
    path = parts.path.rstrip("/")
    if not _PATH.fullmatch(path) or any(step in (".", "..") for step in path.split("/")):
        raise ConfigError(f"{where}: its path is not one of plain steps such as /v1: give the base URL as it is")
    if endpoint := next((end for end in _ENDPOINTS if path.endswith(end)), None):
        raise ConfigError(f"{where}: is an endpoint, not a base URL: leave out {endpoint}")
    if port == 0:
        raise ConfigError(f"{where}: port 0 is none: give the one that the server listens on")
    own = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{_parse_host(parts, where)}{f':{port}' if port not in (None, own) else ''}{path}"


def _parse_host(parts: SplitResult, where: str) -> str:
    """Return the host as it is put into a URL: a name, dotted numbers, or an IPv6 address in brackets."""
    host = parts.hostname or ""
    if "[" in parts.netloc:
        try:
            address: Address4or6 = ipaddress.IPv6Address(host)
        except ValueError:
            raise ConfigError(f"{where}: [{host}] is no IPv6 address: give the server's") from None
    elif _NUMERIC.fullmatch(host):
        try:  # as the resolver of the system reads numbers: decimal, octal, hexadecimal, one to four of them
            address = ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
        except OSError:
            raise ConfigError(f"{where}: {host} is no IPv4 address: give the server's") from None
    elif _NAME.fullmatch(host):
        return host
    else:
        raise ConfigError(f"{where}: {shorten(host)} is no host name: give the server's name or address")
    if _is_forbidden(address):
        raise ConfigError(f"{where}: {host} is {_FORBIDDEN}")
    return f"[{address}]" if address.version == 6 else str(address)


def _is_forbidden(address: Address4or6) -> bool:
    return any(each in network for each in _meant_by(address) for network in _METADATA)


def _meant_by(address: Address4or6) -> tuple[Address4or6, ...]:
    """Return an address and those of IPv4 that it stands for: mapped, translated or tunnelled."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    bare = ipaddress.IPv6Address(int(address))  # without a zone
    inner = [ipaddress.IPv4Address(int(bare) & 0xFFFFFFFF)] if any(bare in net for net in _EMBEDDING) else []
    tunnelled = [bare.sixtofour] if bare.sixtofour is not None else list(bare.teredo or ())
    return (bare, *inner, *tunnelled)


def _safe(urls: str) -> str:
    """Return URLs for a message: on one line, cut, without what may be a password or a key."""
    known = urls.rpartition("@")[2].partition("?")[0]
    known = re.sub(r"(//[^/:\[]*):(?!\d+(?:[/,]|$)).*", r"\1:…", known)
    return one_line(known, 120) or "the source"
