"""Finding the JSON that a text consists of."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)\n[ \t]*```", re.DOTALL)


@dataclass(frozen=True)
class FoundJson:
    """A JSON value and where it stands."""

    value: Any
    evidence: str


def find_json(text: str) -> FoundJson | None:
    """The JSON that is the whole text, or the only fenced block of it; None for neither.

    NaN, infinities and names that occur twice are not JSON here.
    """
    try:
        return FoundJson(_strict(text), "the whole text")
    except (ValueError, RecursionError):
        pass
    blocks = _FENCE.findall(text)
    if len(blocks) != 1:
        return None
    try:
        return FoundJson(_strict(blocks[0]), "the fenced block")
    except (ValueError, RecursionError):
        return None


def _strict(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)
