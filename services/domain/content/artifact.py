"""Artifacts, immutable sets of files, and the names of their blobs and uploads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.domain.errors import InvalidInput
from tailrace.formats.listing import FileEntry, listing_digest, listing_violations
from tailrace.formats.stage_protocol import ArtifactKind

_BLOB = re.compile(r"blobs/([0-9a-f]{64})")
_UPLOAD = re.compile(
    r"uploads/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"/blobs/([0-9a-f]{64})/(0|[1-9][0-9]{0,17})"
)
_ARTIFACT = re.compile(r"artifacts/([0-9a-f]{64})")


@dataclass(frozen=True)
class Blob:
    """One piece of content, immutable."""

    sha256: str
    """Lower-case hex sha256 of the content: its address."""
    size_bytes: int
    """Size in bytes."""


@dataclass(frozen=True)
class UploadName:
    """One client's upload of one blob: ``uploads/{uuid}/blobs/{sha256}/{size_bytes}``."""

    uuid: str
    """UUID that the client chose, to find its upload again."""
    blob: Blob
    """Blob that the upload will become."""

    @classmethod
    def parse(cls, name: str) -> UploadName:
        """Read a resource name; raise :class:`InvalidInput` for any other form."""
        match = _UPLOAD.fullmatch(name)
        if match is None:
            raise _bad_name(name, "uploads/{uuid}/blobs/{sha256}/{size_bytes}, in lower-case hex")
        uuid, sha256, size = match.groups()
        return cls(uuid, Blob(sha256, int(size)))


def parse_blob_name(name: str) -> str:
    """Return the sha256 in ``blobs/{sha256}``; raise :class:`InvalidInput` for any other form."""
    match = _BLOB.fullmatch(name)
    if match is None:
        raise _bad_name(name, "blobs/{sha256}, in lower-case hex")
    return match[1]


def parse_artifact_name(name: str) -> str:
    """Return the digest in ``artifacts/{digest}``; raise :class:`InvalidInput` for other forms."""
    match = _ARTIFACT.fullmatch(name)
    if match is None:
        raise _bad_name(name, "artifacts/{digest}, in lower-case hex", field="name")
    return match[1]


@dataclass(frozen=True)
class Listing:
    """The files of an artifact, sorted by path, checked against the path rules."""

    files: tuple[FileEntry, ...]
    """Files, sorted by path."""
    digest: str
    """sha256 of the canonical listing."""

    @classmethod
    def of(cls, files: Sequence[FileEntry], field: str = "files") -> Listing:
        """Check and sort files; raise :class:`InvalidInput` with every wrong field."""
        violations = listing_violations(files, field)
        if violations:
            raise InvalidInput(violations)
        return cls(tuple(sorted(files, key=lambda f: f.path)), listing_digest(files))

    @property
    def size_bytes(self) -> int:
        """Sum of the files' sizes."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True)
class Producer:
    """Attempt that produced an artifact."""

    run_uid: str
    """Uid of the run, never reused."""
    run_id: str
    """Id of the run, as in ``runs/{run}``."""
    stage: str
    """Stage id within the run."""
    attempt: int
    """Attempt number, from 1."""


@dataclass(frozen=True)
class Artifact:
    """A listing and its origin."""

    listing: Listing
    """Files of the artifact."""
    kind: ArtifactKind
    """Kind of content."""
    producer: Producer | None
    """Attempt that produced it; ``None`` for imported content."""
    step: int
    """Training step of a checkpoint; 0 otherwise."""
    create_time: datetime
    """Time of recording, in UTC."""

    @property
    def name(self) -> str:
        """Resource name, ``artifacts/{digest}``."""
        return f"artifacts/{self.listing.digest}"


def _bad_name(name: str, form: str, field: str = "resource_name") -> InvalidInput:
    return InvalidInput.field(field, f"{name[:200]!r} is not of the form {form}")
