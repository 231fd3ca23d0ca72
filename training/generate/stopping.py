"""Stop strings: an answer ends where one of them appears in its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
"""Text of token ids."""


def find_stop(
    tokens: Sequence[int], known: int, stops: Sequence[str], decode: Decode
) -> tuple[int, str] | None:
    """Where the first stop string is complete: number of tokens, and the text before it.

    The first ``known`` tokens hold none. Every longer beginning is looked at by itself, so that
    the answer does not depend on how many tokens come at a time.
    """
    for count in range(known + 1, len(tokens) + 1):
        text = decode(tokens[:count])
        places = [place for place in map(text.find, stops) if place >= 0]
        if places:
            return count, text[: min(places)]
    return None
