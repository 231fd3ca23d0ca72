from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.data.record import FeedbackRecord
from tailrace.formats.spec.methods import KtoSpec
from tailrace.formats.spec.run_spec import AdapterSpec, LoraSpec, ModelSpec, TrainSpec
from tests.unit.training.objectives.test_dpo import ROWS, bound, part
from training.objectives.kto import KtoObjective
from training.objectives.objective import means_of_parts
from training.stage.training_run import TrainingPaths, run_training

FEEDBACK = ROWS._replace(
    labels=np.asarray([1, 0, 0], np.float32), baseline=np.full(3, 0.4, np.float32)
)
"""A good answer, a bad one, and one of padding."""

SPEC = TrainSpec(
    max_steps=3,
    batch_size=4,
    max_seq_length=64,
    learning_rate=1e-3,
    steps_per_dispatch=1,
    log_every_steps=1,
    eval_fraction=0.25,
    eval_every_steps=3,
    kto=KtoSpec(beta=0.5),
    adapter=AdapterSpec(LoraSpec(rank=2)),
)

RECORDS = [
    FeedbackRecord(f"What is {i} + {i}?", f"It is {2 * i}", label=True, id=str(i))
    if i % 2
    else FeedbackRecord(f"What is {i} + {i}?", f"Nobody knows {i}", label=False, id=str(i))
    for i in range(1, 25)
]


def objective(**options: Any) -> KtoObjective:
    return KtoObjective(TrainSpec(max_steps=1, kto=KtoSpec(**options)))


def run(folder: Path, observer: Any, **changes: Any) -> TrainingPaths:
    paths = TrainingPaths.as_artifacts(folder)
    spec = dataclasses.replace(SPEC, **changes)
    run_training(ModelSpec(preset="gpt2-nano"), spec, RECORDS, paths, observer)
    return paths


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, recorder: Any) -> tuple[TrainingPaths, Any]:
    """An undisturbed training, and what was seen of it."""
    seen = recorder()
    return run(tmp_path_factory.mktemp("whole"), seen), seen


def test_the_loss_compares_log_ratios_with_the_baseline() -> None:
    method = objective(beta=0.5, desirable_weight=2.0)
    loss, metrics = method.loss(bound(), FEEDBACK, jnp.float32(2))
    good, bad = np.asarray(method.answer_log_probs(bound(), ROWS) - ROWS.reference)[:2, 0]

    def sigmoid(x: float) -> float:
        return float(1 / (1 + np.exp(-x)))

    losses = [2 * (1 - sigmoid(0.5 * (good - 0.4))), 1 - sigmoid(0.5 * (0.4 - bad))]
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    figures = means_of_parts({name: float(value) for name, value in metrics.items()})
    assert figures == pytest.approx(
        {
            "feedback_accuracy": np.mean([good > 0.4, bad <= 0.4]),
            "kl_baseline": 0.4,
            "desirable_share": 0.5,
            "undesirable_share": 0.5,
            "log_ratio_desirable": good,
            "log_ratio_undesirable": bad,
            "rewards_desirable": 0.5 * good,
            "rewards_undesirable": 0.5 * bad,
        },
        rel=1e-4,
    )


def test_the_baseline_is_the_mean_of_mismatched_answers_and_never_negative() -> None:
    method = objective()
    ratios = np.asarray(method.answer_log_probs(bound(), ROWS) - ROWS.reference)
    shares = [
        method.baseline_share(bound(), part(FEEDBACK, slice(i, i + 1)), jnp.float32(2))
        for i in range(3)
    ]
    assert float(sum(shares)) == pytest.approx(ratios[:2, 1].mean(), rel=1e-5)
    assert float(method.baseline(jnp.float32(-2))) == 0


def test_a_label_without_examples_has_no_figures() -> None:
    rows = part(FEEDBACK, slice(0, 1))
    _, metrics = objective().loss(bound(), rows, jnp.float32(1))
    figures = means_of_parts({name: float(value) for name, value in metrics.items()})
    assert "rewards_desirable" in figures
    assert not {"rewards_undesirable", "log_ratio_undesirable"} & figures.keys()


def test_parts_of_a_batch_have_the_baseline_of_the_whole(
    whole: tuple[TrainingPaths, Any], tmp_path: Path, recorder: Any
) -> None:
    parts = recorder()
    run(tmp_path, parts, micro_batch_size=1)
    for one, other in zip(whole[1].points, parts.points, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        for name, value in one.metrics.items():
            # At first every answer is as likely as the baseline, but for rounding.
            if one.step > 1 or name != "feedback_accuracy":
                assert other.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-5)
    assert whole[1].points[-1].metrics["kl_baseline"] > 0
    first, second = whole[1].evaluations[-1], parts.evaluations[-1]
    assert first.metrics == pytest.approx(second.metrics, rel=1e-3, abs=1e-5)


def test_feedback_is_learnt_and_held_out_answers_judge_it(whole: tuple[TrainingPaths, Any]) -> None:
    seen = whole[1]
    # Before the first update the model is its own reference.
    assert seen.points[0].loss == pytest.approx(0.5, abs=1e-4)
    assert seen.points[-1].loss < 0.5
    held_out = seen.evaluations[-1].metrics
    names = ("feedback_accuracy_low", "feedback_accuracy", "feedback_accuracy_high")
    low, accuracy, high = (held_out[name] for name in names)
    assert 0 <= low <= accuracy <= high <= 1
    assert held_out["rewards_desirable"] > held_out["rewards_undesirable"]
