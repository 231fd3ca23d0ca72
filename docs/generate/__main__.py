"""Entry point: ``python -m docs.generate`` writes every generated page."""

from __future__ import annotations

from docs.generate.pages import PAGES
from docs.generate.repository import ROOT


def main() -> None:
    """Write the generated pages into ``docs/``."""
    for path, render in PAGES.items():
        page = ROOT / path
        page.parent.mkdir(exist_ok=True)
        page.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
