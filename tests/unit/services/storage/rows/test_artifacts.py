from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.domain.content.artifact import Artifact, Listing, Producer
from services.domain.errors import NotFound
from services.storage.engine.database import Database
from services.storage.rows import artifacts
from tailrace.formats.listing import FileEntry
from tailrace.formats.stage_protocol import ArtifactKind

PROJECT = "default"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


def listing(*names: str) -> Listing:
    return Listing.of([FileEntry(name, "a" * 64, 5) for name in names])


def producer(attempt: int = 1, run: str = "1") -> Producer:
    return Producer(f"uid{run}", f"run-{run}", "train", attempt)


async def record(
    database: Database,
    files: Listing,
    kind: ArtifactKind,
    by: Producer | None = None,
    step: int = 0,
    project: str = PROJECT,
) -> Artifact:
    async with database.write() as conn:
        return await artifacts.record(conn, project, files, kind, producer=by, step=step)


async def test_an_artifact_comes_back_as_it_was_recorded(database: Database) -> None:
    files = listing("b/c.json", "a.bin")
    recorded = await record(database, files, ArtifactKind.MODEL, producer())
    async with database.read() as conn:
        artifact = await artifacts.get(conn, PROJECT, files.digest)
    assert artifact == recorded
    assert [file.path for file in artifact.listing.files] == ["a.bin", "b/c.json"]
    assert artifact.listing.size_bytes == 10


async def test_recording_twice_changes_nothing(database: Database) -> None:
    for _ in range(2):
        await record(database, listing("a"), ArtifactKind.MODEL, producer())
    async with database.read() as conn:
        assert len(await artifacts.list_for_run(conn, PROJECT, "uid1")) == 1


async def test_the_same_files_may_be_made_by_several(database: Database) -> None:
    files = listing("a")
    await record(database, files, ArtifactKind.MODEL)
    await record(database, files, ArtifactKind.MODEL, producer(run="1"))
    await record(database, files, ArtifactKind.MODEL, producer(run="2"))
    async with database.read() as conn:
        assert (await artifacts.get(conn, PROJECT, files.digest)).producer is None
        (second,) = await artifacts.list_for_run(conn, PROJECT, "uid2")
    assert second.producer == producer(run="2")


async def test_a_runs_artifacts_are_listed_oldest_first_and_by_page(database: Database) -> None:
    for i in range(5):
        await record(database, listing(f"f{i}"), ArtifactKind.CHECKPOINT, producer(), step=i)
    await record(database, listing("m"), ArtifactKind.MODEL, producer(attempt=2))
    async with database.read() as conn:
        first = await artifacts.page_for_run(conn, PROJECT, "uid1", limit=4)
        rest = await artifacts.page_for_run(conn, PROJECT, "uid1", after=first[-1][0])
        models = await artifacts.list_for_run(conn, PROJECT, "uid1", kind=ArtifactKind.MODEL)
        of_attempt = await artifacts.list_for_run(conn, PROJECT, "uid1", stage="train", attempt=2)
        other = await artifacts.list_for_run(conn, PROJECT, "uid1", stage="infer")
    paths = [a.listing.files[0].path for _, a in [*first, *rest]]
    assert paths == ["f0", "f1", "f2", "f3", "f4", "m"]
    assert models == of_attempt
    assert len(models) == 1
    assert other == []


async def test_the_newest_checkpoint_is_the_furthest_of_any_attempt(database: Database) -> None:
    async with database.read() as conn:
        assert await artifacts.newest_checkpoint(conn, PROJECT, "uid1", "train") is None
    for attempt, step in ((1, 100), (1, 200), (2, 100)):
        files = listing(f"{attempt}-{step}")
        await record(database, files, ArtifactKind.CHECKPOINT, producer(attempt), step)
    await record(database, listing("m"), ArtifactKind.MODEL, producer(), 900)
    await record(database, listing("o"), ArtifactKind.CHECKPOINT, producer(run="2"), 900)
    async with database.read() as conn:
        newest = await artifacts.newest_checkpoint(conn, PROJECT, "uid1", "train")
    assert newest is not None
    assert (newest.step, newest.listing.files[0].path) == (200, "1-200")


async def test_projects_do_not_see_each_other(database: Database) -> None:
    files = listing("a")
    await record(database, files, ArtifactKind.MODEL, producer(), project="other")
    async with database.read() as conn:
        assert await artifacts.list_for_run(conn, PROJECT, "uid1") == []
        assert await artifacts.newest_checkpoint(conn, PROJECT, "uid1", "train") is None
        with pytest.raises(NotFound):
            await artifacts.get(conn, PROJECT, files.digest)
