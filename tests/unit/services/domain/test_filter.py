from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidInput
from services.domain.filter import (
    CreatedAt,
    LabelIs,
    OriginIs,
    ScoredOn,
    StateIs,
    UidIs,
    parse_filter,
)
from services.domain.run import RunState
from tailrace.formats.limits import MAX_CONDITIONS


def test_what_is_understood() -> None:
    assert parse_filter("  ") == []
    assert parse_filter("state=RUNNING") == [StateIs(RunState.RUNNING)]
    assert parse_filter(f'uid = "{"0a" * 16}"') == [UidIs("0a" * 16)]
    text = (
        'create_time >= "2026-01-01T00:00:00Z" AND create_time < 2026-02-01 '
        "AND labels.a.b-c = 'it\\'s' AND labels.n = 7"
    )
    assert parse_filter(text) == [
        CreatedAt(">=", datetime(2026, 1, 1, tzinfo=UTC)),
        CreatedAt("<", datetime(2026, 2, 1, tzinfo=UTC)),
        LabelIs("a.b-c", "it's"),
        LabelIs("n", "7"),
    ]
    assert parse_filter("dataset = d AND model = models/m AND eval_set = 'e@1' AND judge = j") == [
        OriginIs("dataset", "d"),
        OriginIs("model", "models/m"),
        ScoredOn("eval_set", "e@1"),
        ScoredOn("judge", "j"),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("state", "ends in the middle"),
        ("state = RUNNING AND", "ends in the middle"),
        ("state = RUNNING OR state = FAILED", "expected AND, not 'OR'"),
        ("state = ASLEEP", "must be one of QUEUED"),
        ("state != RUNNING", "takes = only"),
        ("create_time : 2026-01-01", "create_time takes"),
        ('create_time > "soon"', "is not a time"),
        ("name = x", "unknown field 'name'; there is state, uid, create_time"),
        ("(state = RUNNING)", "expected a field, not '('"),
        ("labels.A = x", "unknown field"),
        ('labels.a = "x', "cannot be read from"),
        ("state RUNNING =", "expected = after state"),
        ("state = =", "expected a value"),
        ("dataset = d@1", "takes a name without a version"),
        ("uid = 12", "uid must be 32 digits"),
        (f"uid > {'0' * 32}", "uid takes = only"),
        ('labels.a = "\0"', "contains a NUL"),
    ],
)
def test_what_is_not(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_filter(text)
    (violation,) = error.value.violations
    assert violation.field == "filter"
    assert complaint in violation.description
    assert violation.description.startswith("at character ")


@given(st.text(alphabet="state=<>:!()\"' ANDlbe.\\0-9T", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        parse_filter(text)


def test_comparisons_are_bounded() -> None:
    most = " AND ".join(["state = RUNNING"] * MAX_CONDITIONS)
    assert len(parse_filter(most)) == MAX_CONDITIONS
    with pytest.raises(InvalidInput, match=f"more than {MAX_CONDITIONS} comparisons"):
        parse_filter(f"{most} AND state = RUNNING")
