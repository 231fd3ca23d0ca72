"""A small server that speaks OpenAI's chat completions, well or badly."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tailrace.formats.endpoint_access import EndpointUrl


@dataclass(frozen=True)
class Say:
    """How the server answers one request."""

    text: str | bytes = ""
    """A completion's text; bytes are the whole body, as they are."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    """Keep the connection open without an answer."""
    trickle: bool = False
    """Send a byte now and then, for ever."""
    slow_headers: bool = False
    """Send a byte of the headers now and then."""
    raw: bytes = b""
    """All that is sent, status line included."""
    tokens: object = 7


@dataclass
class ChatServer:
    """What was asked, and how to reach it."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Bodies, with their headers under ``headers``."""
    leave: threading.Event = field(default_factory=threading.Event)
    names: list[str | None] = field(default_factory=list)
    """The names that clients asked a certificate for (SNI)."""

    @property
    def place(self) -> str:
        """Its ``host:port``, as operators list it."""
        return EndpointUrl.of(self.url).place

    def asked(self, word: str) -> int:
        """How many requests had ``word`` in their prompt."""
        return sum(word in each["messages"][0]["content"] for each in self.requests)


class _Server(ThreadingHTTPServer):
    """Listens; each request is a thread's."""

    def __init__(self, port: int, answer: Callable[[str, int], Say]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.chat = ChatServer(f"http://127.0.0.1:{self.server_port}/v1")
        self.lock = threading.Lock()
        self.answer = answer

    def encrypt(self, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda _, name, __: self.chat.names.append(name)
        self.socket = context.wrap_socket(self.socket, server_side=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        chat = self.server.chat
        with self.server.lock:
            before = chat.asked(prompt)
            chat.requests.append(body | {"headers": dict(self.headers), "path": self.path})
        say = self.server.answer(prompt, before)
        if say.silent:
            chat.leave.wait(60)
        elif say.raw:
            self.wfile.write(say.raw)
        elif say.slow_headers:
            self._trickle(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 10_000)
        else:
            self._answer(say)

    def _answer(self, say: Say) -> None:
        content = say.text
        if isinstance(content, str):
            message = {"role": "assistant", "content": content}
            usage = {"total_tokens": say.tokens}
            content = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
        self.send_response(say.status)
        for name, value in say.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(1_000_000 if say.trickle else len(content)))
        self.end_headers()
        if say.trickle:
            self._trickle(b" " * 10_000)
        self.wfile.write(content)

    def _trickle(self, content: bytes) -> None:
        for byte in content:
            if self.server.chat.leave.wait(0.05):
                return
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def chat_server(
    answer: Callable[[str, int], Say], *, port: int = 0, certificate: Path | None = None
) -> Iterator[ChatServer]:
    """Serve on loopback; ``answer`` gets the prompt and how often it was asked before.

    With a ``certificate`` (and its key, in one file) it speaks https.
    """
    http = _Server(port, answer)
    if certificate is not None:
        http.encrypt(certificate)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield http.chat
    finally:
        http.chat.leave.set()
        http.shutdown()
        thread.join()
        http.server_close()
