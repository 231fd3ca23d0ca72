from __future__ import annotations

from pathlib import Path

import pytest

from services.domain.event import Channel, LogLine, extend_digest
from services.storage.rows import logs
from services.usecases.content import datasets
from tailrace.formats.dispatch import TaskId
from tests.unit.services.driver import CALLER, PROJECT, Driver, line
from tests.unit.services.usecases.stored_content import make_context


@pytest.fixture
async def task_id(empty_database_url: str, tmp_path: Path) -> TaskId:
    """Create a running attempt for chunks."""
    driver = Driver(make_context(empty_database_url, tmp_path / "data"))
    await datasets.seed(driver.context, CALLER, "golden-v2")
    await driver.register()
    await driver.create()
    order = await driver.start()
    await driver.context.database.close()
    return order.stage.task_id


async def test_chunks_are_cut_by_size_and_read_from_any_place(
    task_id: TaskId, empty_database_url: str, tmp_path: Path
) -> None:
    database = make_context(empty_database_url, tmp_path / "data").database
    lines = [line(f"{i:04d}" + "ä" * 2000) for i in range(200)]
    async with database.write() as conn:
        head = await logs.append(conn, PROJECT, task_id, Channel.LOGS, logs.Head(0, ""), lines)
        assert await logs.append(conn, PROJECT, task_id, Channel.LOGS, head, []) == head
    assert head == logs.Head(200, extend_digest("", [line.digest_input() for line in lines]))
    async with database.read() as conn:
        chunks = await logs.read(conn, task_id, Channel.LOGS, 0, 100)
        assert len(chunks) == 4
        assert [c.first_sequence for c in chunks[1:]] == [c.last_sequence + 1 for c in chunks[:-1]]
        assert len(await logs.read(conn, task_id, Channel.LOGS, 0, 2)) == 2
        for after in (1, 63, 64, 65, 199, 200, 500):
            rest = await logs.read(conn, task_id, Channel.LOGS, after, 100)
            stored_lines = [LogLine.from_record(r) for chunk in rest for r in chunk.records]
            assert stored_lines == lines[after:]
            assert not rest or rest[0].first_sequence == after + 1
        assert await logs.read(conn, task_id, Channel.METRICS, 0, 100) == []
    await database.close()


async def test_single_lines_join_their_chunk_until_it_is_large_enough(
    task_id: TaskId, empty_database_url: str, tmp_path: Path
) -> None:
    database = make_context(empty_database_url, tmp_path / "data").database
    lines = [line(f"{i:04d}" + "x" * 996) for i in range(40)]
    head = logs.Head(0, "")
    for log_line in lines:
        async with database.write() as conn:
            head = await logs.append(conn, PROJECT, task_id, Channel.LOGS, head, [log_line])
    assert head == logs.Head(40, extend_digest("", [line.digest_input() for line in lines]))
    async with database.read() as conn:
        chunks = await logs.read(conn, task_id, Channel.LOGS, 0, 100)
        assert [len(chunk.records) for chunk in chunks] == [17, 17, 6]
        assert [c.first_sequence for c in chunks] == [1, 18, 35]
        rest = await logs.read(conn, task_id, Channel.LOGS, 20, 100)
    stored_lines = [LogLine.from_record(r) for chunk in rest for r in chunk.records]
    assert stored_lines == lines[20:]
    await database.close()
