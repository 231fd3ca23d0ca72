from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.verdict import Outcome, Verdict
from tailrace.formats.results import ComparisonKind, GroupKey, PairedTest
from tailrace.formats.statistics import wilson_interval
from training.judges import TextVerdict
from training.judging.scoring import (
    ItemVerdict,
    compare_scores,
    item_scores,
    score_verdicts,
    shared_scores,
)


def item_verdict(
    id_: str, score: float | None, sample: int = 0, vote: str | None = None, **item: Any
) -> ItemVerdict:
    """Return a verdict that passes from a score of 0.5 on; None makes an error."""
    details = None
    outcome = Outcome.ERROR
    if score is not None:
        details = TextVerdict(passed=score >= 0.5, score=score, reason="r", vote=vote)
        outcome = Outcome.PASS if details.passed else Outcome.FAIL
    verdict = Verdict(
        eval_set="s",
        example_id=id_,
        model_role=ModelRole.TRAINED,
        judge="j",
        version="1",
        outcome=outcome,
        expected="e",
        reason="r",
        sample=sample,
        score=score or 0.0,
        cost_tokens=3,
    )
    return ItemVerdict(EvalItem(id=id_, prompt="p", expected_answer="e", **item), verdict, details)


def test_passes_and_fails_have_wilsons_interval() -> None:
    score = score_verdicts([item_verdict(str(i), float(i < 8)) for i in range(10)], leaked=4)
    assert (score.passed, score.total, score.errors, score.score) == (8, 10, 0, 0.8)
    assert (score.interval_low, score.interval_high) == wilson_interval(8, 10)
    assert (score.error_low, score.error_high) == wilson_interval(8, 10)
    assert (score.mean_score, score.mean_low) == (0.8, None)
    assert (score.majority_score, score.pass_at_k) == (None, [])
    assert (score.leaked, score.cost_tokens) == (4, 30)
    assert score.minimum_detectable_difference == pytest.approx(0.56, abs=0.01)


def test_errors_are_no_trials_and_bound_the_interval() -> None:
    score = score_verdicts([item_verdict(str(i), 1.0 if i < 6 else None) for i in range(10)])
    assert (score.passed, score.total, score.errors, score.score) == (6, 6, 4, 1)
    assert (score.interval_low, score.interval_high) == wilson_interval(6, 6)
    assert score.error_low == wilson_interval(6, 10)[0]
    assert score.error_high == 1
    nothing = score_verdicts([item_verdict("a", None)])
    assert (nothing.total, nothing.score, nothing.mean_score) == (0, None, None)
    assert nothing.minimum_detectable_difference is None


def test_graded_scores_have_a_bootstrap_interval() -> None:
    score = score_verdicts([item_verdict(str(i), i / 20) for i in range(20)])
    assert score.mean_score == pytest.approx(0.475)
    assert score.mean_low is not None
    assert score.mean_high is not None
    assert 0.3 < score.mean_low < 0.475 < score.mean_high < 0.65


def test_samples_of_an_item_are_one_trial() -> None:
    samples = [
        *(
            item_verdict("a", s, i, vote)
            for i, (s, vote) in enumerate([(1, "5"), (0, "6"), (1, "5")])
        ),
        *(
            item_verdict("b", s, i, vote)
            for i, (s, vote) in enumerate([(0, "1"), (0, "1"), (1, "2")])
        ),
    ]
    score = score_verdicts(samples)
    assert (score.passed, score.total, score.score) == (3, 6, 0.5)
    assert (score.interval_low, score.interval_high) == wilson_interval(1, 2)
    assert score.majority_score == 0.5
    assert {estimate.k: estimate.value for estimate in score.pass_at_k} == pytest.approx(
        {1: 0.5, 2: (1 + 2 / 3) / 2, 3: 1.0}
    )
    without = score_verdicts([*samples, item_verdict("c", 1, 0), item_verdict("c", 1, 1)])
    assert without.majority_score is None


def test_an_answer_that_fails_overrides_no_equal_one_that_passes() -> None:
    votes = [(1, "5"), (1, "5"), (0, "5")]
    score = score_verdicts([item_verdict("a", s, i, vote) for i, (s, vote) in enumerate(votes)])
    assert score.majority_score == 1


def test_an_item_with_errors_lowers_no_other_items_k() -> None:
    complete = [item_verdict("a", float(i == 0), i) for i in range(4)]
    score = score_verdicts(
        [*complete, item_verdict("b", 1, 0), *(item_verdict("b", None, i) for i in (1, 2, 3))]
    )
    assert {estimate.k: estimate.value for estimate in score.pass_at_k} == pytest.approx(
        {1: (1 / 4 + 1) / 2, 2: 1 / 2, 4: 1}
    )


def test_groups() -> None:
    score = score_verdicts(
        [
            item_verdict("1", 1, category="sums", section="core"),
            item_verdict("2", 0, category="sums", difficulty="hard"),
            item_verdict("3", None, category="facts"),
        ]
    )
    assert [(g.by, g.value, g.passed, g.total, g.errors) for g in score.groups] == [
        (GroupKey.CATEGORY, "facts", 0, 0, 1),
        (GroupKey.CATEGORY, "sums", 1, 2, 0),
        (GroupKey.DIFFICULTY, "hard", 0, 1, 0),
        (GroupKey.SECTION, "core", 1, 1, 0),
    ]
    assert score.groups[1].low == wilson_interval(1, 2)[0]


def test_comparisons_are_of_shared_items() -> None:
    own = item_scores(
        [item_verdict("a", 1), item_verdict("b", 1), item_verdict("c", 0), item_verdict("d", None)]
    )
    other = item_scores([item_verdict("a", 0), item_verdict("b", 1), item_verdict("d", 1)])
    pairs = shared_scores(other, own)
    assert pairs == [(0, 1), (1, 1)]
    lift = compare_scores("j", "s", ComparisonKind.LIFT, pairs)
    assert (lift.wins, lift.losses, lift.ties, lift.difference) == (1, 0, 1, 0.5)
    assert (lift.p_value, lift.test) == (1, PairedTest.MCNEMAR)
    graded = compare_scores("j", "s", ComparisonKind.BASELINE, [(0.25, 0.5), (0.5, 0.5)])
    assert graded.test is PairedTest.PAIRED_BOOTSTRAP
    nothing = compare_scores("j", "s", ComparisonKind.LIFT, [])
    assert (nothing.wins, nothing.difference, nothing.p_value) == (0, None, None)
