from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from tailrace.profiles import Profiles
from tests.unit.tailrace.cli.conftest import Tailrace


def test_login_asks_the_server_and_stores_the_profile(
    tailrace: Tailrace, plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("tr_1_secret\n"))
    done = tailrace("login", "--server", plane.address)
    assert done.code == 0, done.err
    assert "secret" not in done.out + done.err
    profile = Profiles.load().get("default")
    assert (profile.server, profile.token, profile.tls) == (plane.address, "tr_1_secret", False)
    assert tailrace("pools", "list").code == 0
    (row,) = tailrace("profiles", "list", "--json").json()
    assert row == {
        "name": "default",
        "server": plane.address,
        "tls": False,
        "has_token": True,
        "project": "",
        "current": True,
    }
    assert "secret" not in tailrace("profiles", "list").out


def test_a_server_that_does_not_answer_is_not_stored(tailrace: Tailrace) -> None:
    refused = tailrace("login", "--server", "127.0.0.1:1", "--no-token")
    assert refused.code == 5
    assert Profiles.load() == Profiles()


def test_a_token_is_needed_or_declined(
    tailrace: Tailrace, plane: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    refused = tailrace("login", "--server", plane.address)
    assert refused.code == 2
    assert "there is no token" in refused.err
    assert tailrace("login", "--server", plane.address, "--no-token", "--name", "a").code == 0
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("tr_2_other")
    login = ("login", "--server", plane.address, "--name", "b", "--token-file", token)
    assert tailrace(*login).code == 0
    profiles = Profiles.load()
    assert (profiles.get("a").token, profiles.get("b").token) == ("", "tr_2_other")
    assert profiles.current == "b"


def test_profiles_are_chosen_and_removed(tailrace: Tailrace, plane: Any) -> None:
    for name in ("a", "b"):
        login = ("login", "--server", plane.address, "--name", name, "--no-token")
        assert tailrace(*login).code == 0
    assert tailrace("profiles", "use", "a").code == 0
    assert Profiles.load().current == "a"
    assert tailrace("profiles", "remove", "a").code == 0
    assert list(Profiles.load().by_name) == ["b"]
    for command in ("use", "remove"):
        refused = tailrace("profiles", command, "none")
        assert refused.code == 2
        assert "there is no profile 'none'" in refused.err


def test_a_token_is_not_sent_in_plaintext_beyond_this_machine(
    tailrace: Tailrace, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("tr_2_other")
    refused = tailrace("--token-file", token, "pools", "list", "--server", "plane.invalid:1")
    assert refused.code == 2
    assert "would be sent to plane.invalid:1 in plaintext" in refused.err


def test_options_before_the_command_take_precedence_over_variables(
    tailrace: Tailrace, plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = ("login", "--server", plane.address, "--name", "a", "--no-token")
    assert tailrace(*login).code == 0
    assert tailrace("profiles", "remove", "a").code == 0
    assert tailrace(*login).code == 0
    monkeypatch.setenv("TAILRACE_SERVER", "plane.invalid:1")
    assert tailrace("--profile", "a", "pools", "list").code == 0
    assert os.environ["TAILRACE_PROFILE"] == "a"
    missing = tailrace("--ca", "none.crt", "pools", "list")
    assert missing.code == 2
    assert "cannot read none.crt" in missing.err
