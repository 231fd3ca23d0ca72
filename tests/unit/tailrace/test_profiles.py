"""Server and access from arguments, variables and profiles, in this order."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tailrace import Client
from tailrace.access import Access, AccessError
from tailrace.environment import VARIABLES, read_token, resolve
from tailrace.profiles import Profile, ProfileError, Profiles, file_path
from tailrace.tls_files import TlsFiles

PROD = Profile("plane.example:7443", tls=True, ca_file="/etc/ca.crt", token="tr_prod_secret")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TAILRACE_SERVER", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def stored() -> Profiles:
    Profiles().with_profile("test", Profile("test:1")).with_profile("prod", PROD).save()
    return Profiles.load()


def token_of(access: Access) -> str | None:
    return None if access.token is None else access.token()


def test_without_anything_it_is_this_machine_in_plaintext() -> None:
    assert resolve() == ("127.0.0.1:7443", Access())


def test_profiles_are_stored_for_their_owner_alone() -> None:
    profiles = stored()
    assert profiles.current == "prod"
    assert profiles.get("prod") == PROD
    assert file_path().stat().st_mode & 0o777 == 0o600
    assert file_path().parent.stat().st_mode & 0o777 == 0o700
    assert profiles.without("prod").current == ""
    assert profiles.using("test").current == "test"
    assert "secret" not in repr(profiles)


def test_a_file_of_profiles_that_others_may_read_is_refused() -> None:
    stored()
    file_path().chmod(0o644)
    with pytest.raises(ProfileError, match=f"chmod 600 {file_path()}"):
        resolve()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"current": "", "profiles": {"p": {"serve": "x"}}}',
     '{"current": "", "profiles": {"p": {"server": 1}}}'],
)  # fmt: skip
def test_a_malformed_file_of_profiles_is_named(content: str) -> None:
    stored()
    file_path().write_text(content)
    with pytest.raises(ProfileError, match="is not a file of profiles: remove it"):
        Profiles.load()


def test_the_current_profile_counts() -> None:
    stored()
    server, access = resolve()
    assert server == "plane.example:7443"
    assert access.tls == TlsFiles(Path("/etc/ca.crt"))
    assert token_of(access) == "tr_prod_secret"


def test_a_profiles_token_is_never_sent_to_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    stored()
    assert resolve("other:7443") == ("other:7443", Access())
    assert token_of(resolve("plane.example:7443")[1]) == "tr_prod_secret"
    monkeypatch.setenv("TAILRACE_SERVER", "other:7443")
    assert resolve() == ("other:7443", Access())
    monkeypatch.setenv("TAILRACE_PROFILE", "prod")
    with pytest.raises(ProfileError, match=r"is for plane.example:7443, not for other:7443"):
        resolve()


def test_the_project_is_that_of_argument_variable_or_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert resolve()[1].metadata() == ()
    Profiles().with_profile("prod", replace(PROD, project="vision")).save()
    assert resolve()[1].metadata()[1:] == (("tailrace-project", "vision"),)
    assert resolve("other:7443")[1].metadata() == ()
    monkeypatch.setenv("TAILRACE_PROJECT", "speech")
    assert resolve("other:7443")[1].project == "speech"
    assert resolve(None, None, "projects/maps")[1].project == "maps"
    assert resolve("other:7443", Access(), "maps")[1].metadata() == (("tailrace-project", "maps"),)
    assert resolve("other:7443", Access())[1].metadata() == ()
    monkeypatch.setenv("TAILRACE_PROJECT", "Not an id")
    with pytest.raises(AccessError, match="--project or TAILRACE_PROJECT"):
        resolve()


def test_another_profile_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    stored()
    monkeypatch.setenv("TAILRACE_PROFILE", "test")
    assert resolve() == ("test:1", Access())
    monkeypatch.setenv("TAILRACE_PROFILE", "none")
    with pytest.raises(ProfileError, match="there is no profile 'none'"):
        resolve()


def test_variables_take_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored()
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("tr_file_secret\n")
    monkeypatch.setenv("TAILRACE_TOKEN_FILE", str(token))
    monkeypatch.setenv("TAILRACE_CA_FILE", "/other/ca.crt")
    _server, access = resolve()
    assert access.tls == TlsFiles(Path("/other/ca.crt"))
    assert token_of(access) == "tr_file_secret"
    token.write_text("tr_new_secret_\n")
    assert token_of(access) == "tr_new_secret_"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("TAILRACE_TLS", "maybe", "TAILRACE_TLS must be true or false, not 'maybe'"),
        ("TAILRACE_CERT_FILE", "a.crt", "must be set together"),
        ("TAILRACE_TOKEN_FILE", "/none", "cannot read the token file /none"),
    ],
)
def test_wrong_variables_are_named(
    name: str, value: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(AccessError, match=problem):
        resolve()


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [("tr_x", 0o644, "chmod 600"), ("", 0o600, "a token on one line"),
     ("a b", 0o600, "a token on one line"), ("a\nb", 0o600, "a token on one line")],
)  # fmt: skip
def test_a_token_file_is_checked(content: str, mode: int, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(AccessError, match=problem):
        read_token(file)


def test_the_client_refuses_to_send_a_token_in_plaintext() -> None:
    Profiles().with_profile("p", Profile("plane.example:1", token="tr_1_s")).save()
    with pytest.raises(AccessError, match=r"would be sent to plane\.example:1 in plaintext"):
        Client()
    Profiles().with_profile("p", Profile("plane.example:1", token="tr_1_s", insecure=True)).save()
    Client().close()
    assert json.loads(file_path().read_text())["profiles"]["p"]["insecure"] is True
