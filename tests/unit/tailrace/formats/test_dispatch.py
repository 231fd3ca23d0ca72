from __future__ import annotations

import pytest

from tailrace.formats import dispatch
from tailrace.formats.spec.run_spec import StageKind


def test_task_ids_round_trip() -> None:
    task = dispatch.TaskId("0af", "train", 3)
    assert str(task) == "0af.train.3"
    assert dispatch.TaskId.parse("0af.train.3") == task


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a.b.1.2"])
def test_other_text_is_no_task_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        dispatch.TaskId.parse(text)


def test_names() -> None:
    assert dispatch.task_name(StageKind.JUDGE) == "tailrace.judge"
    assert dispatch.queue_name("gpu") != dispatch.queue_name("cpu")
    assert dispatch.routing_key("gpu") != dispatch.routing_key("cpu")
