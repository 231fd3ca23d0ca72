"""A follower whose connection is cut three times still gets every line exactly once."""

from __future__ import annotations

import hashlib

import pytest

from tailrace.v1 import run_pb2
from tests.integration.specs import train_only
from tests.servers.proxy import Proxy
from tests.stack import Stack

pytestmark = pytest.mark.parametrize("stack", ["production"], indirect=True)
"""One stack: unit tests of the log store run on both databases."""


def test_a_follower_that_is_cut_three_times_gets_every_line_once(stack: Stack) -> None:
    proxy = Proxy(stack.port)
    cut: list[int] = []
    sequences: list[int] = []
    digest = b""
    end: run_pb2.LogEnd | None = None
    with stack.client() as direct, stack.client(proxy.port) as client:
        run = direct.create_run(train_only(120))
        for batch in client.stream_logs(run.name, follow=True):
            for line in batch.lines:
                sequences.append(line.sequence)
                digest = hashlib.sha256(digest + line.text.encode()).digest()
            if batch.HasField("end"):
                end = batch.end
            elif len(cut) < 3:
                cut.append(proxy.cut())
        stored = direct.get_run(run.name).stages[0].attempts[-1]
    proxy.close()
    assert len(cut) == 3
    assert all(cut), "each cut must have hit the open connection"
    assert sequences == list(range(1, len(sequences) + 1))
    assert end is not None
    assert (end.line_count, end.digest) == (len(sequences), digest.hex())
    assert (stored.log_lines, stored.log_digest) == (len(sequences), digest.hex())
