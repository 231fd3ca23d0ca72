from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.client.log_check import LogCheck
from tailrace.errors import DataLoss
from tailrace.v1 import run_pb2


def _batch(
    first: int, texts: list[str], end: run_pb2.LogEnd | None = None, attempt: int = 1
) -> run_pb2.StreamLogsResponse:
    lines = [run_pb2.LogLine(sequence=first + n, text=text) for n, text in enumerate(texts)]
    return run_pb2.StreamLogsResponse(stage="train", attempt=attempt, lines=lines, end=end)


def _end(texts: list[str]) -> run_pb2.LogEnd:
    digest = b""
    for text in texts:
        digest = hashlib.sha256(digest + text.encode()).digest()
    return run_pb2.LogEnd(line_count=len(texts), digest=digest.hex())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.integers(1, 5))
def test_a_whole_log_passes_however_it_is_cut(texts: list[str], size: int) -> None:
    check = LogCheck()
    for at in range(0, len(texts), size):
        check.add(_batch(at + 1, texts[at : at + size]))
    check.add(_batch(0, [], _end(texts)))


def test_attempts_are_apart() -> None:
    check = LogCheck()
    check.add(_batch(1, ["a"]))
    check.add(_batch(1, ["b"], _end(["b"]), attempt=2))
    check.add(_batch(2, ["c"], _end(["a", "c"])))


@pytest.mark.parametrize(
    ("first", "texts", "end", "message"),
    [
        (3, ["c"], None, "line 3 came after line 1"),
        (1, ["a"], None, "line 1 came after line 1"),
        (2, ["b"], _end(["a", "b", "c"]), "2 of 3 lines arrived"),
        (2, ["x"], _end(["a", "b"]), "do not match the store's digest"),
    ],
)
def test_what_does_not_fit_is_data_loss(
    first: int, texts: list[str], end: run_pb2.LogEnd | None, message: str
) -> None:
    check = LogCheck()
    check.add(_batch(1, ["a"]))
    with pytest.raises(DataLoss, match=message):
        check.add(_batch(first, texts, end))
