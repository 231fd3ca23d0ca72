"""The tree that MkDocs builds the site from: pages where they are, and the files they link to.

Links between pages stay as they are written for GitHub. A linked source file is copied to the same
place; a linked folder becomes a page that lists its files.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from docs.generate.links import links
from docs.generate.repository import ROOT, pages

_LIST = re.compile(r"(?:[-*]|\d+\.) ")
_TEXT = re.compile(r"(?![-*] |\d+\. )\S")


def main(destination: Path) -> None:
    """Replace the tree."""
    shutil.rmtree(destination, ignore_errors=True)
    for page in pages():
        copy = destination / page.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_rendered(page), encoding="utf-8")
        for link in links(page):
            _copy(link.path, destination)


def _copy(path: Path, destination: Path) -> None:
    copy = destination / path.relative_to(ROOT)
    if path.is_dir():
        copy.mkdir(parents=True, exist_ok=True)
        files = sorted(file for file in path.iterdir() if file.is_file())
        listing = "".join(f"- [`{file.name}`]({file.name})\n" for file in files)
        (copy / "index.md").write_text(f"# {path.relative_to(ROOT)}\n\n{listing}", encoding="utf-8")
        for file in files:
            shutil.copy(file, copy)
    elif path.suffix != ".md":
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


def _rendered(page: Path) -> str:
    """Return a page with its links to folders led to their lists, and lists set apart.

    Python-Markdown, unlike GitHub, begins a list only after an empty line.
    """
    text = page.read_text(encoding="utf-8")
    for link in links(page):
        if link.path.is_dir():
            text = text.replace(f"]({link.target})", f"]({link.target.rstrip('/')}/index.md)")
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        before = lines[-1] if lines else ""
        if not fenced and _LIST.match(line) and _TEXT.match(before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
