"""Parts of what a training method shows: trainings in folders, and greedy answers compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import ModelRole, Prediction
from tailrace.formats.spec.judge_spec import JudgeSpec
from tailrace.formats.spec.run_spec import InferSpec, ModelSpec, TrainSpec
from training.generate.predict import Evaluated, predict
from training.judging.all_judges import JudgeInputs, run_judges
from training.observer import LoggingObserver, Observer
from training.stage.training_run import TrainingPaths, run_training

EVAL_SET = "sums"


@dataclass(frozen=True)
class Gain:
    """Greedy pass@1 before and after a training, on the same prompts."""

    before: float
    after: float
    wins: int
    losses: int
    p_value: float
    """Of the paired comparison."""
    prompts: int

    @property
    def rises(self) -> bool:
        """True if more answers pass than before."""
        return self.after > self.before

    @property
    def text(self) -> str:
        """The figures in a line."""
        return (
            f"greedy pass@1 on {self.prompts} held-out sums: {self.before:.3f} -> "
            f"{self.after:.3f}, {self.wins} won, {self.losses} lost, p = {self.p_value:.2g}"
        )


def train_here(spec: TrainSpec, records: Any, folder: Path, output: Path) -> Path:
    """Train the model of ``folder`` and return the folder of the final model."""
    paths = TrainingPaths.in_folder(output)
    observer = LoggingObserver()
    run_training(ModelSpec(source=folder.name), spec, records, paths, observer, folder=folder)
    return paths.final_model


def answers_compared(
    base: Path,
    trained: Path,
    pairs: Sequence[tuple[str, str]],
    verdicts: Path,
    *,
    marked: bool = True,
) -> Gain:
    """Return the gain of ``trained`` over ``base``; answers end with a marker if ``marked``."""
    items = [
        EvalItem(str(i), prompt, expected_answer=answer, marked=marked)
        for i, (prompt, answer) in enumerate(pairs)
    ]
    eval_sets = {EVAL_SET: items}
    spec = InferSpec(max_new_tokens=24, eval_sets=[EVAL_SET])
    predictions: list[Prediction] = []
    roles = {ModelRole.BASE: base, ModelRole.TRAINED: trained}
    for role, folder in roles.items():
        predictions += predict(Evaluated.open(folder), eval_sets, spec, role, Observer())
    inputs = JudgeInputs(eval_sets, predictions, list(roles))
    result = run_judges([JudgeSpec("answer_correctness")], inputs, verdicts, Observer())
    scores = {score.model_role: score.score or 0.0 for score in result.scores}
    lift = result.comparisons[0]
    return Gain(
        before=scores[ModelRole.BASE],
        after=scores[ModelRole.TRAINED],
        wins=lift.wins,
        losses=lift.losses,
        p_value=1.0 if lift.p_value is None else lift.p_value,
        prompts=len(pairs),
    )
