"""Listings: the files of an artifact, what their paths may be, and the digest they share.

The control plane checks every listing that comes in with these rules, and whoever writes an
artifact's files to disk checks them again: a path from outside never leaves its folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tailrace.formats.canonical import sha256_json
from tailrace.formats.schema import Violation

MAX_FILES = 10_000
"""Most files of one artifact."""

MAX_PATH_BYTES = 1024
"""Longest path, in bytes of UTF-8."""

MAX_SEGMENT_BYTES = 255
"""Longest segment of a path, in bytes of UTF-8: what Linux and macOS file systems store."""

MAX_SEGMENTS = 16
"""Deepest path."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact."""

    path: str
    """Relative path, ``/`` between segments."""
    sha256: str
    """Lower-case hex sha256 of the content."""
    size_bytes: int
    """Size in bytes."""


def is_sha256(text: str) -> bool:
    """Whether this is a lower-case hex sha256."""
    return _SHA256.fullmatch(text) is not None


def path_problem(path: str) -> str | None:
    """Why a path may not name a file of an artifact; ``None`` when it may."""
    if not path:
        return "is empty"
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if any(ord(char) < 32 or ord(char) == 127 for char in path):
        return "contains a control character"
    if any("\ud800" <= char <= "\udfff" for char in path):
        return "contains half of a surrogate pair, which UTF-8 cannot hold"
    if "\\" in path:
        return "contains a backslash; segments are separated by '/'"
    if path.startswith("/"):
        return "is absolute; paths are relative to the artifact"
    return _segment_problem(path.split("/"))


def listing_violations(files: Sequence[FileEntry], field: str = "files") -> list[Violation]:
    """Everything that is wrong with a listing, each entry under ``{field}[i]``.

    A listing has 1 to :data:`MAX_FILES` files, none twice, none where another needs a folder.
    """
    if not files:
        return [Violation(field, "lists no file")]
    if len(files) > MAX_FILES:
        return [Violation(field, f"lists {len(files)} files, at most {MAX_FILES} allowed")]
    found: list[Violation] = []
    paths: set[str] = set()
    problems = [path_problem(file.path) for file in files]
    fit = [file.path for file, problem in zip(files, problems, strict=True) if problem is None]
    folders = {parent for path in fit for parent in _parents(path)}
    for i, (file, problem) in enumerate(zip(files, problems, strict=True)):
        where = f"{field}[{i}]"
        if problem is None and file.path in paths:
            problem = f"{file.path!r} is listed twice"
        if problem is None and file.path in folders:
            problem = f"{file.path!r} is a file here and a folder of another path"
        if problem is not None:
            found.append(Violation(f"{where}.path", problem))
        paths.add(file.path)
        if not is_sha256(file.sha256):
            found.append(Violation(f"{where}.sha256", "must be 64 lower-case hex digits"))
        if file.size_bytes < 0:
            found.append(Violation(f"{where}.size_bytes", "must not be negative"))
    return found


def listing_digest(files: Iterable[FileEntry]) -> str:
    """Hex sha256 of the canonical JSON listing, sorted by path: the artifact's address."""
    return sha256_json(
        [
            {"path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes}
            for file in sorted(files, key=lambda file: file.path)
        ]
    )


def _parents(path: str) -> list[str]:
    segments = path.split("/")
    return ["/".join(segments[:end]) for end in range(1, len(segments))]


def _segment_problem(segments: list[str]) -> str | None:
    if len(segments) > MAX_SEGMENTS:
        return f"is deeper than {MAX_SEGMENTS} segments"
    for segment in segments:
        if segment in ("", ".", ".."):
            return f"has the segment {segment!r}, which names no file"
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            return f"has a segment longer than {MAX_SEGMENT_BYTES} bytes"
    return None
