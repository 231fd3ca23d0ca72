"""Listings: the files of an artifact, the rules for their paths, and their common digest.

The control plane checks every incoming listing with these rules. Code that writes an artifact's
files to disk checks them again, so that no path from outside leaves its folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tailrace.formats.canonical import sha256_json
from tailrace.formats.schema import Violation

MAX_FILES = 10_000
"""Maximum number of files of one artifact."""

MAX_PATH_BYTES = 1024
"""Longest path, in bytes of UTF-8."""

MAX_SEGMENT_BYTES = 255
"""Longest segment of a path, in bytes of UTF-8: the limit of file systems of Linux and macOS."""

MAX_SEGMENTS = 16
"""Maximum number of segments of a path."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact."""

    path: str
    """Relative path with ``/`` between its segments."""
    sha256: str
    """Hex sha256 of the content, in lower case."""
    size_bytes: int
    """Size of the content in bytes."""


def is_sha256(text: str) -> bool:
    """Return True for a lower-case hex sha256."""
    return _SHA256.fullmatch(text) is not None


def path_problem(path: str) -> str | None:
    """Return the reason why a path cannot name a file of an artifact; ``None`` if it can."""
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
    """Return all violations of a listing, those of an entry under ``{field}[i]``.

    A listing has 1 to :data:`MAX_FILES` files; no path occurs twice, or is a folder of another one.
    """
    if not files:
        return [Violation(field, "lists no file")]
    if len(files) > MAX_FILES:
        return [Violation(field, f"lists {len(files)} files, at most {MAX_FILES} allowed")]
    violations: list[Violation] = []
    paths: set[str] = set()
    problems = [path_problem(file.path) for file in files]
    valid_paths = [
        file.path for file, problem in zip(files, problems, strict=True) if problem is None
    ]
    folders = {parent for path in valid_paths for parent in _parents(path)}
    for i, (file, problem) in enumerate(zip(files, problems, strict=True)):
        entry = f"{field}[{i}]"
        if problem is None and file.path in paths:
            problem = f"{file.path!r} is listed twice"
        if problem is None and file.path in folders:
            problem = f"{file.path!r} is a file here and a folder of another path"
        if problem is not None:
            violations.append(Violation(f"{entry}.path", problem))
        paths.add(file.path)
        if not is_sha256(file.sha256):
            violations.append(Violation(f"{entry}.sha256", "must be 64 lower-case hex digits"))
        if file.size_bytes < 0:
            violations.append(Violation(f"{entry}.size_bytes", "must not be negative"))
    return violations


def listing_digest(files: Iterable[FileEntry]) -> str:
    """Return the artifact's address: the hex sha256 of its listing as canonical JSON, by path."""
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
