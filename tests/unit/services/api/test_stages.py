from __future__ import annotations

import pytest

from services.api.stages import _joined
from services.domain.errors import InvalidInput
from tailrace.v1 import stage_pb2


def message(first: int, *texts: str, lease: str = "t") -> stage_pb2.PublishEventsRequest:
    events = [stage_pb2.StageEvent(log=stage_pb2.LogRecord(text=text)) for text in texts]
    return stage_pb2.PublishEventsRequest(lease_token=lease, first_sequence=first, events=events)


async def test_messages_that_follow_each_other_are_stored_together() -> None:
    requests = [message(1, "a", "b"), message(3, "c"), message(9, "x"), message(10, "y", lease="u")]
    joined = [batch async for batch in _joined(requests)]
    assert [(b.first_sequence, len(b.events), b.token, n) for b, n in joined] == [
        (1, 3, "t", 2),
        (9, 1, "t", 1),
        (10, 1, "u", 1),
    ]
    assert [event.text for event in joined[0][0].events] == ["a", "b", "c"]  # type: ignore[union-attr]


async def test_what_came_before_a_wrong_message_is_kept() -> None:
    broken = stage_pb2.PublishEventsRequest(
        lease_token="t", first_sequence=2, events=[stage_pb2.StageEvent()]
    )
    batches = _joined([message(1, "a"), broken])
    assert len((await anext(batches))[0].events) == 1
    with pytest.raises(InvalidInput, match=r"events\[0\]"):
        await anext(batches)
