"""Access to the servers of judging models, and the keys for them.

A worker passes one :class:`EndpointAccess` to a JUDGE stage on its standard input; offline commands
make one from their flags. A run file names a server and a key, but can only choose from what the
operator allows: public addresses over https, other places that are listed, and keys that each
belong to one host.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from tailrace.formats.schema import Violation, key, parse, to_mapping

PLACES_VARIABLE = "TAILRACE_JUDGE_ENDPOINTS"
"""The worker's setting that lists allowed places."""

KEYS_VARIABLE = "TAILRACE_JUDGE_KEYS_FILE"
"""The worker's setting that names the file of keys."""

_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_PLACE = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*):(?P<port>\d{1,5})")
_PATH = re.compile(r"(/[!-~]*)?")
_LONGEST_KEY = 10_000


@dataclass(frozen=True)
class EndpointUrl:
    """A server's URL, parsed in one place, which also decides where a key may be sent."""

    scheme: str
    """``http`` or ``https``."""
    host: str
    """Name or address in lower case, without brackets."""
    port: int
    """Port; the scheme's default if the URL has none."""
    path: str
    """Path, percent-encoded."""

    @classmethod
    def of(cls, url: str) -> EndpointUrl:
        """Parse a URL.

        Raises:
            ValueError: The text is not an http or https URL of a server.
        """
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        if scheme not in _PORTS or parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must be an http or https URL without user, query and fragment")
        host = (parts.hostname or "").removesuffix(".")
        if not _is_host(host):
            raise ValueError("has no valid host: write an address, or a name in ASCII (xn--…)")
        try:
            port = _PORTS[scheme] if parts.port is None else parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("has no valid port")
        if not _PATH.fullmatch(parts.path):
            raise ValueError("has a path with characters that must be percent-encoded")
        return cls(scheme, host, port, parts.path)

    @property
    def place(self) -> str:
        """``host:port``, as :attr:`EndpointAccess.allowed` lists it."""
        return _place(self.host, self.port)

    @property
    def authority(self) -> str:
        """The value of the header ``Host``: the place, without the scheme's own port."""
        return self.place.removesuffix(f":{_PORTS[self.scheme]}")


def read_place(text: str, default_port: int | None = None) -> str:
    """Return ``host:port`` as :attr:`EndpointUrl.place` writes it.

    Raises:
        ValueError: The text is not a place; without ``default_port`` it must have a port.
    """
    if default_port is not None and not re.search(r":\d+\Z", text.rpartition("]")[2]):
        text = f"{text}:{default_port}"
    match = _PLACE.fullmatch(text.strip())
    host = match["host"].strip("[]").lower().removesuffix(".") if match else ""
    if match is None or not _is_host(host) or not 0 < int(match["port"]) < 1 << 16:
        raise ValueError(
            f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000, judge.internal:443 or [::1]:8000"
        )
    return _place(host, int(match["port"]))


@dataclass(frozen=True, repr=False)
class EndpointKey:
    """A key for one place; the text form leaves it out."""

    name: str = key("`api_key_env` of the endpoint.", minimum=1, max_length=128)
    place: str = key("The only place (`host:port`) that it may be sent to.", max_length=300)
    secret: str = key("The key.")

    def violations(self, path: str) -> list[Violation]:
        """Return a violation for a key that cannot be a header value; the key is never shown."""
        if 0 < len(self.secret) <= _LONGEST_KEY and re.fullmatch(r"[!-~]+", self.secret):
            return []
        rule = f"must be 1-{_LONGEST_KEY} printable ASCII characters without blanks"
        return [Violation(f"{path}.secret", rule)]


@dataclass(frozen=True, repr=False)
class EndpointAccess:
    """Places that a judge may reach in addition to public ones over https, and its keys."""

    allowed: list[str] = key(
        "Places (`host:port`) that may have any address and use http.",
        default=[],
        max_length=1000,
        item_length=300,
    )
    keys: list[EndpointKey] = key(
        "The keys that the spec's endpoints name.",
        default=[],
        max_length=100,
    )
    proxy: str | None = key(
        "HTTP proxy (`host:port`) for all endpoints that are not listed.",
        default=None,
    )

    def violations(self, path: str) -> list[Violation]:
        """Return violations for places not in the notation in which they are compared as text."""
        places = [*self.allowed, *([self.proxy] if self.proxy else [])]
        return [
            Violation(f"{path}.allowed", f"{place!r} must be host:port")
            for place in places
            if not _is_place(place)
        ]

    def secret(self, name: str, place: str) -> str | None:
        """Return the key with this name for ``place``, if any."""
        matches = (key.secret for key in self.keys if (key.name, key.place) == (name, place))
        return next(matches, None)

    def encode(self) -> bytes:
        """Return the bytes that a stage process reads on its standard input."""
        return json.dumps(to_mapping(self)).encode()

    @classmethod
    def decode(cls, content: bytes) -> EndpointAccess:
        """Read the bytes of :meth:`encode`; empty input allows no further places.

        Raises:
            ValueError: The content is not valid.
        """
        return parse(cls, json.loads(content), "access") if content else cls()


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_host(text: str) -> bool:
    """Return whether the text is a name that a resolver accepts, or an address."""
    if ":" not in text:
        return _NAME.fullmatch(text) is not None
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _is_place(text: str) -> bool:
    try:
        return read_place(text) == text
    except ValueError:
        return False
