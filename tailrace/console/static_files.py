"""Scripts and styles, read once; their URLs have a digest, so that browsers keep them."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_FOREVER = "public, max-age=31536000, immutable"
_SUFFIXES = (".css", ".js", ".svg")


class StaticFiles:
    """Files of ``static/``, and the HTML report's style as ``report.css``."""

    def __init__(self) -> None:
        self._files = dict(_files(files("tailrace.console") / "static"))
        style = files("tailrace.cli.run_report") / "style.css"
        self._files["report.css"] = style.read_bytes()
        self._digests = {
            name: hashlib.sha256(content).hexdigest()[:16] for name, content in self._files.items()
        }

    def url(self, name: str) -> str:
        """Return the URL of a file. Raises ``KeyError``."""
        return f"/static/{name}?v={self._digests[name]}"

    async def serve(self, request: Request) -> Response:
        """Return a file."""
        name = request.path_params["name"]
        content = self._files.get(name)
        if content is None:
            raise HTTPException(404)
        is_version = request.query_params.get("v") == self._digests[name]
        return Response(
            content,
            media_type=mimetypes.guess_type(name)[0],
            headers={"Cache-Control": _FOREVER if is_version else "no-cache"},
        )


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIXES):
            yield prefix + entry.name, entry.read_bytes()
