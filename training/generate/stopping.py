"""Stop strings: an answer ends where one of them appears in its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
"""Text of token ids."""


def find_stop(
    tokens: Sequence[int],
    known: int,
    stops: Sequence[str],
    decode: Decode,
    written: Decode | None = None,
) -> tuple[int, str] | None:
    """Where the first stop string is complete: number of tokens, and the text before it.

    The first ``known`` tokens hold none. Every longer beginning is looked at by itself, so that
    the answer does not depend on how many tokens come at a time. ``written`` decodes special
    tokens, too, for stop strings that have some in them; the text before has none.
    """
    for count in range(known + 1, len(tokens) + 1):
        text = decode(tokens[:count])
        place = _first(text, stops)
        if place is not None:
            return count, text[:place]
        if written is not None:
            place = _first(written(tokens[:count]), stops)
            if place is not None:
                return count, _visible(tokens[:count], place, decode, written)
    return None


def _first(text: str, stops: Sequence[str]) -> int | None:
    return min((place for place in map(text.find, stops) if place >= 0), default=None)


def _visible(tokens: Sequence[int], place: int, decode: Decode, written: Decode) -> str:
    """Return the text up to ``place`` of what is written, without its special tokens."""
    count = len(tokens)
    while len(written(tokens[:count])) > place:
        count -= 1
    return decode(tokens[:count]) + written(tokens)[len(written(tokens[:count])) : place]
