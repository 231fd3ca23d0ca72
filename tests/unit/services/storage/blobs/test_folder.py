from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
import uuid
from pathlib import Path

import pytest

from services.domain.content.artifact import Blob, UploadName
from services.domain.errors import (
    FailedPrecondition,
    InvalidInput,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
)
from services.storage.blobs import partial_upload
from services.storage.blobs.folder import FolderBlobStore
from services.storage.blobs.store import CHUNK_BYTES, read_all

CONTENT = bytes(range(256)) * 8192  # 2 MiB, so that reading takes several chunks


@pytest.fixture
def store(tmp_path: Path) -> FolderBlobStore:
    return FolderBlobStore(tmp_path)


def upload_of(content: bytes, *, name: str | None = None) -> UploadName:
    sha256 = hashlib.sha256(content).hexdigest()
    return UploadName(name or str(uuid.uuid4()), Blob(sha256, len(content)))


async def send(store: FolderBlobStore, upload: UploadName, content: bytes, offset: int = 0) -> None:
    async with store.append(upload, offset) as writer:
        await writer.write(content[offset:])
        await writer.finish()


async def read(store: FolderBlobStore, sha256: str, offset: int = 0, limit: int = 0) -> list[bytes]:
    return [chunk async for chunk in store.read(sha256, offset, limit)]


async def test_a_finished_upload_can_be_read_from_any_offset(store: FolderBlobStore) -> None:
    upload = upload_of(CONTENT)
    await send(store, upload, CONTENT)
    sha256 = upload.blob.sha256
    chunks = await read(store, sha256)
    assert b"".join(chunks) == CONTENT
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert b"".join(await read(store, sha256, 1000, 50)) == CONTENT[1000:1050]
    assert await read(store, sha256, len(CONTENT)) == []
    assert await read_all(store, sha256, 7) == CONTENT[:7]
    assert await store.sizes([sha256, "0" * 64]) == {sha256: len(CONTENT)}


async def test_reading_what_is_not_there_says_so(store: FolderBlobStore) -> None:
    with pytest.raises(NotFound):
        await read(store, "0" * 64)
    blob = await store.put(io.BytesIO(b"abc"))
    with pytest.raises(OutOfRange):
        await read(store, blob.sha256, 4)


async def test_an_upload_continues_where_it_stopped(store: FolderBlobStore) -> None:
    upload = upload_of(CONTENT)
    assert (await store.upload_status(upload)).committed == 0
    async with store.append(upload, 0) as writer:
        await writer.write(CONTENT[:1000])
    status = await store.upload_status(upload)
    assert (status.committed, status.complete) == (1000, False)
    await send(store, upload, CONTENT, 1000)
    status = await store.upload_status(upload)
    assert (status.committed, status.complete) == (len(CONTENT), True)
    assert b"".join(await read(store, upload.blob.sha256)) == CONTENT


async def test_an_offset_that_is_not_the_end_is_refused(store: FolderBlobStore) -> None:
    upload = upload_of(CONTENT)
    async with store.append(upload, 0) as writer:
        await writer.write(CONTENT[:10])
    for offset in (0, 9, 11):
        with pytest.raises(FailedPrecondition) as refused:
            async with store.append(upload, offset):
                pass
        assert refused.value.reason == "WRITE_OFFSET_MISMATCH"
    assert (await store.upload_status(upload)).committed == 10


@pytest.mark.parametrize("content", [b"other", b"too long for it", b"ab"])
async def test_content_that_does_not_match_is_dropped(
    store: FolderBlobStore, content: bytes
) -> None:
    upload = upload_of(b"right")
    with pytest.raises(InvalidInput):
        await send(store, upload, content)
    assert (await store.upload_status(upload)).committed == 0
    assert await store.sizes([upload.blob.sha256]) == {}
    await send(store, upload, b"right")
    assert await read_all(store, upload.blob.sha256, 100) == b"right"


async def test_empty_content_is_content(store: FolderBlobStore) -> None:
    upload = upload_of(b"")
    await send(store, upload, b"")
    assert (await store.upload_status(upload)).complete
    assert await read(store, upload.blob.sha256) == []


