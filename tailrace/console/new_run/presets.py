"""Presets: the run files of ``docs/examples``, which a wheel contains."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

_IN_WHEEL = Path(__file__).parent / "presets"
"""Folder into which a wheel's build copies the files."""

_IN_REPOSITORY = Path(__file__).parents[3] / "docs" / "examples"


@dataclass(frozen=True)
class Preset:
    """A run file to start from."""

    name: str
    """Name of the file without its ending."""
    summary: str
    """Comment at the top of the file."""
    text: str
    """Content, YAML."""


@functools.cache
def presets() -> dict[str, Preset]:
    """Return the presets by name, the shortest first.

    Raises:
        FileNotFoundError: The package is incomplete.
    """
    folder = _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_REPOSITORY
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise FileNotFoundError(f"there are no presets in {folder}")
    examples = sorted(map(_preset, files), key=lambda preset: len(preset.text))
    return {preset.name: preset for preset in examples}


def _preset(file: Path) -> Preset:
    text = file.read_text(encoding="utf-8")
    comments = []
    for line in text.splitlines():
        if not line.startswith("# "):
            break
        comments.append(line.removeprefix("# "))
    return Preset(file.stem, " ".join(comments), text)
