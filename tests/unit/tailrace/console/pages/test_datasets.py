from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import httpx2
import pytest

import tailrace
from tailrace.console import uploads
from tailrace.console.content.lines import read_lines
from tailrace.errors import NotFound
from tests.unit.tailrace.console.conftest import URL, Visitor

LINE = json.dumps({"prompt": "What is 1 + 1?", "completion": "2"})


async def send(
    visitor: Visitor, path: str, content: bytes, filename: str = "d.jsonl", **fields: str
) -> httpx2.Response:
    """Send the form of an import."""
    token = {"form_token": visitor._form_token}
    return await visitor.http.post(
        path, data={**token, **fields}, files={"file": (filename, content)}, headers={"origin": URL}
    )


async def test_a_file_is_imported_and_shown(visitor: Visitor, client: tailrace.Client) -> None:
    await visitor.get("/datasets")
    answer = await send(visitor, "/datasets", f"{LINE}\n".encode(), id="sums", description="Sums")
    assert (answer.status_code, answer.headers["location"]) == (303, "/datasets/sums@1")
    page = (await visitor.get("/datasets/sums")).text
    assert "What is 1 + 1?" in page
    assert "completion" in page
    assert client.get_dataset("sums").description == "Sums"


async def test_wrong_lines_are_named_and_nothing_is_stored(
    visitor: Visitor, client: tailrace.Client
) -> None:
    await visitor.get("/datasets")
    content = f"{LINE}\n{{}}\nnot json\n".encode()
    answer = await send(visitor, "/datasets", content, id="wrong", description="Kept")
    assert answer.status_code == 400
    assert {"line 2", "line 3"} <= set(re.findall(r"<code>(line \d+)</code>", answer.text))
    assert 'value="Kept"' in answer.text
    with pytest.raises(NotFound):
        client.get_dataset("wrong")


async def test_a_file_arrives_in_chunks_that_are_passed_on(
    visitor: Visitor, client: tailrace.Client
) -> None:
    await visitor.get("/datasets")
    rows = [json.dumps({"prompt": f"{n}", "completion": "x" * 1000}) for n in range(3000)]
    content = "\n".join(rows).encode()
    answer = await send(visitor, "/datasets", content, id="large", kind="completion")
    assert answer.status_code == 303
    assert client.get_dataset("large").line_count == 3000


@pytest.mark.parametrize("content", [b"", b"\r\n--", b"\r\n" * 5000])
async def test_any_content_is_answered(visitor: Visitor, content: bytes) -> None:
    await visitor.get("/datasets")
    assert (await send(visitor, "/datasets", content, id="odd")).status_code == 400


async def test_an_upload_needs_the_token_of_its_page(visitor: Visitor) -> None:
    await visitor.get("/datasets")
    visitor._form_token = "forged"
    assert (await send(visitor, "/datasets", b"{}", id="forged")).status_code == 403


async def test_a_field_before_the_file_is_bounded(visitor: Visitor) -> None:
    await visitor.get("/datasets")
    long = "x" * (uploads.MAX_FIELD_BYTES + 1)
    assert (await send(visitor, "/datasets", b"{}", id=long)).status_code == 413


async def test_a_form_without_a_file_is_refused(visitor: Visitor) -> None:
    await visitor.get("/datasets")
    answer = await visitor.post("/datasets", id="none")
    assert answer.status_code == 400


async def test_the_built_in_dataset_is_created(visitor: Visitor) -> None:
    await visitor.get("/datasets")
    answer = await visitor.post("/datasets/seed", id="golden-v2")
    assert answer.headers["location"] == "/datasets/golden-v2@1"


async def test_later_lines_have_their_own_page(visitor: Visitor, client: tailrace.Client) -> None:
    client.seed_dataset("golden-v2")
    first = (await visitor.get("/datasets/golden-v2")).text
    assert "Line 20<" in first
    assert "Line 21<" not in first
    last = (await visitor.get("/datasets/golden-v2?offset=80")).text
    assert "Line 100<" in last
    assert "Later lines" not in last
    for offset in ("-1", "x", "10000", "²"):
        assert (await visitor.get(f"/datasets/golden-v2?offset={offset}")).status_code == 404


async def test_statistics_name_repeated_similar_and_leaked_lines(
    visitor: Visitor, client: tailrace.Client
) -> None:
    words = "the old ship left the harbour at dawn and nobody on the pier waved to its captain"
    rows = [{"prompt": words, "completion": end} for end in ("yes", "Yes", "yes indeed")]
    client.import_dataset("measured", "\n".join(map(json.dumps, rows)).encode())
    item = {"id": "leaked", "prompt": words, "expected_answer": "yes"}
    client.import_eval_set("harbour", json.dumps(item).encode())
    page = (await visitor.get("/datasets/measured/statistics?against=harbour")).text
    assert "line 2 repeats line 1" in page
    assert re.search(r"line 3 shares \d+ % of its runs of three words with line 1", page)
    assert "1 of 1 prompts of harbour" in page
    part = await visitor.get("/datasets/measured/statistics", headers={"hx-request": "true"})
    assert part.text.count("<html") == 0


async def test_only_the_first_lines_of_a_stream_are_read() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(1_000_000):
            yield b"line %d\nli" % number

    first = await read_lines(chunks(), 3)
    assert (len(first.lines), first.is_complete) == (3, False)
