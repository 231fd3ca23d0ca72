"""Search for the JSON that a text consists of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.judges.answers.normalization import LINE_END

_FENCE = re.compile(
    r"(?P<fence>```+|~~~+)(?P<tag>[ \t]*[^\s`~{\[\"]*)(?P<end>[ \t]*$)?",
    re.MULTILINE,
)
_TAGS = ("json", "json5", "jsonc")
_MARK = "\ufeff"


@dataclass(frozen=True)
class FoundJson:
    """A JSON value, with the place where it was found."""

    value: Any
    evidence: str


def find_json(text: str) -> FoundJson | None:
    """Return the JSON that is the whole text or its only fenced block, or None.

    Of several blocks, the only one tagged as JSON counts, else the only one without a tag. NaN,
    infinities, comments and repeated names are not accepted as JSON.
    """
    text = LINE_END.sub("\n", text).strip().strip(_MARK)
    try:
        return FoundJson(_strict(text), "the whole text")
    except (ValueError, RecursionError):
        pass
    blocks = list(_fenced(text))
    chosen = [content for tag, content in blocks if tag in _TAGS]
    chosen = chosen or [content for tag, content in blocks if not tag]
    if len(chosen) != 1:
        return None
    try:
        return FoundJson(_strict(chosen[0].strip().strip(_MARK)), "the fenced block")
    except (ValueError, RecursionError):
        return None


def _fenced(text: str) -> Iterator[tuple[str, str]]:
    """Yield the tag and content of each fenced block, which may be a single line."""
    opening: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        if opening is None:
            opening = match
        elif (
            match["fence"] == opening["fence"]
            and match.group().strip() == match["fence"]
            and (match["end"] is not None)
        ):
            yield opening["tag"].strip().lower(), text[opening.end() : match.start()]
            opening = None


def _strict(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)
