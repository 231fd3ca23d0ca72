from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.domain.caller import Caller
from services.domain.content.eval_set import EvalSet, EvalSetHeader
from services.domain.errors import InvalidInput, NotFound, ResourceExhausted
from services.storage.blobs.store import read_all
from services.storage.rows import artifacts
from services.usecases.content import eval_sets
from services.usecases.context import Context
from tests.unit.services.usecases.stored_content import make_context

CALLER = Caller()
PROJECT = CALLER.project
LIMIT = 100_000


@pytest.fixture
async def context(database_url: str, tmp_path: Path) -> AsyncIterator[Context]:
    context = make_context(database_url, tmp_path / "data", max_dataset_bytes=LIMIT)
    yield context
    await context.database.close()


@pytest.fixture
async def local(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Context]:
    """For what does not depend on the database."""
    context = make_context(sqlite_url, tmp_path / "data", max_dataset_bytes=LIMIT)
    yield context
    await context.database.close()


def item_line(id_: str, **fields: Any) -> bytes:
    item = {"id": id_, "prompt": "2 + 2?", "expected_answer": "4", **fields}
    return json.dumps(item).encode() + b"\n"


async def import_bytes(context: Context, data: bytes, name: str = "mine") -> EvalSet:
    async def cut() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    return await eval_sets.import_lines(context, CALLER, EvalSetHeader(name, "Mine."), cut())


async def test_an_import_is_kept_byte_for_byte(context: Context) -> None:
    data = item_line("a") + b"\n" + item_line("b") + item_line("c", prompt="3 + 3?").rstrip()
    eval_set = await import_bytes(context, data)
    assert eval_set.name == "evalsets/mine@1"
    assert (eval_set.lines.count, eval_set.lines.prompt_count) == (3, 2)
    assert eval_set.lines.sha256 == hashlib.sha256(data).hexdigest()
    assert await eval_sets.VERSIONS.get(context, CALLER, "evalsets/mine") == eval_set
    async with context.database.read() as conn:
        artifact = await artifacts.get(conn, PROJECT, eval_set.artifact_digest)
    (file,) = artifact.listing.files
    assert (file.path, file.sha256) == ("eval_set.jsonl", eval_set.lines.sha256)
    assert await read_all(context.blobs.of("default"), file.sha256, LIMIT) == data


async def test_other_content_makes_the_next_version(context: Context) -> None:
    one, two = item_line("a"), item_line("b")
    assert [(await import_bytes(context, data)).version for data in (one, one, two, one)] == [
        1,
        1,
        2,
        3,
    ]
    async with context.database.read() as conn:
        assert (await eval_sets.VERSIONS.resolve(conn, PROJECT, "mine", "f")).reference == "mine@3"
        assert (
            await eval_sets.VERSIONS.resolve(conn, PROJECT, "mine@2", "f")
        ).reference == "mine@2"
        with pytest.raises(NotFound, match="evalsets/mine@4"):
            await eval_sets.VERSIONS.resolve(conn, PROJECT, "mine@4", "f")
        with pytest.raises(InvalidInput) as error:
            await eval_sets.VERSIONS.resolve(conn, PROJECT, "eval_v9", "f")
        assert error.value.violations[0].field == "f"
        with pytest.raises(NotFound):
            await eval_sets.VERSIONS.resolve(conn, "other-project", "mine", "f")


async def test_each_bad_line_is_named_and_nothing_is_stored(local: Context) -> None:
    lines = [
        item_line("a"),
        b"not json\n",
        item_line("a"),
        item_line("b", oops=1),
        item_line("c", choices=["x", "y"]),
    ]
    with pytest.raises(InvalidInput) as error:
        await import_bytes(local, b"".join(lines))
    assert [v.field for v in error.value.violations] == ["line 2", "line 3", "line 4", "line 5"]
    with pytest.raises(InvalidInput, match="no eval item"):
        await import_bytes(local, b"\n")
    with pytest.raises(NotFound):
        await eval_sets.VERSIONS.get(local, CALLER, "evalsets/mine")
    assert [p for p in (local.settings.data_dir / "blobs").rglob("*") if p.is_file()] == []
    assert list((local.settings.data_dir / "spool").iterdir()) == []


async def test_too_much_is_refused(local: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceExhausted, match="100000 bytes") as error:
        await import_bytes(local, b" " * (LIMIT + 1))
    assert error.value.reason == "EVAL_SET_TOO_LARGE"
    few = dataclasses.replace(eval_sets.ITEMS, most=3)
    monkeypatch.setattr(eval_sets, "ITEMS", few)
    with pytest.raises(ResourceExhausted, match="3 items"):
        await import_bytes(local, b"".join(item_line(str(i)) for i in range(4)))


async def test_the_newest_versions_are_listed_by_id_and_page(context: Context) -> None:
    for name in ("c", "a", "b"):
        await import_bytes(context, item_line("1"), name)
        await import_bytes(context, item_line("2"), name)
    first, token = await eval_sets.VERSIONS.list_newest(context, CALLER, size=2, token="")
    rest, end = await eval_sets.VERSIONS.list_newest(context, CALLER, size=2, token=token)
    assert [eval_set.reference for eval_set in [*first, *rest]] == ["a@2", "b@2", "c@2"]
    assert end == ""
    with pytest.raises(InvalidInput):
        await eval_sets.VERSIONS.list_newest(context, CALLER, size=2, token="nonsense")


def test_a_header_names_every_wrong_field() -> None:
    with pytest.raises(InvalidInput) as error:
        EvalSetHeader("eval_v1", "x" * 1001)
    assert [v.field for v in error.value.violations] == [
        "header.eval_set_id",
        "header.description",
    ]