async def test_many_uploads_of_one_blob_at_once_all_succeed(
    store: FolderBlobStore, tmp_path: Path
) -> None:
    uploads = [upload_of(CONTENT) for _ in range(8)]
    await asyncio.gather(*(send(store, upload, CONTENT) for upload in uploads))
    assert b"".join(await read(store, uploads[0].blob.sha256)) == CONTENT
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_two_streams_of_one_upload_exclude_each_other(store: FolderBlobStore) -> None:
    upload = upload_of(CONTENT)
    async with store.append(upload, 0) as writer:
        with pytest.raises(Unavailable) as busy:
            async with store.append(upload, 0):
                pass
        assert busy.value.reason == "UPLOAD_BUSY"
        await writer.write(CONTENT)
        await writer.finish()
    assert (await store.upload_status(upload)).complete


async def test_a_stream_that_waited_for_the_lock_never_writes_into_the_finished_blob(
    store: FolderBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the other stream finish between open and lock: the open file is then the blob."""
    upload = upload_of(b"right")
    async with store.append(upload, 0) as writer:
        await writer.write(b"right")
        uploads = (tmp_path / "uploads").iterdir()
        path = next(uploads)
        real_open = os.open
        opened: list[int] = []

        def open_then_finish(*args: object, **kwargs: object) -> int:
            descriptor = real_open(*args, **kwargs)  # type: ignore[arg-type]
            if not opened:
                opened.append(descriptor)
                partial = writer._partial  # type: ignore[attr-defined]
                partial.finish(store._blob_path(upload.blob.sha256))
                partial.close()
            return descriptor

        monkeypatch.setattr(partial_upload.os, "open", open_then_finish)
        second = partial_upload.PartialUpload.open(upload, path, 0)
        monkeypatch.undo()
        second.write(b"xxxxx")
        second.close()
    assert await read_all(store, upload.blob.sha256, 100) == b"right"


async def test_a_cancelled_write_leaves_the_upload_usable(store: FolderBlobStore) -> None:
    upload = upload_of(CONTENT)

    under_way = asyncio.Event()

    async def stream() -> None:
        async with store.append(upload, 0) as writer:
            for start in range(0, len(CONTENT), 4096):
                await writer.write(CONTENT[start : start + 4096])
                under_way.set()

    task = asyncio.create_task(stream())
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    status = await store.upload_status(upload)
    assert 0 < status.committed < len(CONTENT)
    await send(store, upload, CONTENT, status.committed)
    assert b"".join(await read(store, upload.blob.sha256)) == CONTENT


async def test_only_uploads_that_are_old_and_idle_are_swept(
    store: FolderBlobStore, tmp_path: Path
) -> None:
    old, busy, fresh = (upload_of(bytes([i]) * 10) for i in range(3))
    for upload in (old, fresh):
        async with store.append(upload, 0) as writer:
            await writer.write(b"x")
    async with store.append(busy, 0) as writer:
        await writer.write(b"x")
        past = time.time() - 1000
        for path in (tmp_path / "uploads").iterdir():
            if fresh.uuid not in path.name:
                os.utime(path, (past, past))
        assert await store.drop_stale_uploads(500) == 1
    assert [(await store.upload_status(u)).committed for u in (old, busy, fresh)] == [0, 1, 1]


async def test_put_stores_what_a_file_holds(store: FolderBlobStore, tmp_path: Path) -> None:
    blob = await store.put(io.BytesIO(CONTENT))
    assert blob == Blob(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    assert await store.put(io.BytesIO(CONTENT)) == blob
    assert b"".join(await read(store, blob.sha256)) == CONTENT
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_a_full_disk_is_reported_as_such(
    store: FolderBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(partial_upload.os, "write", full)
    with pytest.raises(ResourceExhausted) as error:
        await send(store, upload_of(CONTENT), CONTENT)
    assert error.value.reason == "STORAGE_FULL"


async def test_nothing_but_a_digest_becomes_a_path(store: FolderBlobStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for name in ("../secret", "..", "", "A" * 64, "a" * 63 + "/"):
        with pytest.raises(ValueError, match="is not a sha256"):
            await read(store, name)
