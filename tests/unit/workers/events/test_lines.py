"""Lines from a pipe: bounded memory, storable text."""

from __future__ import annotations

import os
import threading

from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.limits import MAX_LINE_BYTES
from workers.events.lines import CUT_MARK, printable, read_lines


def lines_of(content: bytes, limit: int) -> list[tuple[bytes, bool]]:
    """Read what a writer sends through a pipe."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    lines = list(read_lines(reader, limit))
    thread.join()
    os.close(reader)
    return lines


@given(st.binary(max_size=300))
def test_lines_are_split_as_by_newline(content: bytes) -> None:
    parts = content.split(b"\n")
    expected = parts[:-1] + ([parts[-1]] if parts[-1] else [])
    assert lines_of(content, 1000) == [(part, False) for part in expected]


def test_long_lines_are_cut_and_the_next_is_whole() -> None:
    content = b"x" * 200_000 + b"\nnext\n" + b"y" * 150_000
    assert lines_of(content, 10) == [(b"x" * 10, True), (b"next", False), (b"y" * 10, True)]


@given(st.binary(max_size=20_000), st.booleans())
def test_stored_text_is_always_storable(raw: bytes, cut: bool) -> None:
    text = printable(raw.replace(b"\n", b""), cut=cut)
    assert len(text.encode("utf-8")) <= MAX_LINE_BYTES
    assert not set(text) & {"\0", "\n", "\r"}
    assert not cut or text.endswith(CUT_MARK)


def test_a_progress_bar_leaves_its_last_state() -> None:
    assert printable(b"10%\r50%\r100%") == "100%"
    assert printable(b"windows\r") == "windows"


def test_bad_bytes_are_replaced_and_long_text_is_marked() -> None:
    assert printable(b"a\xffb\0c") == "a\ufffdb\ufffdc"
    long = printable("é".encode() * MAX_LINE_BYTES)
    assert long.endswith(CUT_MARK)
    assert len(long.encode()) in (MAX_LINE_BYTES, MAX_LINE_BYTES - 1)
    assert printable(b"x" * MAX_LINE_BYTES) == "x" * MAX_LINE_BYTES


def test_a_bar_without_a_line_feed_is_seen_while_it_runs() -> None:
    reader, writer = os.pipe()
    lines = read_lines(reader, 1000, partial_seconds=0.05)
    os.write(writer, b"\r10%\r20%\r3")
    assert next(lines) == (b"\r10%\r20%\r", False)
    os.write(writer, "0% é".encode()[:-1])
    assert next(lines) == (b"30% ", False)
    os.write(writer, "é".encode()[1:] + b"\n\nnext\n")
    assert [next(lines) for _ in range(3)] == [
        ("é".encode(), False),
        (b"", False),
        (b"next", False),
    ]
    os.write(writer, b"Continue?")
    assert next(lines) == (b"Continue?", False)
    os.write(writer, b"\n")
    os.close(writer)
    assert list(lines) == []
    os.close(reader)


def test_lines_that_end_soon_stay_whole() -> None:
    reader, writer = os.pipe()
    lines = read_lines(reader, 1000, partial_seconds=60)
    for part in (b"one ", b"line\n", b"rest"):
        os.write(writer, part)
    os.close(writer)
    assert list(lines) == [(b"one line", False), (b"rest", False)]
    os.close(reader)
