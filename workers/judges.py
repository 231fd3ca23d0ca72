"""Judges on a worker: those of installed packages, and the endpoints and keys that they may use."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import structlog

from tailrace.formats.endpoint_access import (
    KEYS_VARIABLE,
    EndpointAccess,
    EndpointKey,
    EndpointUrl,
    read_place,
)
from tailrace.formats.limits import MAX_ID
from tailrace.formats.spec.judge_spec import JUDGES, JudgeSpec
from tailrace.formats.spec.run_spec import RESOURCE_ID
from tailrace.private_file import exposure
from workers.settings import Settings

GROUP = "tailrace.judges"
"""Group of entry points; the name of an entry point is that of its judge."""

_LARGEST = 1 << 20
_HTTPS = 443

_log = structlog.get_logger(__name__)


class JudgeKeysError(ValueError):
    """The file with the keys of judging endpoints cannot be used; the message shows no key."""


def foreign_judges() -> dict[str, str]:
    """Return the judges of other packages: their names, with package and version.

    The packages are not imported here; only the stage process does that.
    """
    judges: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        if point.name in JUDGES:
            continue
        if point.dist is None:
            _log.warning("ignored a judge without a package", judge=point.name)
            continue
        judges[point.name] = f"{point.dist.name} {point.dist.version}"[:MAX_ID]
    return judges


@dataclass(frozen=True)
class GrantedKey:
    """A key, and the projects whose runs may use it."""

    key: EndpointKey
    projects: frozenset[str] | None = None
    """Ids of the projects; ``None`` for all."""


def endpoint_access(
    judges: Iterable[JudgeSpec], settings: Settings, project: str
) -> EndpointAccess:
    """Return the endpoints that the judges of a stage may reach, with only the keys they need.

    Places and keys that are granted to other projects are left out, as if they were not listed.

    Raises:
        JudgeKeysError: The file of keys cannot be used.
    """
    endpoints = [endpoint for judge in judges if (endpoint := judge.endpoint()) is not None]
    needed = {(one.api_key_env, EndpointUrl.of(one.url).place) for one in endpoints}
    keys = [
        granted.key
        for granted in read_keys(settings.judge_keys_file)
        if (granted.key.name, granted.key.place) in needed
        and (granted.projects is None or project in granted.projects)
    ]
    return EndpointAccess(settings.places_of(project), keys, settings.judge_proxy)


def read_keys(path: Path | None) -> list[GrantedKey]:
    """Read keys from ``{"NAME": {"host": "api.example.com", "key": "…"}}``; no path, no keys.

    With ``"projects": ["vision"]`` in its entry, a key is for the runs of these projects alone.

    Raises:
        JudgeKeysError: The file is missing, readable by others, or has another form.
    """
    if path is None:
        return []
    try:
        with path.open("rb") as file:
            problem = exposure(path, os.fstat(file.fileno()))
            content = file.read(_LARGEST)
    except OSError as error:
        raise JudgeKeysError(
            f"cannot read {path}: {error.strerror}; let {KEYS_VARIABLE} name a file that this user "
            "may read"
        ) from error
    if problem:
        raise JudgeKeysError(f"the file of judging keys {problem}")
    try:
        entries = json.loads(content)
    except ValueError:
        entries = None
    if not isinstance(entries, dict):
        raise JudgeKeysError(f'{path} must be JSON: {{"NAME": {{"host": "…", "key": "…"}}}}')
    return [_key(path, name, entry) for name, entry in entries.items()]


def _key(path: Path, name: str, entry: object) -> GrantedKey:
    if not isinstance(entry, Mapping) or entry.keys() - {"projects"} != {"host", "key"}:
        raise JudgeKeysError(
            f'{path}: {name} must be {{"host": "…", "key": "…"}}, with "projects" at most'
        )
    host, secret = entry["host"], entry["key"]
    if not isinstance(host, str) or not isinstance(secret, str):
        raise JudgeKeysError(f"{path}: host and key of {name} must be text")
    try:
        key = EndpointKey(name, read_place(host, _HTTPS), secret)
    except ValueError as error:
        raise JudgeKeysError(f"{path}: the host of {name}: {error}") from error
    problems = key.violations(name)
    if problems:
        raise JudgeKeysError(f"{path}: the key of {name} {problems[0].description}")
    return GrantedKey(key, _projects(path, name, entry.get("projects")))


def _projects(path: Path, name: str, projects: object) -> frozenset[str] | None:
    if projects is None:
        return None
    if not isinstance(projects, list) or not projects or not all(map(_is_project, projects)):
        raise JudgeKeysError(f'{path}: the projects of {name} must be ids, such as ["default"]')
    return frozenset(projects)


def _is_project(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(RESOURCE_ID, value) is not None
