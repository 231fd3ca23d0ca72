"""How wide the columns of a table are where there is little room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

GAP = 2
"""Blank columns between two columns of a table."""

_TEXT_FLOOR = 10
_FOLD_FLOOR = 8
_SHORT_WORD = 10


@dataclass(frozen=True)
class Column:
    """A column's cells, its head among them, and what may become of it."""

    cells: Sequence[str]
    """The head, then one text a row."""
    is_text: bool
    """Free text: folded first."""
    is_key: bool
    """What the reader copies: folded last."""

    def width(self) -> int:
        """The width that shows every cell on one line."""
        return max(map(cell_len, self.cells))

    def longest_word(self) -> int:
        """The least width at which no word is folded."""
        return _longest_word(self.cells)

    def folded_width(self) -> int:
        """The least width for folded words; short ones and the head stay whole."""
        longest = self.longest_word()
        return (
            longest if longest <= _SHORT_WORD else max(_FOLD_FLOOR, _longest_word(self.cells[:1]))
        )


def widths(columns: Sequence[Column], room: int) -> list[int]:
    """The width of each column, together at most ``room`` where that can be.

    First free text gives way, then what can be wrapped between words, then words of columns that
    are no key are folded, and keys at the very last: nothing is ever cut.
    """
    found = [column.width() for column in columns]
    room -= GAP * (len(columns) - 1)

    def narrow(floor: Callable[[Column], int | None]) -> None:
        floors = [floor(column) for column in columns]
        for _ in range(sum(found) - room):
            open_ = [i for i, least in enumerate(floors) if least is not None and found[i] > least]
            if not open_:
                return
            found[max(open_, key=found.__getitem__)] -= 1

    narrow(lambda c: max(_TEXT_FLOOR, cell_len(c.cells[0])) if c.is_text else None)
    narrow(lambda c: None if c.is_text else c.longest_word())
    narrow(lambda c: None if c.is_key else c.folded_width())
    narrow(lambda c: c.folded_width())
    narrow(lambda _: 1)
    return found


def _longest_word(cells: Sequence[str]) -> int:
    return max((cell_len(word) for cell in cells for word in cell.split()), default=1)
