"""Use of a client after it was closed: an error in words, never the end of the process."""

from __future__ import annotations

from pathlib import Path

import pytest

import tailrace

SERVER = "127.0.0.1:1"


def test_a_closed_client_says_so(tmp_path: Path) -> None:
    with tailrace.Client(SERVER) as client:
        run = client.run("demo")
        pages = client.list_runs()
    lines = tmp_path / "lines.jsonl"
    lines.write_text("{}\n")
    for call in (
        run.get,
        run.wait,
        lambda: next(iter(run.logs())),
        lambda: run.download("model", tmp_path / "model"),
        lambda: client.import_dataset("x", str(lines)),
        lambda: next(iter(pages)),
    ):
        with pytest.raises(ValueError, match="the client is closed"):
            call()
    client.close()


async def test_a_closed_asyncio_client_says_so() -> None:
    unused = tailrace.AsyncClient(SERVER)
    await unused.close()
    with pytest.raises(ValueError, match="the client is closed"):
        await unused.get_run("demo")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "3"])
def test_a_wait_needs_a_positive_limit(timeout: float) -> None:
    with tailrace.Client(SERVER) as client, pytest.raises(ValueError, match="above 0"):
        client.run("demo").wait(timeout=timeout)
