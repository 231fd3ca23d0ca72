"""Judges of other packages, and keys of endpoints: each for the host that the operator named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.endpoint_access import EndpointAccess, EndpointKey
from tailrace.formats.schema import parse
from tailrace.formats.spec.judge_spec import JudgeSpec
from workers.judges import JudgeKeysError, endpoint_access, foreign_judges, read_keys
from workers.settings import Settings

NAME = "TAILRACE_JUDGE_KEY_A"

WriteKeys = Callable[[Any], Path]


@pytest.fixture
def write_keys(tmp_path: Path) -> WriteKeys:
    """Return a function that writes a file of keys as operators should."""

    def write(content: Any) -> Path:
        path = tmp_path / "keys.json"
        path.touch(mode=0o600)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def judges(*urls: str, name: str = NAME) -> list[JudgeSpec]:
    entries = [
        {
            "name": judge,
            judge: {
                {"llm_rubric": "rubric", "pairwise": "criteria"}[judge]: "r",
                "backend": {"endpoint": {"url": url, "model": "m", "api_key_env": name}},
            },
        }
        for judge, url in zip(("llm_rubric", "pairwise"), urls, strict=False)
    ]
    return [JudgeSpec("answer_correctness"), *(parse(JudgeSpec, entry) for entry in entries)]


@pytest.mark.parametrize(
    ("host", "url", "given"),
    [
        ("api.example.com", "https://api.example.com/v1", True),
        ("API.example.com:443", "https://api.example.com./v1", True),
        ("api.example.com:8443", "https://api.example.com:8443/v1", True),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/v1", True),
        ("api.example.com", "https://api.example.com:8443/v1", False),
        ("api.example.com", "http://api.example.com/v1", False),
        ("api.example.com", "https://api.example.com.evil.example/v1", False),
        ("api.example.com", "https://evil.example/api.example.com/v1", False),
    ],
)
def test_a_key_is_given_to_its_host_alone(
    write_keys: WriteKeys, host: str, url: str, given: bool
) -> None:
    settings = Settings(judge_keys_file=write_keys({NAME: {"host": host, "key": "sk-1"}}))
    access = endpoint_access(judges(url), settings, "default")
    assert [key.secret for key in access.keys] == (["sk-1"] if given else [])


def test_a_run_that_names_a_key_for_two_hosts_sends_it_to_one(write_keys: WriteKeys) -> None:
    settings = Settings(
        judge_keys_file=write_keys({NAME: {"host": "api.example.com", "key": "sk-1"}}),
        judge_endpoints=("LocalHost:8000",),
        judge_proxy="proxy:3128",
    )
    access = endpoint_access(
        judges("https://evil.example", "https://api.example.com"), settings, "default"
    )
    assert access == EndpointAccess(
        ["localhost:8000"], [EndpointKey(NAME, "api.example.com:443", "sk-1")], "proxy:3128"
    )
    assert access.secret(NAME, "evil.example:443") is None
    assert not endpoint_access(
        judges("https://api.example.com", name=f"{NAME}B"), settings, "default"
    ).keys


def test_places_and_keys_of_one_project_do_not_exist_for_others(write_keys: WriteKeys) -> None:
    entry = {"host": "api.example.com", "key": "sk-1", "projects": ["vision", "speech"]}
    settings = Settings(
        judge_keys_file=write_keys({NAME: entry}),
        judge_endpoints=("10.0.0.5:8000@vision", "10.0.0.6:8000"),
    )
    ours, others = (
        endpoint_access(judges("https://api.example.com"), settings, project)
        for project in ("vision", "default")
    )
    assert ours.allowed == ["10.0.0.5:8000", "10.0.0.6:8000"]
    assert [key.secret for key in ours.keys] == ["sk-1"]
    assert others == EndpointAccess(["10.0.0.6:8000"])


@pytest.mark.parametrize("place", ["10.0.0.5:8000@", "10.0.0.5:8000@A b", "10.0.0.5@vision"])
def test_a_grant_names_a_place_and_a_project(place: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        Settings(judge_endpoints=(place,))


def test_no_file_means_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "sk-1")
    assert (
        endpoint_access(judges("https://api.example.com"), Settings(), "default")
        == EndpointAccess()
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "must be JSON"),
        ("[]", "must be JSON"),
        ({NAME: "sk-1"}, f"{NAME} must be"),
        ({NAME: {"host": "h", "key": "sk-1", "more": 1}}, f"{NAME} must be"),
        ({NAME: {"host": "https://h", "key": "sk-1"}}, "is not HOST:PORT"),
        ({NAME: {"host": "h", "key": "sk-1\n"}}, "printable ASCII"),
        ({NAME: {"host": "h", "key": 5}}, "must be text"),
        ({NAME: {"host": "h", "key": "sk-1", "projects": []}}, "must be ids"),
        ({NAME: {"host": "h", "key": "sk-1", "projects": "vision"}}, "must be ids"),
        ({NAME: {"host": "h", "key": "sk-1", "projects": [1]}}, "must be ids"),
    ],
)
def test_a_file_of_another_form_is_refused_and_no_key_shown(
    write_keys: WriteKeys, content: Any, says: str
) -> None:
    with pytest.raises(JudgeKeysError, match=re.escape(says)) as caught:
        read_keys(write_keys(content))
    assert "sk-" not in str(caught.value)


def test_a_file_that_others_may_read_is_refused(write_keys: WriteKeys, tmp_path: Path) -> None:
    path = write_keys({})
    path.chmod(0o644)
    with pytest.raises(JudgeKeysError, match=f"chmod 600 {path}"):
        read_keys(path)
    with pytest.raises(JudgeKeysError, match=r"No such file.*TAILRACE_JUDGE_KEYS_FILE"):
        read_keys(tmp_path / "none.json")


def package(folder: Path, name: str, points: str) -> None:
    """An installed package as far as its metadata goes."""
    metadata = folder / f"{name}-2.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n")
    (metadata / "entry_points.txt").write_text(f"[tailrace.judges]\n{points}\n")


def test_judges_of_other_packages_are_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = foreign_judges()
    package(tmp_path, "haiku", "haiku = no_such_module:Judge\nregex = no_such_module:Regex")
    monkeypatch.syspath_prepend(str(tmp_path))
    judges_found = foreign_judges()
    # Built-in names are not given away.
    assert judges_found == before | {"haiku": "haiku 2.1"}
