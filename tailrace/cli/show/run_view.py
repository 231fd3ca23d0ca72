"""A run in the terminal: summary, stages, scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tailrace.cli.show import output
from tailrace.protomap import enum_word
from tailrace.v1 import evaluation_pb2, run_pb2

Score = evaluation_pb2.JudgeScore

_GATE = run_pb2.GateOutcome.DESCRIPTOR
_KIND = evaluation_pb2.ComparisonKind.DESCRIPTOR
_ROLE = evaluation_pb2.ModelRole.DESCRIPTOR


def run_id(run: run_pb2.Run) -> str:
    """Return the id in ``runs/{run}``."""
    return run.name.removeprefix("runs/")


def run_state(run: run_pb2.Run) -> str:
    """Return the state in upper case, as filters spell it."""
    return enum_word(run_pb2.RunState.DESCRIPTOR, run.state).upper()


def stage_state(stage: run_pb2.Stage) -> str:
    """Return the state in upper case."""
    return enum_word(run_pb2.StageState.DESCRIPTOR, stage.state).upper()


def model_text(run: run_pb2.Run) -> str:
    """Return the model from which the run starts."""
    model = (run.resolved_spec if run.spec.predictions else run.spec).model
    return str(getattr(model, model.WhichOneof("from") or "source"))


def scores(run: run_pb2.Run) -> list[Score]:
    """Return the scores of the run's JUDGE stages."""
    return [score for stage in run.stages for score in stage.result.judge.scores]


def train_result(run: run_pb2.Run) -> evaluation_pb2.TrainResult | None:
    """Return the result of the TRAIN stage, or None."""
    for stage in run.stages:
        if stage.result.WhichOneof("result") == "train":
            return stage.result.train
    return None


def overlong_text(trained: evaluation_pb2.TrainResult) -> str:
    """Return ``3 examples truncated or dropped for their length``; empty for none."""
    count = trained.overlong
    return f"{count:,} examples truncated or dropped for their length" if count else ""


def score_text(score: Score) -> str:
    """Return ``13/54 = 0.241 (95%: 0.146-0.371)``, followed by figures outside the score."""
    if not score.HasField("score"):
        text = f"{score.passed}/{score.total}: nothing to score"
    else:
        interval = f"(95%: {score.interval_low:.3f}-{score.interval_high:.3f})"
        text = f"{score.passed}/{score.total} = {score.score:.3f} {interval}"
    return ", ".join([text, *_further_figures(score)])


def _further_figures(score: Score) -> Iterator[str]:
    if score.errors:
        bounds = f" ({score.error_low:.3f}-{score.error_high:.3f} if they were fails or passes)"
        yield f"{score.errors} errors" + (bounds if score.HasField("error_low") else "")
    if score.HasField("flexible_score"):
        yield f"flexible {score.flexible_score:.3f}"
    if score.HasField("marker_rate"):
        yield f"with marker {score.marker_rate:.3f}"
    if score.HasField("majority_score"):
        yield f"majority {score.majority_score:.3f}"
    if score.pass_at_k:
        # The report and --json have the smaller values of k, too.
        largest = score.pass_at_k[-1]
        yield f"pass@{largest.k} {largest.value:.3f}"
    if score.leaked:
        yield f"{score.leaked} items trained on"


def comparison_text(comparison: evaluation_pb2.JudgeComparison) -> str:
    """Return ``+0.250 (95%: +0.120 to +0.380), 30 wins, 5 losses, 19 ties, p 0.0001``."""
    counts = f"{comparison.wins} wins, {comparison.losses} losses, {comparison.ties} ties"
    if not comparison.HasField("difference"):
        return counts
    interval = f"(95%: {comparison.low:+.3f} to {comparison.high:+.3f})"
    return f"{comparison.difference:+.3f} {interval}, {counts}, p {comparison.p_value:.3g}"


def _score_name(score: Score, with_role: bool, with_judge: bool = True) -> str:
    judge = f"{score.judge} " if with_judge else ""
    role = f" {enum_word(_ROLE, score.model_role)}" if with_role else ""
    return f"{judge}{score.eval_set}{role}"


def _short_scores(run: run_pb2.Run) -> str:
    """Return ``eval_v2 base 13/54; eval_v2 trained 20/54``; judges and roles only if several."""
    run_scores = scores(run)
    several_judges = len({score.judge for score in run_scores}) > 1
    several_roles = len({score.model_role for score in run_scores}) > 1
    return "; ".join(
        f"{_score_name(score, several_roles, several_judges)} {score.passed}/{score.total}"
        for score in run_scores
    )


