from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tailrace.cli.show.tables import GAP, Column, widths

COLUMNS = st.lists(
    st.builds(
        Column, st.lists(st.text("ab ", min_size=1), min_size=1), st.booleans(), st.booleans()
    ),
    min_size=1,
    max_size=5,
)


@given(COLUMNS, st.integers(20, 200))
def test_they_fit_and_none_is_empty(columns: list[Column], room: int) -> None:
    sizes = widths(columns, room)
    assert sum(sizes) + GAP * (len(columns) - 1) <= room
    assert all(1 <= width <= column.width() for width, column in zip(sizes, columns, strict=True))


def test_what_gives_way_first() -> None:
    key = Column(["RUN", "run-4739dd2a91"], is_text=False, is_key=True)
    text = Column(["REASON", "many words " * 9], is_text=True, is_key=False)
    name = Column(["MODEL", "models/smollm2-135m"], is_text=False, is_key=False)
    time = Column(["CREATED", "2026-11-29 03:17:49"], is_text=False, is_key=False)
    columns = [key, text, name, time]
    assert widths(columns, 1000) == [14, 99, 19, 19]
    assert widths(columns, 80) == [14, 22, 19, 19]
    assert widths(columns, 64) == [14, 10, 19, 15]
    assert widths(columns, 50) == [14, 10, 10, 10]
    assert widths(columns, 44)[0] >= 8
