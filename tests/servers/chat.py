"""A small server that speaks OpenAI's chat completions, well or badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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
    tokens: object = 7


@dataclass
class ChatServer:
    """What was asked, and how to reach it."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Bodies, with their headers under ``headers``."""
    leave: threading.Event = field(default_factory=threading.Event)

    def asked(self, word: str) -> int:
        """How many requests had ``word`` in their prompt."""
        return sum(word in each["messages"][0]["content"] for each in self.requests)


@contextmanager
def chat_server(answer: Callable[[str, int], Say]) -> Iterator[ChatServer]:
    """Serve on loopback; ``answer`` gets the prompt and how often it was asked before."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["messages"][0]["content"]
            with lock:
                before = server.asked(prompt)
                server.requests.append(body | {"headers": dict(self.headers), "path": self.path})
            self._answer(answer(prompt, before))

        def _answer(self, say: Say) -> None:
            if say.silent:
                server.leave.wait(60)
                return
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
            while say.trickle and not server.leave.wait(0.05):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    lock = threading.Lock()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = ChatServer(f"http://127.0.0.1:{http.server_port}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.leave.set()
        http.shutdown()
        thread.join()
        http.server_close()