def print_runs(runs: Iterable[run_pb2.Run]) -> None:
    """Print a row per run."""
    rows = [
        (
            run_id(run),
            run_state(run),
            model_text(run),
            run.resolved_spec.dataset or run.spec.dataset,
            _short_scores(run),
            output.moment(run.create_time),
            output.duration(run.start_time, run.end_time),
        )
        for run in runs
    ]
    output.print_table(["RUN", "STATE", "MODEL", "DATASET", "SCORES", "CREATED", "TOOK"], rows)


def print_run(run: run_pb2.Run) -> None:
    """Print a run: fields, stages, result, error."""
    spec = run.resolved_spec if run.HasField("resolved_spec") else run.spec
    labels = ", ".join(f"{name}={value}" for name, value in sorted(spec.labels.items()))
    output.print_fields(
        [
            ("run", run.name),
            ("uid", run.uid),
            ("state", run_state(run)),
            ("model", model_text(run)),
            ("dataset", spec.dataset),
            ("predictions", run.spec.predictions),
            ("labels", labels),
            ("created", output.moment(run.create_time)),
            ("started", output.moment(run.start_time)),
            ("ended", output.moment(run.end_time)),
            ("created by", run.history[0].actor if run.history else ""),
            ("cancelled by", _canceller(run)),
        ]
    )
    if run.stages:
        output.console().print()
        _print_stages(run.stages)
    print_result(run)
    if run.HasField("error"):
        print_error(run.error)


def _canceller(run: run_pb2.Run) -> str:
    """Return who cancelled a run that is CANCELLING or CANCELLED."""
    cancelling, cancelled = (
        run_pb2.RunState.Name(state)
        for state in (run_pb2.RUN_STATE_CANCELLING, run_pb2.RUN_STATE_CANCELLED)
    )
    if run_pb2.RunState.Name(run.state) not in (cancelling, cancelled):
        return ""
    # A worker ends what a caller has asked to cancel: the first of two changes counts.
    requests = [
        change.actor
        for change in run.history
        if not change.stage
        and change.to_state in (cancelling, cancelled)
        and change.from_state != cancelling
    ]
    return requests[-1] if requests else ""


def print_result(run: run_pb2.Run) -> None:
    """Print loss, scores, comparisons and gates of a run that has them."""
    trained = train_result(run)
    fields: list[tuple[str, object]] = []
    if trained is not None:
        fields.append(
            ("loss", f"{output.loss(trained.first_loss)} -> {output.loss(trained.last_loss)}")
        )
        fields.append(("training", f"{trained.steps} steps, {trained.seconds:.1f} s"))
        fields.append(("overlong", overlong_text(trained)))
    run_scores = scores(run)
    several_roles = len({score.model_role for score in run_scores}) > 1
    fields += [(_score_name(score, several_roles), score_text(score)) for score in run_scores]
    fields += [
        (f"{c.judge} {c.eval_set} {enum_word(_KIND, c.kind)}", comparison_text(c))
        for stage in run.stages
        for c in stage.result.judge.comparisons
    ]
    if fields:
        output.console().print()
        output.print_fields(fields)
    if run.gates:
        output.console().print()
        rows = [(g.name, enum_word(_GATE, g.outcome), g.baseline, g.reason) for g in run.gates]
        columns = ["GATE", "OUTCOME", "AGAINST", "REASON"]
        output.print_table(columns, rows, text=("REASON",), shorten=False)


def print_error(error: run_pb2.StageError) -> None:
    """Print the cause of a failure, with the last log lines."""
    ending = f"exit status {error.exit_code}" if error.HasField("exit_code") else error.signal
    output.console().print()
    output.print_fields([("error", error.message), ("reason", error.reason), ("ended by", ending)])
    for line in error.log_tail:
        output.console().print(f"  | {output.one_line(line)}", soft_wrap=True)


def _print_stages(stages: Sequence[run_pb2.Stage]) -> None:
    rows = [
        (
            stage.id,
            stage_state(stage),
            f"{stage.progress.done}/{stage.progress.total} {stage.progress.unit}".strip()
            if stage.progress.total
            else "",
            stage.pool,
            stage.attempts[-1].worker.removeprefix("workers/") if stage.attempts else "",
            stage.attempt or "",
            output.duration(stage.start_time, stage.end_time),
        )
        for stage in stages
    ]
    columns = ["STAGE", "STATE", "PROGRESS", "POOL", "WORKER", "ATTEMPT", "TOOK"]
    output.print_table(columns, rows)
    output.print_fields((f"{s.id} waits", s.waiting_reason) for s in stages)
    output.print_fields((f"{s.id} reuses", s.cached_from) for s in stages)
