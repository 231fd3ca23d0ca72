"""Writer of the contract snapshot: ``python -m tests.contract`` (``make contract``)."""

from __future__ import annotations

from tests.contract.snapshot import FOLDER, collect

if __name__ == "__main__":
    parts = collect()
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        if path.name not in parts:
            path.unlink()
    for name, text in parts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
