"""Web servers in front of a control plane, as a proxy in trouble shows itself to a client."""

from __future__ import annotations

import http.server
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEADERS, _SETTINGS = 1, 4
_END_STREAM_AND_HEADERS = 5


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Answer every HTTP/2 request with a bare status, as nginx does; yields ``host:port``."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.read(_PREFACE)
            self.wfile.write(_frame(_SETTINGS, 0, 0, b""))
            while header := self.rfile.read(9):
                length = int.from_bytes(header[:3], "big")
                self.rfile.read(length)
                if header[3] == _HEADERS:
                    (stream,) = struct.unpack(">I", header[5:])
                    # HPACK: a literal value for the static table's entry 8, ":status".
                    block = b"\x08\x03" + str(status).encode()
                    self.wfile.write(_frame(_HEADERS, _END_STREAM_AND_HEADERS, stream, block))

    with _serving(Handler) as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def forward_proxy(status: int) -> Iterator[tuple[int, list[str]]]:
    """Answer CONNECT with a status; yields the port and the list of targets asked for."""
    targets: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            targets.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            del args

    with _serving(Handler) as port:
        yield port, targets


@contextmanager
def _serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload
