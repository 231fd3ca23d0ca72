"""Links and anchors of Markdown pages, read as GitHub reads them."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)(```+|~~~+).*?^ *\2[`~]* *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)
_ID = re.compile(r"<a +(?:id|name)=\"([^\"]+)\"")


@dataclass(frozen=True)
class Link:
    """A link on a page to something in the repository."""

    page: Path
    """Page that holds the link."""
    target: str
    """Target as the page writes it."""

    @property
    def path(self) -> Path:
        """File or folder that the link leads to."""
        path = urllib.parse.unquote(self.target.partition("#")[0])
        return (self.page.parent / path).resolve() if path else self.page

    @property
    def anchor(self) -> str:
        """Anchor on that page; empty for the whole page."""
        return self.target.partition("#")[2]


def links(page: Path) -> Iterator[Link]:
    """Yield the links of a page, those to other sites excepted."""
    for match in _LINK.finditer(_without_code(page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", match[1]):
            yield Link(page, match[1])


def problem(link: Link, root: Path) -> str:
    """Return the reason that a link is dead; empty for one that leads somewhere."""
    if not link.path.exists():
        return "does not exist"
    if not link.path.is_relative_to(root):
        return "is outside of the repository"
    if link.anchor and link.path.suffix != ".md":
        return "is not a page, so that it has no anchors"
    if link.anchor and link.anchor not in anchors(link.path):
        return "has no such anchor"
    return ""


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page."""
    text = page.read_text(encoding="utf-8")
    names: set[str] = set(_ID.findall(_without_code(text)))
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        slug = name = github_slug(re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading))
        count = 0
        while name in names:
            count += 1
            name = f"{slug}-{count}"
        names.add(name)
    return names


def github_slug(heading: str, separator: str = "-") -> str:
    """Return the anchor that GitHub gives a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return text.replace(" ", separator)


def _without_code(text: str) -> str:
    return _CODE.sub("", _FENCE.sub("", text))
