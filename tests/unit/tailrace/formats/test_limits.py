"""Limits that both sides of a wire rely on: one number each, and the inner fits into the outer.

Code that needs a limit imports it from :mod:`tailrace.formats.limits`. These tests walk the numbers
that cannot be imported: those in the words of protos and pages, those that schemas state for fields
of messages, and sizes of which one has to fit into another.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.domain.comparison import MAX_CHANGES
from services.domain.pages import MAX_PAGE_BYTES
from services.settings import Settings
from services.usecases.quotas.usage import MAX_USAGE_ENTRIES
from services.usecases.runs.compare import MAX_POINTS
from tailrace.channel import MAX_RECEIVE_BYTES
from tailrace.client import call
from tailrace.formats import limits, results, stage_protocol
from tailrace.formats.data import jsonl
from tailrace.formats.data.prediction import MAX_PROMPT, Prediction
from tailrace.formats.data.verdict import Verdict
from workers.events.pipe_reader import MAX_EVENT_BYTES

ROOT = Path(__file__).parents[4]

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}

OF_RESPONSES = {
    "ReadResponse.data": limits.CHUNK_BYTES,
    "ExportDatasetResponse.data": limits.CHUNK_BYTES,
    "LogLine.text": limits.MAX_LINE_BYTES,
    "StageError.log_tail": limits.MAX_TAIL_LINES,
    "MetricCurve.points": MAX_POINTS,
    "VerdictComparison.changes": MAX_CHANGES,
    "SumUsageResponse.usage": MAX_USAGE_ENTRIES,
}
"""Limits of fields that the control plane fills or cuts."""

MESSAGES_OF_SCHEMAS: dict[type[Any], str] = {
    Prediction: "Prediction",
    Verdict: "Verdict",
    stage_protocol.MetricEvent: "MetricPoint",
    stage_protocol.ProgressEvent: "Progress",
    stage_protocol.ErrorEvent: "StageError",
    **{
        schema: name
        for name, schema in vars(results).items()
        if dataclasses.is_dataclass(schema) and isinstance(schema, type)
    },
}
"""The message as which the fields of a schema travel from the stage process to the server."""


class Quote(typing.NamedTuple):
    """A limit that the comment of a message's field states."""

    message: str
    field: str
    amount: int


def proto_quotes() -> Iterator[Quote]:
    """Yield every limit in a comment of the protos."""
    for path in sorted((ROOT / "protos" / "tailrace" / "v1").glob("*.proto")):
        if path.name == "run_spec.proto":
            # Generated from the schema, which is the source of these limits.
            continue
        blocks: list[str] = []
        comment = ""
        for line in map(str.strip, path.read_text().splitlines()):
            if line.startswith("//"):
                comment += line.removeprefix("//")
                continue
            if block := re.match(r"(message|oneof|enum|service) (\w+) \{", line):
                # The fields of a oneof belong to the message around it.
                blocks.append(block[2] if block[1] != "oneof" else blocks[-1])
            elif line == "}":
                blocks.pop()
            elif (field := re.match(r"[\w.<>, ]+ (\w+) = \d+", line)) and blocks:
                pattern = r"(?:[Aa]t most|[Uu]p to|[Mm]aximum(?: of)?) ([\d,]+)(?: (KiB|MiB))?"
                for amount, unit in re.findall(pattern, comment):
                    yield Quote(blocks[-1], field[1], int(amount.replace(",", "")) * UNITS[unit])
            comment = ""


def bounds(quote: Quote) -> list[int | None]:
    if quote.field == "page_size":
        return [limits.MAX_PAGE_ENTRIES]
    name = f"{quote.message}.{quote.field}"
    if name in OF_RESPONSES:
        return [OF_RESPONSES[name]]
    bound = limits.bound_of(quote.message, quote.field)
    return [bound.text, bound.count] if bound else []


def test_the_protos_quote_the_limits() -> None:
    quotes = list(proto_quotes())
    assert [quote for quote in quotes if quote.amount not in bounds(quote)] == []
    assert {f"{quote.message}.{quote.field}" for quote in quotes} >= OF_RESPONSES.keys()
    assert len(quotes) > 25


def test_no_schema_allows_what_the_wire_refuses() -> None:
    compared = 0
    for schema, message in MESSAGES_OF_SCHEMAS.items():
        for field in dataclasses.fields(schema):
            bound = limits.bound_of(message, field.name)
            most = field.metadata["rule"].max_length
            if bound is None or most is None:
                continue
            is_list = typing.get_origin(typing.get_type_hints(schema)[field.name]) is list
            wire = bound.count if is_list else bound.text
            assert wire is not None, f"{message}.{field.name}"
            assert most <= wire, f"{message}.{field.name}"
            compared += 1
    assert compared >= 8


LARGEST_EVENT = 6 * (2 * limits.MAX_GENERATED + MAX_PROMPT) + 32 * limits.MAX_TOKENS
"""JSON of a prediction: its text occurs once whole and once in parts. Escapes have 6 bytes, a
token's id and its log probability 32."""

ERROR_WITH_LOG = limits.MAX_ERROR_BYTES + limits.MAX_TAIL_LINES * limits.MAX_LINE_BYTES


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (call.UPLOAD_CHUNK_BYTES, limits.CHUNK_BYTES),
        (limits.CHUNK_BYTES, limits.request_bytes("WriteRequest") // 2),
        (limits.CHUNK_BYTES, limits.request_bytes("ImportDatasetRequest") // 2),
        (limits.BATCH_BYTES, limits.request_bytes("PublishEventsRequest") // 2),
        (limits.RESULT_BYTES, limits.request_bytes("CompleteStageRequest")),
        (ERROR_WITH_LOG, limits.request_bytes("FailStageRequest") // 2),
        (max(limits.REQUEST_BYTES.values()), Settings.model_fields["max_message_bytes"].default),
        (MAX_PAGE_BYTES + limits.EVENTS_BYTES, MAX_RECEIVE_BYTES),
        (LARGEST_EVENT, MAX_EVENT_BYTES),
    ],
)
def test_the_inner_message_fits_into_the_outer(inner: int, outer: int) -> None:
    assert inner <= outer


@pytest.mark.parametrize(
    "words", [f"{jsonl.MAX_VALUES:,}", f"{MAX_PAGE_BYTES >> 20} MiB", "tailrace/formats/limits.py"]
)
def test_the_page_of_limits_quotes_them(words: str) -> None:
    assert words in (ROOT / "docs" / "reliability.md").read_text()
