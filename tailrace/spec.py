"""Run files: YAML or JSON text on disk, checked as a whole before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from tailrace.formats.run_spec import RunSpec
from tailrace.formats.schema import SpecError, Violation, parse


def load_spec(path: str | Path, *, overrides: Iterable[str] = ()) -> RunSpec:
    """The run spec of a file: YAML (``.yaml``, ``.yml``) or JSON (``.json``).

    ``overrides`` such as ``train.sft.max_steps=50`` replace single values first; each value is read
    as YAML. Raises ``SpecError`` with every wrong field at once (unknown keys with the nearest
    name), ``OSError``, and ``ImportError`` where YAML is not installed.
    """
    data = _read(Path(path))
    if isinstance(data, dict):
        for override in overrides:
            _override(data, override)
    return parse(RunSpec, data)


def _read(path: Path) -> Any:
    # utf-8-sig: editors on Windows put a byte order mark in front.
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError([Violation(str(path), f"is not UTF-8 text: {error.reason}")]) from error
    if path.suffix == ".json":
        try:
            return json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise SpecError([Violation(str(path), f"is not JSON: {error}")]) from error
    return _yaml(text, str(path))


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    names = path.split(".")
    if not equals or not all(names):
        raise SpecError([Violation(override, "is not of the form key.path=value")])
    for index, name in enumerate(names[:-1]):
        if data.get(name) is None:
            data[name] = {}
        inner = data[name]
        if not isinstance(inner, dict):
            at = ".".join(names[: index + 1])
            raise SpecError([Violation(path, f"cannot be set: {at} holds no keys")])
        data = inner
    data[names[-1]] = _yaml(value, path)


def _yaml(text: str, where: str) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ImportError('YAML run files need PyYAML: pip install "tailrace[cli]"') from error

    class Loader(yaml.SafeLoader):
        """Plain data only, and no key twice, of which YAML would silently keep the last."""

        def construct_mapping(
            self, node: yaml.MappingNode, deep: bool = False
        ) -> dict[Hashable, Any]:
            _unique([(self.construct_object(key, deep=True), None) for key, _ in node.value])
            return super().construct_mapping(node, deep=deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506 - the loader above is a safe one
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise SpecError([Violation(where, f"is not YAML: {error}")]) from error


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return made
