from __future__ import annotations

from services.domain.comparison import (
    Judged,
    VerdictRow,
    differences,
    item_scores,
    verdict_comparison,
)

KEY = Judged("j", "s", "trained")


def row(item: str, outcome: str, version: str = "1") -> VerdictRow:
    return VerdictRow(KEY, item, outcome, 1.0 if outcome == "pass" else 0.0, version)


def test_only_items_that_both_have_count_and_the_others_are_told() -> None:
    first = item_scores([row(i, "pass") for i in "abc"] + [row("d", "fail"), row("e", "error")])
    other = item_scores(
        [
            row("a", "pass", "2"),
            row("b", "fail"),
            row("d", "pass"),
            row("e", "pass"),
            row("z", "pass"),
        ]
    )
    found = verdict_comparison("runs/b", KEY, first[KEY], other[KEY])
    compared = found["comparison"]
    assert (compared["wins"], compared["losses"], compared["ties"]) == (1, 1, 1)
    assert compared["test"] == "mcnemar"
    assert compared["p_value"] == 1.0
    assert (found["shared"], found["not_shared_first"], found["not_shared"]) == (3, 2, 2)
    assert [(c["example_id"], c["score_first"], c["score"]) for c in found["changes"]] == [
        ("b", 1.0, 0.0),
        ("d", 0.0, 1.0),
    ]


def test_samples_of_an_item_are_averaged_without_errors() -> None:
    scores = item_scores([row("a", "pass"), row("a", "fail"), row("a", "error")])
    assert scores[KEY].scores == {"a": 0.5}


def test_nothing_shared_is_no_comparison_but_no_error() -> None:
    first, other = item_scores([row("a", "error")]), item_scores([row("b", "pass")])
    found = verdict_comparison("runs/b", KEY, first[KEY], other[KEY])
    assert found["shared"] == 0
    assert "difference" not in found["comparison"]


def test_where_specs_differ() -> None:
    specs = [{"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": 1, "c": 3}, "l": [1]}, {"l": [1, 2]}]
    assert differences(specs) == {
        "a.b": [1, 1, None],
        "a.c": [2, 3, None],
        "l": [[1], [1], [1, 2]],
    }
