from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

from services.domain.content.artifact import Blob, UploadName
from services.loops.sweeper import Sweeper
from services.settings import Settings
from services.storage.blobs.folder import FolderBlobStores
from services.storage.engine.database import Database
from services.usecases.context import Context


async def test_given_up_uploads_go_and_a_broken_store_does_not_end_it(
    tmp_path: Path, sqlite_url: str
) -> None:
    database = Database(sqlite_url)
    blobs = FolderBlobStores(tmp_path)
    settings = Settings(database_url=sqlite_url, data_dir=tmp_path, upload_expiry_seconds=0.2)
    context = Context(settings, database, blobs)
    upload = UploadName(str(uuid.uuid4()), Blob("a" * 64, 10))
    async with blobs.of("default").append(upload, 0) as writer:
        await writer.write(b"x")
    uploads = tmp_path / "uploads"
    uploads.rename(tmp_path / "away")
    loop = asyncio.create_task(Sweeper(context).run())
    await asyncio.sleep(0.3)
    (tmp_path / "away").rename(uploads)
    for _ in range(500):
        if not list(uploads.iterdir()):
            break
        await asyncio.sleep(0.02)
    assert list(uploads.iterdir()) == []
    assert not loop.done()
    context.shutdown.begin()
    async with asyncio.timeout(5):
        await loop
    await database.close()
