from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.content.artifact import (
    Blob,
    Listing,
    UploadName,
    parse_artifact_name,
    parse_blob_name,
)
from services.domain.errors import InvalidInput
from tailrace.formats.listing import FileEntry

SHA = "0123456789abcdef" * 4
UUID = "01234567-89ab-cdef-0123-456789abcdef"


def test_names_are_read() -> None:
    assert UploadName.parse(f"uploads/{UUID}/blobs/{SHA}/0") == UploadName(UUID, Blob(SHA, 0))
    assert parse_blob_name(f"blobs/{SHA}") == SHA
    assert parse_artifact_name(f"artifacts/{SHA}") == SHA


@given(st.text(alphabet="uploads/blobsartifct-.0123456789abcdefA\n\0", max_size=150))
def test_nothing_else_is_a_name(text: str) -> None:
    for parse in (UploadName.parse, parse_blob_name, parse_artifact_name):
        with pytest.raises(InvalidInput):
            parse(text)


@pytest.mark.parametrize("tail", ["\n", "/", "/..", "0", " "])
def test_names_end_where_they_end(tail: str) -> None:
    for parse, name in (
        (parse_blob_name, f"blobs/{SHA}"),
        (parse_artifact_name, f"artifacts/{SHA}"),
    ):
        with pytest.raises(InvalidInput):
            parse(name + tail)


def test_a_size_no_machine_has_is_no_size() -> None:
    with pytest.raises(InvalidInput):
        UploadName.parse(f"uploads/{UUID}/blobs/{SHA}/{10**18}")


def test_a_listing_is_checked_and_sorted() -> None:
    files = [FileEntry("b", SHA, 1), FileEntry("a", SHA, 2)]
    listing = Listing.of(files)
    assert [file.path for file in listing.files] == ["a", "b"]
    assert listing.size_bytes == 3
    with pytest.raises(InvalidInput) as error:
        Listing.of([FileEntry("../a", SHA, 1), FileEntry("b", "x", 1)], "made")
    assert [v.field for v in error.value.violations] == ["made[0].path", "made[1].sha256"]
