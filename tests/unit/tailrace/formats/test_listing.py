from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.listing import (
    MAX_FILES,
    MAX_SEGMENTS,
    FileEntry,
    listing_digest,
    listing_violations,
    path_problem,
)

SHA = "a" * 64


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "is empty"),
        ("/etc/passwd", "absolute"),
        ("..", "'..'"),
        ("a/../../b", "'..'"),
        ("./a", "'.'"),
        ("a//b", "''"),
        ("a/", "''"),
        ("a\\b", "backslash"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("x" * 256, "segment longer"),
        ("é" * 128, "segment longer"),
        ("/".join("a" * (MAX_SEGMENTS + 1)), "deeper"),
        ("ab/" * 400 + "a", "longer than 1024"),
        ("half\ud800", "surrogate"),
    ],
)
def test_paths_that_could_leave_the_folder_or_confuse_are_refused(path: str, says: str) -> None:
    assert says in (path_problem(path) or "")


@pytest.mark.parametrize("path", ["a", "model.safetensors", "a/b/c.json", "...", ".hidden", "é/ü"])
def test_ordinary_paths_are_fine(path: str) -> None:
    assert path_problem(path) is None


@given(st.text(max_size=40))
def test_a_path_without_problem_stays_below_its_folder(path: str) -> None:
    if path_problem(path) is None:
        root = Path("/root-of-artifact")
        joined = root / path
        assert joined.is_relative_to(root)
        assert ".." not in joined.parts
        assert joined != root


def test_every_wrong_entry_is_named_at_once() -> None:
    files = [
        FileEntry("../x", SHA, 1),
        FileEntry("a", "A" * 64, 1),
        FileEntry("a", SHA, -1),
        FileEntry("dir", SHA, 1),
        FileEntry("dir/file", SHA, 1),
    ]
    assert [v.field for v in listing_violations(files)] == [
        "files[0].path",
        "files[1].sha256",
        "files[2].path",
        "files[2].size_bytes",
        "files[3].path",
    ]


def test_a_listing_has_at_least_one_file_and_not_too_many() -> None:
    assert listing_violations([])
    assert listing_violations([FileEntry(str(i), SHA, 0) for i in range(MAX_FILES + 1)])
    assert not listing_violations([FileEntry(str(i), SHA, 0) for i in range(MAX_FILES)])


def test_the_digest_is_of_the_canonical_listing_whatever_the_order() -> None:
    files = [FileEntry("b", SHA, 2), FileEntry("a", "b" * 64, 1)]
    plain = json.dumps(
        [
            {"path": "a", "sha256": "b" * 64, "size_bytes": 1},
            {"path": "b", "sha256": SHA, "size_bytes": 2},
        ],
        separators=(",", ":"),
    )
    assert listing_digest(files) == hashlib.sha256(plain.encode()).hexdigest()
    assert listing_digest(reversed(files)) == listing_digest(files)
    assert listing_digest(files[:1]) != listing_digest(files)
