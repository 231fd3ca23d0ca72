from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.verdict import Outcome, Verdict
from tailrace.formats.results import ComparisonKind, GroupKey, PairedTest
from tailrace.formats.statistics import wilson_interval
from training.judges import Judgement
from training.judging.scoring import (
    Ruling,
    compare_scores,
    item_scores,
    score_rulings,
    shared_scores,
)


def ruling(
    id_: str, score: float | None, sample: int = 0, vote: str | None = None, **item: Any
) -> Ruling:
    """A ruling with a score of at least 0.5 passing; None is an error."""
    judgement = None
    outcome = Outcome.ERROR
    if score is not None:
        judgement = Judgement(passed=score >= 0.5, score=score, reason="r", vote=vote)
        outcome = Outcome.PASS if judgement.passed else Outcome.FAIL
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
    return Ruling(EvalItem(id=id_, prompt="p", expected_answer="e", **item), verdict, judgement)


def test_passes_and_fails_have_wilsons_interval() -> None:
    score = score_rulings([ruling(str(i), float(i < 8)) for i in range(10)], leaked=4)
    assert (score.passed, score.total, score.errors, score.score) == (8, 10, 0, 0.8)
    assert (score.interval_low, score.interval_high) == wilson_interval(8, 10)
    assert (score.error_low, score.error_high) == wilson_interval(8, 10)
    assert (score.mean_score, score.mean_low) == (0.8, None)
    assert (score.majority_score, score.pass_at_k) == (None, [])
    assert (score.leaked, score.cost_tokens) == (4, 30)
    assert score.minimum_detectable_difference == pytest.approx(0.56, abs=0.01)


def test_errors_are_no_trials_and_bound_the_interval() -> None:
    score = score_rulings([ruling(str(i), 1.0 if i < 6 else None) for i in range(10)])
    assert (score.passed, score.total, score.errors, score.score) == (6, 6, 4, 1)
    assert (score.interval_low, score.interval_high) == wilson_interval(6, 6)
    assert score.error_low == wilson_interval(6, 10)[0]
    assert score.error_high == 1
    nothing = score_rulings([ruling("a", None)])
    assert (nothing.total, nothing.score, nothing.mean_score) == (0, None, None)
    assert nothing.minimum_detectable_difference is None


def test_graded_scores_have_a_bootstrap_interval() -> None:
    score = score_rulings([ruling(str(i), i / 20) for i in range(20)])
    assert score.mean_score == pytest.approx(0.475)
    assert score.mean_low is not None
    assert score.mean_high is not None
    assert 0.3 < score.mean_low < 0.475 < score.mean_high < 0.65


def test_samples_of_an_item_are_one_trial() -> None:
    samples = [
        *(ruling("a", s, i, vote) for i, (s, vote) in enumerate([(1, "5"), (0, "6"), (1, "5")])),
        *(ruling("b", s, i, vote) for i, (s, vote) in enumerate([(0, "1"), (0, "1"), (1, "2")])),
    ]
    score = score_rulings(samples)
    assert (score.passed, score.total, score.score) == (3, 6, 0.5)
    assert (score.interval_low, score.interval_high) == wilson_interval(1, 2)
    assert score.majority_score == 0.5
    assert {each.k: each.value for each in score.pass_at_k} == pytest.approx(
        {1: 0.5, 2: (1 + 2 / 3) / 2, 3: 1.0}
    )
    without = score_rulings([*samples, ruling("c", 1, 0), ruling("c", 1, 1)])
    assert without.majority_score is None


def test_an_answer_that_fails_overrides_no_equal_one_that_passes() -> None:
    votes = [(1, "5"), (1, "5"), (0, "5")]
    score = score_rulings([ruling("a", s, i, vote) for i, (s, vote) in enumerate(votes)])
    assert score.majority_score == 1


def test_an_item_with_errors_lowers_no_other_items_k() -> None:
    whole = [ruling("a", float(i == 0), i) for i in range(4)]
    score = score_rulings([*whole, ruling("b", 1, 0), *(ruling("b", None, i) for i in (1, 2, 3))])
    assert {each.k: each.value for each in score.pass_at_k} == pytest.approx(
        {1: (1 / 4 + 1) / 2, 2: 1 / 2, 4: 1}
    )


def test_groups() -> None:
    score = score_rulings(
        [
            ruling("1", 1, category="sums", section="core"),
            ruling("2", 0, category="sums", difficulty="hard"),
            ruling("3", None, category="facts"),
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
    own = item_scores([ruling("a", 1), ruling("b", 1), ruling("c", 0), ruling("d", None)])
    other = item_scores([ruling("a", 0), ruling("b", 1), ruling("d", 1)])
    pairs = shared_scores(other, own)
    assert pairs == [(0, 1), (1, 1)]
    found = compare_scores("j", "s", ComparisonKind.LIFT, pairs)
    assert (found.wins, found.losses, found.ties, found.difference) == (1, 0, 1, 0.5)
    assert (found.p_value, found.test) == (1, PairedTest.MCNEMAR)
    graded = compare_scores("j", "s", ComparisonKind.BASELINE, [(0.25, 0.5), (0.5, 0.5)])
    assert graded.test is PairedTest.PAIRED_BOOTSTRAP
    nothing = compare_scores("j", "s", ComparisonKind.LIFT, [])
    assert (nothing.wins, nothing.difference, nothing.p_value) == (0, None, None)
