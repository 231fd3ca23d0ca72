"""Stored bytes and bytes of unfinished uploads."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator

import pytest

from services.domain.caller import Caller
from services.domain.content.dataset import DatasetHeader
from services.domain.errors import QuotaExceeded
from services.domain.quota import Quota
from services.domain.scope import Scope
from services.storage.rows.access import quotas
from services.usecases.content import artifacts, datasets
from services.usecases.content.artifacts import WriteChunk
from services.usecases.context import Context
from services.usecases.quotas.content import count_upload
from services.usecases.quotas.manage import Change, set_quotas
from services.usecases.stages.complete import complete_stage
from tests.unit.services.driver import CALLER, PROJECT, Driver
from tests.unit.services.usecases.stored_content import trace_line

WORKER = Caller(scopes=frozenset({Scope.WORKER}))


async def limit(context: Context, quota: Quota, most: int) -> None:
    await set_quotas(context, CALLER, PROJECT, [Change(quota, most)])


async def stored(context: Context) -> int:
    async with context.database.read() as conn:
        return await quotas.stored_bytes(conn, PROJECT)


async def stream(content: bytes) -> AsyncIterator[WriteChunk]:
    yield WriteChunk(0, content, finish=True)


async def lines(content: bytes) -> AsyncIterator[bytes]:
    yield content


def upload_name(content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    return f"uploads/{uuid.uuid4()}/blobs/{sha256}/{len(content)}"


async def test_content_beyond_the_quota_is_refused_when_its_upload_begins(driver: Driver) -> None:
    context = driver.context
    use = await stored(context)
    await limit(context, Quota.STORED_BYTES, use + 3)
    assert await artifacts.write(context, CALLER, upload_name(b"abc"), stream(b"abc")) == 3
    with pytest.raises(QuotaExceeded, match=f"stores {use} bytes") as refused:
        await artifacts.write(context, CALLER, upload_name(b"abcd"), stream(b"abcd"))
    assert refused.value.reason == "TOO_MANY_STORED_BYTES"
    assert refused.value.metadata["use"] == str(use)
    # A worker uploads for the run of its lease, whose project is known at registration.
    assert await artifacts.write(context, WORKER, upload_name(b"abcd"), stream(b"abcd")) == 4


async def test_a_dataset_beyond_the_quota_is_not_registered(driver: Driver) -> None:
    context = driver.context
    header = DatasetHeader("d", "", None)
    await limit(context, Quota.STORED_BYTES, await stored(context) + 10)
    with pytest.raises(QuotaExceeded) as refused:
        await datasets.import_lines(context, CALLER, header, lines(trace_line()))
    assert refused.value.reason == "TOO_MANY_STORED_BYTES"
    await limit(context, Quota.STORED_BYTES, await stored(context))
    with pytest.raises(QuotaExceeded, match="1 more would exceed"):
        await datasets.import_lines(context, CALLER, header, lines(b"never read"))
    # Content that is stored already takes no more.
    await datasets.seed(context, CALLER, "golden-v2")


async def test_a_result_beyond_the_quota_is_refused_and_fits_once_the_limit_rises(
    driver: Driver,
) -> None:
    context = driver.context
    await driver.create()
    order = await driver.start()
    report = await driver.completion(order)
    await limit(context, Quota.STORED_BYTES, await stored(context))
    with pytest.raises(QuotaExceeded) as refused:
        await complete_stage(context, report)
    assert refused.value.reason == "TOO_MANY_STORED_BYTES"
    await limit(context, Quota.STORED_BYTES, 10**9)
    await complete_stage(context, report)


async def test_uploads_in_progress_share_a_limit(driver: Driver) -> None:
    context = driver.context
    await limit(context, Quota.UPLOAD_BYTES, 10)
    with count_upload(context, PROJECT) as first, count_upload(context, PROJECT) as second:
        first.add(6)
        second.add(4)
        with pytest.raises(QuotaExceeded, match="unfinished uploads of 10 bytes") as refused:
            second.add(1)
        assert refused.value.reason == "TOO_MANY_UPLOAD_BYTES"
        assert refused.value.retry_delay is not None
        with pytest.raises(QuotaExceeded, match="this one is too large") as refused:
            second.add(7)
        assert refused.value.retry_delay is None
    assert context.uploads.of(PROJECT) == 0
    name = upload_name(b"0123456789x")
    with pytest.raises(QuotaExceeded):
        await artifacts.write(context, CALLER, name, stream(b"0123456789x"))
    name = upload_name(b"0123456789")
    assert await artifacts.write(context, CALLER, name, stream(b"0123456789")) == 10
    header = DatasetHeader("d", "", None)
    with pytest.raises(QuotaExceeded):
        await datasets.import_lines(context, CALLER, header, lines(trace_line()))
    assert context.uploads.of(PROJECT) == 0
