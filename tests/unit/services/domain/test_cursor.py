from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.cursor import Cursor, decode_cursor
from services.domain.errors import InvalidInput
from services.domain.pagination import decode_page_token, encode_page_token, page_size

NUMBERS = st.integers(0, 2**63 - 1)


@given(st.builds(Cursor, NUMBERS, NUMBERS, NUMBERS))
def test_cursors_survive_their_text(cursor: Cursor) -> None:
    assert decode_cursor(cursor.encode()) == cursor


def test_the_place_after_an_attempt_is_past_all_its_records() -> None:
    assert Cursor(0, 1, 2**62) < Cursor(0, 1).after_attempt() < Cursor(0, 2, 1) < Cursor(1)
    assert decode_cursor("") == Cursor()


@given(st.text(min_size=1))
def test_other_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        decode_cursor(text)


POSITIONS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_characters="\0", codec="utf-8")),
        st.integers(1 - 2**63, 2**63 - 1),
        st.datetimes(timezones=st.just(UTC)),
    ),
    max_size=4,
)


@given(POSITIONS)
def test_page_tokens_survive_and_are_bound_to_their_query(
    position: list[str | int | datetime],
) -> None:
    token = encode_page_token(position, {"filter": "a"})
    shape = [type(entry) for entry in position]
    assert decode_page_token(token, {"filter": "a"}, shape) == position
    with pytest.raises(InvalidInput, match="another filter"):
        decode_page_token(token, {"filter": "b"}, shape)
    with pytest.raises(InvalidInput, match="not a page token"):
        decode_page_token(token, {"filter": "a"}, [*shape, int])


def test_positions_that_no_database_takes_are_refused() -> None:
    for position, kind in ((["a\0"], str), ([2**63], int), (["2026-01-01"], datetime)):
        token = encode_page_token(position, {})
        with pytest.raises(InvalidInput, match="not a page token"):
            decode_page_token(token, {}, [kind])


@given(st.text(min_size=1))
def test_other_text_is_no_page_token(text: str) -> None:
    with pytest.raises(InvalidInput):
        decode_page_token(text, {}, [int])


def test_page_sizes_have_a_default_and_a_cap() -> None:
    assert page_size(0, default=50) == 50
    assert page_size(7, default=50) == 7
    assert page_size(9999, default=50) == 1000
    with pytest.raises(InvalidInput, match="page_size"):
        page_size(-1, default=50)
