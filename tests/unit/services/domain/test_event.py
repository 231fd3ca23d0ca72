from __future__ import annotations

import hashlib
import json
from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from services.domain.event import (
    LogLevel,
    LogLine,
    MetricPoint,
    clean_line,
    extend_digest,
)
from tailrace.formats.limits import MAX_LINE_BYTES

TIMES = st.datetimes(timezones=st.just(UTC))


@given(st.builds(LogLine, st.integers(), st.sampled_from(LogLevel), st.text()))
def test_lines_survive_their_record(line: LogLine) -> None:
    assert LogLine.from_record(json.loads(json.dumps(line.record()))) == line


@given(
    st.builds(MetricPoint, st.text(), st.integers(), st.floats(allow_nan=False, width=64), TIMES)
)
def test_points_survive_their_record(point: MetricPoint) -> None:
    assert MetricPoint.from_record(point.record()) == point


@given(st.lists(st.text().filter(lambda t: t.isprintable())), st.integers(0, 5))
def test_the_digest_chain_does_not_depend_on_where_batches_are_cut(
    texts: list[str], cut: int
) -> None:
    lines = [LogLine(1, LogLevel.INFO, text) for text in texts]
    expected = b""
    for text in texts:
        expected = hashlib.sha256(expected + text.encode()).digest()
    assert extend_digest("", [line.digest_input() for line in lines]) == expected.hex()
    digested = [line.digest_input() for line in lines]
    before = extend_digest("", digested[:cut])
    assert extend_digest(before, digested[cut:]) == expected.hex()


@given(st.text(alphabet=st.characters()), st.integers(0, 40))
def test_cleaned_lines_are_short_and_hold_no_nul(text: str, limit: int) -> None:
    cleaned = clean_line(text, limit)
    assert len(cleaned.encode()) <= limit
    assert "\0" not in cleaned


def test_a_line_is_cut_between_characters() -> None:
    assert clean_line("aß" * 3, 4) == "aßa"
    assert clean_line("a\0b\ud800") == "a\N{REPLACEMENT CHARACTER}b?"
    assert len(clean_line("x" * 100_000)) == MAX_LINE_BYTES
