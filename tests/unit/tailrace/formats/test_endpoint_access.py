"""Places of judging endpoints: read in one way, so that text decides what may be reached."""

from __future__ import annotations

import pytest

from tailrace.formats.endpoint_access import EndpointAccess, EndpointKey, EndpointUrl, read_place


@pytest.mark.parametrize(
    ("url", "place", "authority", "path"),
    [
        ("https://API.Example.com/v1", "api.example.com:443", "api.example.com", "/v1"),
        ("https://api.example.com.:443", "api.example.com:443", "api.example.com", ""),
        ("http://127.0.0.1:8000/v1/", "127.0.0.1:8000", "127.0.0.1:8000", "/v1/"),
        ("http://host", "host:80", "host", ""),
        ("https://host:80/", "host:80", "host:80", "/"),
        ("http://[::1]:8000/v1", "[::1]:8000", "[::1]:8000", "/v1"),
        ("https://[2001:DB8::1]/v1", "[2001:db8::1]:443", "[2001:db8::1]", "/v1"),
    ],
)
def test_a_url_names_one_place(url: str, place: str, authority: str, path: str) -> None:
    read = EndpointUrl.of(url)
    assert (read.place, read.authority, read.path) == (place, authority, path)
    assert read_place(read.place) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (" LocalHost:8000 ", "localhost:8000"),
        ("[::1]:8000", "[::1]:8000"),
        ("judge.internal.:443", "judge.internal:443"),
    ],
)
def test_places_are_read_as_people_write_them(text: str, place: str) -> None:
    assert read_place(text) == place


def test_a_port_may_be_settled() -> None:
    assert read_place("api.example.com", 443) == "api.example.com:443"
    assert read_place("api.example.com:8443", 443) == "api.example.com:8443"
    assert read_place("[::1]", 443) == "[::1]:443"


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", "host:0", "host:65536", "http://host:80", "::1:80", "a/b:80", ":8"],
)
def test_other_text_is_not_a_place(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT, such as"):
        read_place(text)


@pytest.mark.parametrize(
    "host", ["a..b", ".a", "..", f"{'a' * 64}.com", ".".join(["a" * 62] * 5), "[1::2::3]"]
)
def test_names_that_no_resolver_takes_are_refused(host: str) -> None:
    """A resolver's own refusal is not an ``OSError``, and would end a stage with a traceback."""
    with pytest.raises(ValueError, match=r"has no valid host|IPv6|IPv4"):
        EndpointUrl.of(f"https://{host}/v1")
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        read_place(f"{host}:443")


def test_a_stage_reads_what_the_worker_wrote() -> None:
    key = EndpointKey("TAILRACE_JUDGE_KEY_A", "api.example.com:443", "sk-1")
    access = EndpointAccess(["127.0.0.1:8000"], [key], "proxy:3128")
    assert EndpointAccess.decode(access.encode()) == access
    assert EndpointAccess.decode(b"") == EndpointAccess()
    assert access.secret("TAILRACE_JUDGE_KEY_A", "api.example.com:443") == "sk-1"
    assert access.secret("TAILRACE_JUDGE_KEY_A", "evil.example:443") is None
    assert access.secret("TAILRACE_JUDGE_KEY_B", "api.example.com:443") is None


@pytest.mark.parametrize("secret", ["", "two words", "sk-\r\nHost: evil", "ключ", "x" * 10_001])
def test_a_key_that_is_no_header_is_refused_and_not_shown(secret: str) -> None:
    access = EndpointAccess([], [EndpointKey("N", "h:1", secret)])
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        EndpointAccess.decode(access.encode())
    assert not secret or secret not in str(caught.value)
