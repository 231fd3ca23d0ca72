from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from services.domain.errors import (
    FailedPrecondition,
    InvalidInput,
    NotFound,
    ResourceExhausted,
)
from services.storage.blobs.store import CHUNK_BYTES, read_all
from services.usecases.content import artifacts
from services.usecases.content.artifacts import WriteChunk
from services.usecases.context import Context
from tailrace.formats.listing import FileEntry
from tests.unit.services.driver import CALLER
from tests.unit.services.usecases.stored_content import make_context, not_uploaded, put

CONTENT = b"0123456789" * 200_000


@pytest.fixture
async def context(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Context]:
    context = make_context(sqlite_url, tmp_path / "data", max_blob_bytes=4_000_000)
    yield context
    await context.database.close()


def name_of(content: bytes, size: int | None = None) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    return f"uploads/{uuid.uuid4()}/blobs/{sha256}/{len(content) if size is None else size}"


async def stream(chunks: Iterable[WriteChunk]) -> AsyncIterator[WriteChunk]:
    for chunk in chunks:
        yield chunk


def chunks_of(content: bytes, size: int = 700_000, start: int = 0) -> list[WriteChunk]:
    offsets = range(start, len(content), size)
    return [WriteChunk(o, content[o : o + size], finish=o + size >= len(content)) for o in offsets]


async def test_a_blob_arrives_in_chunks(context: Context) -> None:
    name = name_of(CONTENT)
    assert await artifacts.write(context, CALLER, name, stream(chunks_of(CONTENT))) == len(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert await read_all(context.blobs.of("default"), sha256, len(CONTENT)) == CONTENT


async def test_a_broken_stream_is_continued(context: Context) -> None:
    name = name_of(CONTENT)
    assert await artifacts.write(context, CALLER, name, stream(chunks_of(CONTENT)[:1])) == 700_000
    status = await artifacts.upload_status(context, CALLER, name)
    assert (status.committed, status.complete) == (700_000, False)
    rest = chunks_of(CONTENT, start=700_000)
    assert await artifacts.write(context, CALLER, name, stream(rest)) == len(CONTENT)


async def test_a_blob_that_is_there_takes_nothing(context: Context) -> None:
    await artifacts.write(context, CALLER, name_of(CONTENT), stream(chunks_of(CONTENT)))
    wrong = [WriteChunk(0, b"anything", finish=True)]
    assert await artifacts.write(context, CALLER, name_of(CONTENT), stream(wrong)) == len(CONTENT)


async def test_a_chunk_in_the_wrong_place_is_refused(context: Context) -> None:
    name = name_of(CONTENT)
    first, second, _ = chunks_of(CONTENT)
    with pytest.raises(FailedPrecondition) as error:
        await artifacts.write(context, CALLER, name, stream([first, first]))
    assert error.value.reason == "WRITE_OFFSET_MISMATCH"
    with pytest.raises(FailedPrecondition):
        await artifacts.write(context, CALLER, name_of(CONTENT), stream([second]))


async def test_chunks_and_blobs_over_their_limit_are_refused(context: Context) -> None:
    too_long = WriteChunk(0, b"x" * (CHUNK_BYTES + 1), finish=False)
    with pytest.raises(InvalidInput, match="at most 1048576"):
        await artifacts.write(context, CALLER, name_of(CONTENT), stream([too_long]))
    with pytest.raises(ResourceExhausted) as error:
        await artifacts.write(context, CALLER, name_of(b"", 4_000_001), stream([]))
    assert error.value.reason == "BLOB_TOO_LARGE"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "blobs/" + "a" * 64,
        f"uploads/x/blobs/{'a' * 64}/1",
        f"uploads/{uuid.UUID(int=0)}/blobs/{'A' * 64}/1",
        f"uploads/{uuid.UUID(int=0)}/blobs/{'a' * 64}/-1",
        f"uploads/{uuid.UUID(int=0)}/blobs/{'a' * 64}/01",
        f"uploads/{uuid.UUID(int=0)}/blobs/../../{'a' * 64}/1",
    ],
)
async def test_other_names_are_refused(context: Context, name: str) -> None:
    with pytest.raises(InvalidInput):
        await artifacts.upload_status(context, CALLER, name)


async def test_a_listing_needs_its_blobs(context: Context) -> None:
    entry = await put(context, "a.json", b"{}")
    missing = not_uploaded("b.json")
    with pytest.raises(FailedPrecondition) as error:
        await artifacts.check_listing(context, "default", [entry, missing])
    assert error.value.reason == "BLOB_MISSING"
    assert "b.json" in error.value.message
    assert missing.sha256 in error.value.message
    assert "a.json" not in error.value.message
    listing = await artifacts.check_listing(context, "default", [entry])
    assert listing.files == (entry,)


async def test_a_listing_must_say_the_right_sizes(context: Context) -> None:
    entry = await put(context, "a.json", b"{}")
    with pytest.raises(InvalidInput) as error:
        await artifacts.check_listing(
            context, "default", [FileEntry("a.json", entry.sha256, 3)], "artifacts[0].files"
        )
    assert [v.field for v in error.value.violations] == ["artifacts[0].files[0].size_bytes"]


async def test_an_artifact_is_bounded(context: Context) -> None:
    settings = context.settings.model_copy(update={"max_artifact_bytes": 10})
    small = replace(context, settings=settings)
    files = [await put(context, "a.json", b"12345"), await put(context, "b.json", b"54321")]
    assert (await artifacts.check_listing(small, "default", files)).size_bytes == 10
    files.append(await put(context, "c.json", b"1"))
    with pytest.raises(InvalidInput, match="11 bytes in total"):
        await artifacts.check_listing(small, "default", files)


async def test_an_unknown_artifact_or_run_is_not_found(context: Context) -> None:
    with pytest.raises(NotFound):
        await artifacts.get(context, CALLER, f"artifacts/{'a' * 64}")
    with pytest.raises(InvalidInput):
        await artifacts.get(context, CALLER, "artifacts/../x")
    with pytest.raises(NotFound) as error:
        await artifacts.list_for_run(context, CALLER, "nope", kind=None, size=0, token="")
    assert error.value.reason == "RUN_NOT_FOUND"
