"""Runs as rows of lists: their main score, loss, slot and gates."""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.cli.run_report.scores import Bar, card, gate_outcome
from tailrace.cli.show import run_view
from tailrace.v1 import evaluation_pb2, run_pb2


@dataclass(frozen=True)
class RunRow:
    """Run with the figures of a list."""

    run: run_pb2.Run
    loss: float | None
    """Last training loss; None without a finished training."""
    score: Bar | None
    """Main score; None without a judged prediction."""
    scored_on: str
    """Judge, eval set and number of further scores."""
    place: str
    """Slot that runs it, or the reason for which none does."""
    gates: str
    """Outcome of all gates together: ``passed``, ``failed``, ``error``, empty without gates."""
    gates_passed: int


def run_row(run: run_pb2.Run) -> RunRow:
    """Return a run with its figures."""
    trained = run_view.train_result(run)
    score = main_score(run)
    outcomes = [gate_outcome(gate) for gate in run.gates]
    worst = next((word for word in ("error", "failed", "passed") if word in outcomes), "")
    return RunRow(
        run=run,
        loss=None if trained is None else trained.last_loss,
        score=None if score is None else card(score).bar,
        scored_on="" if score is None else _scored_on(run, score),
        place=_place(run),
        gates=worst,
        gates_passed=outcomes.count("passed"),
    )


def main_score(run: run_pb2.Run) -> evaluation_pb2.JudgeScore | None:
    """Return the score by which lists sort: the first of the trained model, else of any."""
    scores = [score for score in run_view.scores(run) if score.HasField("score")]
    trained = [s for s in scores if s.model_role == evaluation_pb2.MODEL_ROLE_TRAINED]
    return next(iter(trained or scores), None)


def _scored_on(run: run_pb2.Run, score: evaluation_pb2.JudgeScore) -> str:
    count = len(run_view.scores(run)) - 1
    further = f" and {count} more" if count else ""
    return f"{score.judge} on {score.eval_set}{further}"


def _place(run: run_pb2.Run) -> str:
    for stage in run.stages:
        if stage.state == run_pb2.STAGE_STATE_RUNNING and stage.attempts:
            attempt = stage.attempts[-1]
            return f"{attempt.worker.removeprefix('workers/')} {attempt.slot}"
        if stage.waiting_reason:
            return stage.waiting_reason
    return ""
