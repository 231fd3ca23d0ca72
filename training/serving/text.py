"""Text of an answer, token by token, up to its stop string."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tailrace.formats.data.prediction import FinishReason
from training.generate.stopping import Decode
from training.serving.jobs import Piece

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MOST_HELD = 64
"""Tokens after which half a character is taken for an invalid one."""


class AnswerText:
    """Text of the tokens so far, decoded in windows and searched for stop strings.

    :attr:`text` only ever grows: half a character, and an end that may become a stop string, are
    held back.
    """

    def __init__(
        self, decode: Decode, stops: Sequence[str] = (), stop_ids: Collection[int] = ()
    ) -> None:
        """Begin empty.

        Args:
            decode: Decoder of tokens.
            stops: Texts that end the answer and do not belong to it.
            stop_ids: Tokens that end the answer and do not belong to it.
        """
        self.text = ""
        self.tokens: list[int] = []
        """Tokens of the text, and of a stop string at its end."""
        self.count = 0
        """Number of tokens, one that ends the answer included."""
        self.is_stopped = False
        self._decode = decode
        self._stops = [stop for stop in stops if stop]
        self._stop_ids = stop_ids
        self._window: list[int] = []
        """Newest tokens; they begin with those that decode to :attr:`_shown`."""
        self._shown = ""
        self._shown_count = 0
        self._held = ""

    def extend(self, piece: Piece) -> str:
        """Append the tokens of a piece; return the reason of the end, or nothing before the end."""
        has_end = piece.finish is FinishReason.EOS
        for token in piece.tokens[: len(piece.tokens) - has_end]:
            if self.add(token):
                return "stop"
        self.count += has_end
        if piece.finish is None:
            return ""
        self.end()
        return "stop" if has_end or self.is_stopped else "length"

    def add(self, token: int) -> bool:
        """Append a token; return True if it completes a stop, after which none may follow."""
        self.count += 1
        if token in self._stop_ids:
            self.end()
            self.is_stopped = True
            return True
        self.tokens.append(token)
        self._window.append(token)
        decoded = self._decode(self._window)
        pending = len(self._window) - self._shown_count
        if decoded.endswith(_REPLACEMENT) and pending < _MOST_HELD:
            return False
        if len(decoded) > len(self._shown):
            self._release(decoded[len(self._shown) :])
            # The next decoding needs the latest tokens: spaces depend on what precedes.
            self._window = self._window[self._shown_count :]
            self._shown, self._shown_count = self._decode(self._window), len(self._window)
        return self.is_stopped

    def end(self) -> None:
        """Add all that was held back."""
        if self.is_stopped:
            return
        rest = self._decode(self._window)[len(self._shown) :] if self._window else ""
        self._window, self._shown, self._shown_count = [], "", 0
        self._release(rest)
        if not self.is_stopped:
            self.text += self._held
            self._held = ""

    def _release(self, new: str) -> None:
        # A NUL character cannot be stored, and is dropped everywhere.
        text = self._held + new.replace("\0", "")
        position = min((p for p in map(text.find, self._stops) if p >= 0), default=-1)
        if position >= 0:
            self.text += text[:position]
            self._held, self.is_stopped = "", True
            return
        size = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[size:]
        self.text += text[:size]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of a text with which a stop string begins."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
