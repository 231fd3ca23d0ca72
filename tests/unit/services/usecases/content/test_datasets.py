from __future__ import annotations

import asyncio
import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.domain.caller import Caller
from services.domain.content.dataset import Dataset, DatasetHeader, Lineage
from services.domain.errors import InvalidInput, NotFound, ResourceExhausted
from services.storage.blobs.store import read_all
from services.storage.rows import artifacts
from services.usecases.content import datasets
from services.usecases.context import Context
from tailrace.formats.data import golden
from tailrace.formats.data.record import DatasetKind
from tests.unit.services.usecases.stored_content import make_context, trace_line

CALLER = Caller()
PROJECT = CALLER.project
LIMIT = 24_000_000


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


async def cut(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def import_bytes(context: Context, data: bytes, name: str = "mine") -> Dataset:
    return await datasets.import_lines(context, CALLER, DatasetHeader(name, "Mine."), cut(data))


async def exported(context: Context, name: str) -> bytes:
    return b"".join([chunk async for chunk in datasets.export(context, CALLER, name)])


async def test_seeding_twice_changes_nothing(context: Context) -> None:
    first = await datasets.seed(context, CALLER, "golden-v2")
    assert await datasets.seed(context, CALLER, "golden-v2") == first
    assert first.reference == "golden-v2@1"
    assert (first.lines.count, first.lines.prompt_count) == (100, 67)
    assert await exported(context, "datasets/golden-v2") == golden.golden_v2_bytes()


async def test_kind_and_lineage_survive_in_every_database(context: Context) -> None:
    where = "score >= 0.5 AND outcome = 'pass' \u2028\u202e👩‍👩‍👧 \x1b[31m \\u0000 {\"a\": null}"
    lineage = Lineage("runs/r", "tool_call", "1", where)
    pair, chat = b'{"prompt": "q", "completion": "a"}\n', b'{"messages": [{"role": "user", "con'
    chat += b'tent": "q"}, {"role": "assistant", "content": "a"}]}\n'
    header = DatasetHeader("mine", "", None, lineage)
    first = await datasets.import_lines(context, CALLER, header, cut(pair))
    second = await import_bytes(context, chat)
    found = [await datasets.VERSIONS.get(context, CALLER, f"datasets/mine@{i}") for i in (1, 2)]
    assert found == [first, second]
    assert [(dataset.kind, dataset.lineage) for dataset in found] == [
        (DatasetKind.COMPLETION, lineage),
        (DatasetKind.MESSAGES, None),
    ]


async def test_a_seeded_dataset_has_the_manifest_that_the_tool_writes(local: Context) -> None:
    dataset = await datasets.seed(local, CALLER, "golden-v2")
    async with local.database.read() as conn:
        artifact = await artifacts.get(conn, PROJECT, dataset.artifact_digest)
    files = {file.path: file for file in artifact.listing.files}
    assert set(files) == {"dataset.jsonl", "manifest.json"}
    assert files["dataset.jsonl"].sha256 == dataset.lines.sha256
    manifest = await read_all(local.blobs.of("default"), files["manifest.json"].sha256, 10_000)
    assert json.loads(manifest) == golden.golden_v2_manifest()


async def test_an_unknown_builtin_is_not_found(local: Context) -> None:
    with pytest.raises(NotFound, match="golden-v2"):
        await datasets.seed(local, CALLER, "golden-v9")


async def test_an_import_is_kept_byte_for_byte(context: Context) -> None:
    data = trace_line("a", id="x") + b"\n" + trace_line("b").rstrip()
    dataset = await import_bytes(context, data)
    assert dataset.name == "datasets/mine@1"
    assert dataset.lines.sha256 == hashlib.sha256(data).hexdigest()
    assert (dataset.lines.count, dataset.lines.size_bytes) == (2, len(data))
    assert await exported(context, "datasets/mine@1") == data


async def test_other_content_makes_the_next_version(context: Context) -> None:
    one, two = trace_line("a"), trace_line("b")
    assert (await import_bytes(context, one)).version == 1
    assert (await import_bytes(context, one)).version == 1
    assert (await import_bytes(context, two)).version == 2
    assert (await import_bytes(context, one)).version == 3
    assert await exported(context, "datasets/mine") == one
    assert await exported(context, "datasets/mine@2") == two


async def test_imports_at_once_get_versions_of_their_own(context: Context) -> None:
    datasets_in_order = await asyncio.gather(
        *(import_bytes(context, trace_line(f"prompt {i}")) for i in range(6))
    )
    assert sorted(dataset.version for dataset in datasets_in_order) == [1, 2, 3, 4, 5, 6]


async def test_each_bad_line_is_named_and_nothing_is_stored(local: Context) -> None:
    lines = [
        trace_line("fine"),
        b"not json\n",
        trace_line("no answer", answer=""),
        b"\xff\n",
        trace_line("twice", id="same"),
        trace_line("again", id="same"),
    ]
    with pytest.raises(InvalidInput) as error:
        await import_bytes(local, b"".join(lines))
    assert [v.field for v in error.value.violations] == ["line 2", "line 3", "line 4", "line 6"]
    with pytest.raises(NotFound):
        await datasets.VERSIONS.get(local, CALLER, "datasets/mine")
    blobs = [p for p in (local.settings.data_dir / "blobs").rglob("*") if p.is_file()]
    assert blobs == []
    assert list((local.settings.data_dir / "spool").iterdir()) == []


async def test_at_most_a_hundred_bad_lines_are_named(local: Context) -> None:
    with pytest.raises(InvalidInput) as error:
        await import_bytes(local, b"x\n" * 500)
    assert len(error.value.violations) == 101
    assert error.value.violations[-1].description == "and 400 more"
    assert "and 490 more" in str(error.value)


async def test_an_empty_import_is_refused(local: Context) -> None:
    for data in (b"", b"\n\n"):
        with pytest.raises(InvalidInput, match="no trace"):
            await import_bytes(local, data)


async def test_an_import_over_the_limit_is_refused_while_it_arrives(local: Context) -> None:
    byte_count = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal byte_count
        while True:
            byte_count += 1_000_000
            yield b" " * 1_000_000

    with pytest.raises(ResourceExhausted) as error:
        await datasets.import_lines(local, CALLER, DatasetHeader("mine", ""), endless())
    assert error.value.reason == "DATASET_TOO_LARGE"
    assert byte_count <= LIMIT + 1_000_000


async def test_too_many_lines_are_refused(local: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_LINES", 3)
    with pytest.raises(ResourceExhausted, match="3 lines"):
        await import_bytes(local, trace_line() * 0 + b"".join(trace_line(str(i)) for i in range(4)))


async def test_memory_stays_bounded(sqlite_url: str, tmp_path: Path) -> None:
    context = make_context(sqlite_url, tmp_path / "data", max_dataset_bytes=LIMIT)
    line = trace_line("p" * 40_000)

    async def lines() -> AsyncIterator[bytes]:
        for _ in range(500):
            yield line

    tracemalloc.start()
    try:
        dataset = await datasets.import_lines(context, CALLER, DatasetHeader("mine", ""), lines())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await context.database.close()
    assert dataset.lines.size_bytes > 20_000_000
    assert peak < 8_000_000


async def test_a_cancelled_import_stops_reading_and_leaves_nothing(local: Context) -> None:
    line = trace_line("p" * 2000)

    async def lines() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield line * 500

    began = asyncio.create_task(
        datasets.import_lines(local, CALLER, DatasetHeader("mine", ""), lines())
    )
    spool = local.settings.data_dir / "spool"
    for _ in range(1000):
        if spool.exists():
            break
        await asyncio.sleep(0.001)
    began.cancel()
    with pytest.raises(asyncio.CancelledError):
        await began
    with pytest.raises(NotFound):
        await datasets.VERSIONS.get(local, CALLER, "datasets/mine")
    assert list(spool.iterdir()) == []


async def test_what_a_run_names_is_resolved_to_a_version(context: Context) -> None:
    await import_bytes(context, trace_line("a"))
    await import_bytes(context, trace_line("b"))
    async with context.database.read() as conn:
        assert (await datasets.VERSIONS.resolve(conn, PROJECT, "mine")).reference == "mine@2"
        assert (await datasets.VERSIONS.resolve(conn, PROJECT, "mine@1")).reference == "mine@1"
        for missing in ("mine@3", "other"):
            with pytest.raises(NotFound):
                await datasets.VERSIONS.resolve(conn, PROJECT, missing)
        for wrong in ("mine@0", "Mine", "mine@", "", "../mine", "mine@1\n"):
            with pytest.raises(InvalidInput) as error:
                await datasets.VERSIONS.resolve(conn, PROJECT, wrong)
            assert error.value.violations[0].field == "spec.dataset"
        with pytest.raises(NotFound):
            await datasets.VERSIONS.resolve(conn, "other-project", "mine")


async def test_the_newest_versions_are_listed_by_id_and_page(context: Context) -> None:
    for name in ("c", "a", "b"):
        await import_bytes(context, trace_line("1"), name)
        await import_bytes(context, trace_line("2"), name)
    first, token = await datasets.VERSIONS.list_newest(context, CALLER, size=2, token="")
    rest, end = await datasets.VERSIONS.list_newest(context, CALLER, size=2, token=token)
    assert [d.reference for d in [*first, *rest]] == ["a@2", "b@2", "c@2"]
    assert end == ""
    with pytest.raises(InvalidInput):
        await datasets.VERSIONS.list_newest(context, CALLER, size=2, token="nonsense")
    with pytest.raises(InvalidInput):
        await datasets.VERSIONS.list_newest(context, CALLER, size=-1, token="")


def test_a_header_names_every_wrong_field() -> None:
    with pytest.raises(InvalidInput) as error:
        DatasetHeader("Not An Id", "x" * 1001)
    assert [v.field for v in error.value.violations] == [
        "header.dataset_id",
        "header.description",
    ]
