from __future__ import annotations

from pathlib import Path

import pytest

from workers.judges import foreign_judges


def package(folder: Path, name: str, points: str) -> None:
    """An installed package as far as its metadata goes."""
    info = folder / f"{name}-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(f"[tailrace.judges]\n{points}\n")


def test_judges_of_other_packages_are_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = foreign_judges()
    package(tmp_path, "haiku", "haiku = no_such_module:Judge\nregex = no_such_module:Regex")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = foreign_judges()
    # Built-in names are not given away.
    assert found == before | {"haiku": "haiku 2.1"}
