"""Stop strings, which end an answer where one appears in its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
"""Text of token ids."""


def find_stop(
    tokens: Sequence[int],
    searched: int,
    stops: Sequence[str],
    decode: Decode,
    decode_special: Decode | None = None,
) -> tuple[int, str] | None:
    """Return the number of tokens that complete the first stop string, and the text before it.

    Every prefix is examined separately, so that the answer does not depend on the number of tokens
    per call. The returned text has no special tokens.

    Args:
        tokens: Token ids of the answer.
        searched: Number of leading tokens without a stop string.
        stops: Stop strings.
        decode: Decoder of tokens, without special ones.
        decode_special: Decoder that keeps special tokens, for stop strings that contain some.
    """
    for count in range(searched + 1, len(tokens) + 1):
        text = decode(tokens[:count])
        position = _first(text, stops)
        if position is not None:
            return count, text[:position]
        if decode_special is not None:
            position = _first(decode_special(tokens[:count]), stops)
            if position is not None:
                return count, _visible(tokens[:count], position, decode, decode_special)
    return None


def _first(text: str, stops: Sequence[str]) -> int | None:
    return min((position for position in map(text.find, stops) if position >= 0), default=None)


def _visible(tokens: Sequence[int], position: int, decode: Decode, decode_special: Decode) -> str:
    """Return the text up to ``position`` of the special decoding, without its special tokens."""
    count = len(tokens)
    while len(decode_special(tokens[:count])) > position:
        count -= 1
    return (
        decode(tokens[:count])
        + decode_special(tokens)[len(decode_special(tokens[:count])) : position]
    )
