from __future__ import annotations

from services.domain.comparison import (
    VerdictGroup,
    VerdictRow,
    differences,
    item_scores,
    verdict_comparisons,
)

KEY = VerdictGroup("j", "s", "trained")


def row(item: str, outcome: str, version: str = "1") -> VerdictRow:
    score = None if outcome == "error" else float(outcome == "pass")
    return VerdictRow(KEY, item, score, version)


def test_only_items_that_both_have_count_and_the_others_are_counted() -> None:
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
    [verdicts] = verdict_comparisons(first, {"runs/b": other})
    compared = verdicts["comparison"]
    assert (compared["wins"], compared["losses"], compared["ties"]) == (1, 1, 1)
    assert compared["test"] == "mcnemar"
    assert compared["p_value"] == 1.0
    assert (verdicts["shared"], verdicts["not_shared_first"], verdicts["not_shared"]) == (
        3,
        2,
        2,
    )
    assert [(c["example_id"], c["score_first"], c["score"]) for c in verdicts["changes"]] == [
        ("b", 1.0, 0.0),
        ("d", 0.0, 1.0),
    ]


def test_samples_of_an_item_are_averaged_without_errors() -> None:
    scores = item_scores([row("a", "pass"), row("a", "fail"), row("a", "error")])
    assert scores[KEY].scores == {"a": 0.5}


def test_nothing_shared_is_no_comparison_but_no_error() -> None:
    first, other = item_scores([row("a", "error")]), item_scores([row("b", "pass")])
    [verdicts] = verdict_comparisons(first, {"runs/b": other})
    assert verdicts["shared"] == 0
    assert "difference" not in verdicts["comparison"]


def test_where_specs_differ() -> None:
    specs = [{"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": 1, "c": 3}, "l": [1]}, {"l": [1, 2]}]
    assert differences(specs) == {
        "a.b": [1, 1, None],
        "a.c": [2, 3, None],
        "l": [[1], [1], [1, 2]],
    }


def test_many_comparisons_share_what_one_message_holds() -> None:
    first = item_scores([row(f"i{i:04}", "pass") for i in range(1200)])
    other = item_scores([row(f"i{i:04}", "fail") for i in range(1200)])
    [alone] = verdict_comparisons(first, {"runs/b": other})
    assert (len(alone["changes"]), alone["changes_left_out"]) == (1000, 200)
    together = verdict_comparisons(first, {f"runs/r{i}": other for i in range(40)})
    assert {(len(runs["changes"]), runs["changes_left_out"]) for runs in together} == {(500, 700)}
