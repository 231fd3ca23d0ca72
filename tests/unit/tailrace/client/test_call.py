from __future__ import annotations

from typing import Any

import pytest

from tailrace.client.call import Paged, file_upload, resource
from tailrace.v1 import run_pb2


@pytest.mark.parametrize(
    ("name", "full"), [("demo", "runs/demo"), ("runs/demo", "runs/demo"), ("a/b", "a/b")]
)
def test_resource_names(name: str, full: str) -> None:
    assert resource("runs", name) == full


@pytest.mark.parametrize(
    ("limit", "expected", "fetched"), [(None, 5, 3), (0, 0, 0), (1, 1, 1), (4, 4, 2), (99, 5, 3)]
)
def test_pages_are_fetched_as_they_are_needed(
    limit: int | None, expected: int, fetched: int
) -> None:
    names = [f"runs/{n}" for n in range(5)]
    method: Any = None
    call = Paged(method, run_pb2.ListRunsRequest(), lambda page: page.runs, limit)
    fetched_names: list[str] = []
    pages = 0
    while (page := call.next_page()) is not None:
        at = int(page.request.page_token or 0)
        response = run_pb2.ListRunsResponse(
            runs=[run_pb2.Run(name=name) for name in names[at : at + 2]],
            next_page_token=str(at + 2) if at + 2 < len(names) else "",
        )
        fetched_names += [run.name for run in call.accept(response)]
        pages += 1
    assert fetched_names == names[:expected]
    assert pages == fetched


def test_an_upload_reports_the_bytes_sent_from_the_beginning_each_time(monkeypatch: Any) -> None:
    monkeypatch.setattr("tailrace.client.call.UPLOAD_CHUNK_BYTES", 4)
    sizes: list[int] = []
    requests = file_upload(dict, "head", b"0123456789", sizes.append)
    assert [r.get("data") for r in requests()] == [None, b"0123", b"4567", b"89"]
    assert sizes == [0, 4, 8, 10]
    list(requests())
    assert sizes[4:] == [0, 4, 8, 10]
