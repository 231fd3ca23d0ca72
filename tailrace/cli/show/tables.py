"""Widths of a table's columns in a narrow terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

GAP = 2
"""Blanks between two columns of a table."""

_TEXT_FLOOR = 10
_FOLD_FLOOR = 8
_SHORT_WORD = 10


@dataclass(frozen=True)
class Column:
    """Cells of a column, including its head, and its rank in folding."""

    cells: Sequence[str]
    """Head, then one text per row."""
    is_text: bool
    """Free text: folded first."""
    is_key: bool
    """Text that readers copy: folded last."""

    def width(self) -> int:
        """Return the width that shows every cell on one line."""
        return max(map(cell_len, self.cells))

    def longest_word(self) -> int:
        """Return the smallest width at which no word is folded."""
        return _longest_word(self.cells)

    def folded_width(self) -> int:
        """Return the smallest width with folded words; short ones and the head stay whole."""
        longest = self.longest_word()
        return (
            longest if longest <= _SHORT_WORD else max(_FOLD_FLOOR, _longest_word(self.cells[:1]))
        )


def widths(columns: Sequence[Column], room: int) -> list[int]:
    """Return the width of each column, if possible with a sum of at most ``room``.

    Free text shrinks first, then columns that wrap between words; then words are folded, those of
    key columns last. Nothing is cut.
    """
    sizes = [column.width() for column in columns]
    room -= GAP * (len(columns) - 1)

    def narrow(floor: Callable[[Column], int | None]) -> None:
        floors = [floor(column) for column in columns]
        for _ in range(sum(sizes) - room):
            shrinkable = [
                i for i, least in enumerate(floors) if least is not None and sizes[i] > least
            ]
            if not shrinkable:
                return
            sizes[max(shrinkable, key=sizes.__getitem__)] -= 1

    narrow(lambda c: max(_TEXT_FLOOR, cell_len(c.cells[0])) if c.is_text else None)
    narrow(lambda c: None if c.is_text else c.longest_word())
    narrow(lambda c: None if c.is_key else c.folded_width())
    narrow(lambda c: c.folded_width())
    narrow(lambda _: 1)
    return sizes


def _longest_word(cells: Sequence[str]) -> int:
    return max((cell_len(word) for cell in cells for word in cell.split()), default=1)
