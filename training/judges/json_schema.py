"""The judge `json_schema`: the answer must be JSON that is valid under a schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import Draft202012Validator, extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES
from training.errors import ConfigError
from training.judges.answers.bounded_regex import compile_pattern
from training.judges.answers.json_text import find_json
from training.judges.base import JudgeError, JudgeSetup, TextJudge, TextVerdict
from training.machine.bounded_process import BoundedProcess, OutOfBoundsError, WorkFailedError

SECONDS = 5.0
"""Limit for validating one text: ``oneOf`` and ``$ref`` multiply the work, ``uniqueItems`` compares
every pair of items."""

MEMORY_BYTES = 1 << 30
"""Memory limit of a validation, in bytes."""

PROCESS = BoundedProcess(
    "training.judges.json_schema:answer", seconds=SECONDS, memory_bytes=MEMORY_BYTES
)
"""Process that validates texts."""


class JsonSchemaJudge(TextJudge):
    """Passes texts that are JSON valid under the schema, alone or in one fenced block.

    The schema's ``$schema`` chooses the draft, 2020-12 by default. Validation is bounded in time
    and memory; references outside the schema are never fetched.
    """

    name = "json_schema"
    version = JUDGES[name]

    def __init__(self, setup: JudgeSetup) -> None:
        options = setup.spec.json_schema
        if options is None:
            raise ConfigError("the judge json_schema needs a schema")
        self._schema = json.dumps(options.schema)
        try:
            reply = PROCESS.ask({"schema": self._schema})
        except (OutOfBoundsError, WorkFailedError) as error:
            raise ConfigError(f"the schema cannot be read: {error}") from error
        if "wrong" in reply:
            raise ConfigError(reply["wrong"])

    def judge(self, item: EvalItem, text: str) -> TextVerdict:
        """See :class:`training.judges.base.TextJudge`."""
        try:
            reply = PROCESS.ask({"schema": self._schema, "text": text})
        except OutOfBoundsError as error:
            raise JudgeError(f"validating {error}") from error
        if "error" in reply:
            raise JudgeError(reply["error"])
        return TextVerdict(**reply)


def answer(request: dict[str, str]) -> dict[str, object]:
    """Serve a request of :class:`JsonSchemaJudge`, in its process."""
    try:
        validator = _validator(request["schema"])
        return asdict(_judge(validator, request["text"])) if "text" in request else {}
    except ConfigError as error:
        return {"wrong": str(error)}
    except JudgeError as error:
        return {"error": str(error)}


@lru_cache(maxsize=1)
def _validator(text: str) -> Any:
    schema = json.loads(text)
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ConfigError(f"not a JSON Schema: {error.json_path}: {error.message}") from error
    bounded: Any = extend(  # type: ignore[no-untyped-call]
        kind,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
        },
    )
    return bounded(schema, registry=Registry())


def _judge(validator: Any, text: str) -> TextVerdict:
    document = find_json(text)
    if document is None:
        return TextVerdict(passed=False, score=0.0, reason="the text is not JSON")
    try:
        violation = next(validator.iter_errors(document.value), None)
    except Unresolvable as error:
        raise JudgeError(f"the schema refers outside of itself: {error}") from error
    except RecursionError as error:
        raise JudgeError("the schema or the JSON is nested too deeply") from error
    return TextVerdict(
        passed=violation is None,
        score=float(violation is None),
        reason=(
            "valid" if violation is None else f"{violation.json_path}: {violation.message[:500]}"
        ),
        extracted=json.dumps(document.value, ensure_ascii=False)[:1000],
        evidence=document.evidence,
    )


def _pattern(
    validator: Any, pattern: str, instance: object, schema: object
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compile_pattern(pattern).search(instance):
        yield ValidationError(f"{instance[:100]!r} does not match {pattern[:100]!r}")


def _pattern_properties(
    validator: Any, patterns: dict[str, object], instance: object, schema: object
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, part in patterns.items():
        compiled = compile_pattern(pattern)
        for name, value in instance.items():
            if compiled.search(name):
                yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, part: object, instance: object, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    patterns = [compile_pattern(pattern) for pattern in schema.get("patternProperties", {})]
    for name, value in instance.items():
        matches = any(pattern.search(name) for pattern in patterns)
        if matches or name in schema.get("properties", {}):
            continue
        if part is False:
            yield ValidationError(f"{name[:100]!r} is not among the properties")
        else:
            yield from validator.descend(value, part, path=name)
