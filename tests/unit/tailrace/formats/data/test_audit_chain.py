"""The hash chain of the audit log, recomputed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tailrace.formats.data.audit_chain import (
    FIELDS,
    ChainError,
    Place,
    audit_time,
    check_chain,
    link,
)

Record = dict[str, Any]


def chain_of(count: int, anchor: Place = Place()) -> list[Record]:  # noqa: B008 - immutable
    records: list[Record] = []
    previous = anchor.hash
    for sequence in range(anchor.sequence + 1, anchor.sequence + 1 + count):
        record: Record = dict.fromkeys(FIELDS, "") | {"sequence": sequence, "suppressed": 0}
        previous = link(previous, record)
        records.append(record | {"hash": previous})
    return records


def head_of(records: list[Record]) -> Place:
    return Place(records[-1]["sequence"], records[-1]["hash"])


def test_an_intact_chain_is_accepted_from_its_anchor() -> None:
    records = chain_of(5)
    assert check_chain(Place(), records, [head_of(records)]) == head_of(records)
    anchor = Place(2, records[1]["hash"])
    assert check_chain(anchor, records[2:], [head_of(records)]) == head_of(records)
    assert check_chain(Place(), [], []) == Place()


def changed(records: list[Record]) -> list[Record]:
    records[2]["actor"] = "somebody else"
    return records


def deleted(records: list[Record]) -> list[Record]:
    return records[:2] + records[3:]


def several_deleted(records: list[Record]) -> list[Record]:
    return records[:2]


def reordered(records: list[Record]) -> list[Record]:
    records[2], records[3] = records[3], records[2]
    return records


def renumbered(records: list[Record]) -> list[Record]:
    records[2]["actor"], records[3]["actor"] = "b", "a"
    records[2]["hash"], records[3]["hash"] = records[3]["hash"], records[2]["hash"]
    return records


def inserted(records: list[Record]) -> list[Record]:
    forged: Record = records[2] | {"actor": "forged"}
    forged["hash"] = link(records[1]["hash"], forged)
    return [*records[:2], forged, *records[2:]]


def replaced(records: list[Record]) -> list[Record]:
    """One that had the hash of the event before it."""
    records[2]["actor"] = "forged"
    records[2]["hash"] = link(records[1]["hash"], records[2])
    return records


def added(records: list[Record]) -> list[Record]:
    return [*records, records[-1] | {"sequence": 6, "hash": "0" * 64}]


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        (changed, "event 3 was changed"),
        (deleted, "event 3 is missing"),
        (several_deleted, "events 3 to 5 are missing"),
        (reordered, "event 3 is missing"),
        (renumbered, "event 3 was changed"),
        (inserted, "event 3 is out of order"),
        (replaced, "event 4 was changed, added or moved"),
        (added, "event 6 was changed, added or moved"),
    ],
)
def test_what_was_done_to_a_chain_is_named(tamper: Any, problem: str) -> None:
    records = chain_of(5)
    head = head_of(records)
    with pytest.raises(ChainError, match=problem):
        check_chain(Place(), tamper(records), [head])


def test_a_chain_made_anew_differs_from_a_head_that_somebody_kept() -> None:
    kept = head_of(chain_of(3))
    other = chain_of(5, Place(0, "1" * 64))
    with pytest.raises(ChainError, match="event 3 has another hash than it had"):
        check_chain(Place(0, "1" * 64), other, [head_of(other), kept])


def test_times_have_one_form() -> None:
    time = datetime(2026, 1, 2, 3, 4, 5, 60, tzinfo=UTC)
    assert audit_time(time) == "2026-01-02T03:04:05.000060Z"
    assert audit_time(time.astimezone(timezone(timedelta(hours=5)))) == audit_time(time)
