"""Following through a network that breaks: connections are reset in mid-message."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from typing import Any

import pytest

from tailrace.retry import RetryPolicy

LINES = 3000


class BreakingProxy:
    """Forwards TCP connections and resets each after some bytes towards the client."""

    def __init__(self, port: int, allowances: list[int]) -> None:
        self._target = ("127.0.0.1", port)
        self._allowances = allowances
        self.resets = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            allowance = self._allowances.pop(0) if self._allowances else None
            threading.Thread(target=self._pump, args=(client, server, None), daemon=True).start()
            threading.Thread(
                target=self._pump, args=(server, client, allowance), daemon=True
            ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, allowance: int | None) -> None:
        try:
            while chunk := source.recv(4096):
                if allowance is not None and len(chunk) >= allowance:
                    sink.sendall(chunk[:allowance])
                    self.resets += 1
                    # Linger 0 sends a reset instead of an orderly end.
                    linger = struct.pack("ii", 1, 0)
                    sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    break
                allowance = None if allowance is None else allowance - len(chunk)
                sink.sendall(chunk)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


@pytest.mark.parametrize("seed", range(3))
def test_every_line_comes_once_through_reset_connections(
    connect: Any, plane: Any, quick: RetryPolicy, seed: int
) -> None:
    plane.runs.log = [f"line {n} " + "x" * (n % 70) for n in range(LINES)]
    generator = random.Random(seed)
    proxy = BreakingProxy(plane.port, [generator.randint(200, 60_000) for _ in range(6)])
    try:
        with connect(proxy.address, retry=quick) as client:
            batches = list(client.stream_logs("demo", follow=True))
    finally:
        proxy.close()
    texts = [line.text for batch in batches for line in batch.lines]
    assert texts == plane.runs.log
    assert sum(batch.HasField("end") for batch in batches) == 1
    assert proxy.resets >= 3
