"""Twin of the Hugging Face hub on the loopback interface, and of the storage behind it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" * 6 + "abcd"


@dataclass
class HubTwin:
    """One data set ``org/name`` at one commit; its files are redirected to another host."""

    files: dict[str, bytes]
    revision: str = "main"
    token: str = ""
    """Token that a caller must send; empty for a public data set."""
    gated: bool = False
    endpoint: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Host, path and ``Authorization`` header of each request."""

    @contextmanager
    def run(self) -> Iterator[HubTwin]:
        """Serve until the block ends."""
        hub = ThreadingHTTPServer(("127.0.0.1", 0), self._handler("hub"))
        storage = ThreadingHTTPServer(("127.0.0.1", 0), self._handler("storage"))
        self.endpoint = f"http://127.0.0.1:{hub.server_port}"
        self._storage = f"http://localhost:{storage.server_port}"
        threads = [threading.Thread(target=s.serve_forever, args=(0.02,)) for s in (hub, storage)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for server in (hub, storage):
                server.shutdown()
                server.server_close()
            for thread in threads:
                thread.join()

    def answer(self, host: str, path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a response."""
        self.requests.append((host, path, authorization))
        path = path.partition("?")[0]
        if host == "storage":
            return 200, {"ETag": '"x"'}, self.files[path.removeprefix("/blobs/")]
        if self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        if self.token and authorization != f"Bearer {self.token}":
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        api = "/api/datasets/org/name"
        if path in (api, f"{api}/revision/{self.revision}"):
            return 200, {}, json.dumps({"id": "org/name", "sha": COMMIT}).encode()
        if path.startswith(f"{api}/revision/"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if path == f"{api}/tree/{COMMIT}":
            return 200, {}, json.dumps([self._entry(name) for name in self.files]).encode()
        resolved = f"/datasets/org/name/resolve/{COMMIT}/"
        if path.startswith(resolved) and path.removeprefix(resolved) in self.files:
            return 302, self._redirect(path.removeprefix(resolved)), b""
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"

    def _entry(self, name: str) -> dict[str, Any]:
        size = len(self.files[name])
        return {"type": "file", "oid": "1" * 40, "size": size, "path": name}

    def _redirect(self, name: str) -> dict[str, str]:
        content = self.files[name]
        return {
            "Location": f"{self._storage}/blobs/{name}",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
        }

    def _handler(self, host: str) -> type[BaseHTTPRequestHandler]:
        twin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization", "")
                status, headers, body = twin.answer(host, self.path, authorization)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
