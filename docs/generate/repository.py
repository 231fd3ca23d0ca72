"""The folders and pages of the repository that documentation consists of."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Root of the repository."""

INDEX = ROOT / "docs" / "index.md"
"""Page from which every other page is reachable."""


def pages() -> list[Path]:
    """Return every page of the documentation, README.md and the deployment guide included."""
    return [
        ROOT / "README.md",
        ROOT / "deploy" / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
