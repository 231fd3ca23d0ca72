from __future__ import annotations

import json

import tailrace
from tests.unit.tailrace.console.conftest import Visitor
from tests.unit.tailrace.console.pages.test_datasets import send

ITEM = {"id": "a", "prompt": "What is 3 + 4?", "expected_answer": "7", "accepted_answers": ["VII"]}


async def test_a_file_is_imported_and_shown(visitor: Visitor, client: tailrace.Client) -> None:
    await visitor.get("/evalsets")
    answer = await send(visitor, "/evalsets", json.dumps(ITEM).encode(), id="sums")
    assert (answer.status_code, answer.headers["location"]) == (303, "/evalsets/sums@1")
    page = (await visitor.get("/evalsets/sums")).text
    assert "What is 3 + 4?" in page
    assert "also accepted" in page
    assert client.get_eval_set("sums").item_count == 1


async def test_wrong_lines_are_named(visitor: Visitor) -> None:
    await visitor.get("/evalsets")
    answer = await send(visitor, "/evalsets", b'{"id": "a"}\n', id="wrong")
    assert answer.status_code == 400
    assert "<code>line 1</code>" in answer.text
