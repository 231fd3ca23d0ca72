"""``tailrace runs``: submit runs, follow them, read their results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli import exit_codes
from tailrace.cli.absence import Absence
from tailrace.cli.commands.cancel import cancel
from tailrace.cli.commands.compare import compare
from tailrace.cli.commands.judge import judge
from tailrace.cli.commands.rollouts import rollouts
from tailrace.cli.commands.verify import verify as verify_run
from tailrace.cli.download import Part, download_run
from tailrace.cli.options import (
    EvalSetName,
    FollowRun,
    FollowStream,
    Json,
    Labels,
    Limit,
    NewRunId,
    OldFollow,
    Overrides,
    RunFile,
    RunName,
    Server,
    address,
    connect,
    label_conditions,
)
from tailrace.cli.preview import preview_run
from tailrace.cli.run_report.command import report
from tailrace.cli.show import output, run_view
from tailrace.cli.show.prediction_view import answer_text, reasoning_text
from tailrace.cli.show.views import log_text
from tailrace.cli.submit import follow_run, print_run, submit
from tailrace.client.blocking import Client
from tailrace.client.runs import TERMINAL_STATES
from tailrace.formats.data.verdict import Outcome
from tailrace.formats.stage_protocol import LogLevel
from tailrace.protomap import enum_word
from tailrace.spec import load_spec
from tailrace.v1 import evaluation_pb2, run_pb2

app = typer.Typer(help="Submit runs, follow them, read their results.", no_args_is_help=True)


def create(
    file: RunFile,
    run_id: NewRunId = "",
    overrides: Overrides = None,
    follow_it: FollowRun = False,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check everything, start nothing.")
    ] = False,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="First show the examples that it trains on, as `tailrace datasets preview` does; "
            "with --validate-only nothing else starts. Needs the extra `training`.",
        ),
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Submit a run; with --follow the exit code is that of its end."""
    spec = load_spec(file, overrides=overrides or ())
    if preview:
        with connect(server) as client:
            preview_run(client, spec, on_stderr=as_json)
    if not validate_only:
        submit(spec, run_id, server, follow_it=follow_it, as_json=as_json)
        return
    with connect(server) as client:
        run = client.create_run(spec, run_id=run_id, validate_only=True)
    if as_json:
        output.print_json(output.plain(run))
    else:
        output.console().print(f"{file} is a valid run of {len(run.stages)} stages")
        for stage in run.stages:
            if stage.waiting_reason:
                output.console().print(
                    output.one_line(f"{stage.id} would wait: {stage.waiting_reason}")
                )


def get(
    run: RunName,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="Exit with the code of the run's end; 4 while it has not ended."
        ),
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show a run: state, stages, result, gates."""
    with connect(server) as client:
        message = client.get_run(run)
    print_run(message, as_json)
    if exit_code:
        has_ended = message.state in TERMINAL_STATES
        raise typer.Exit(exit_codes.of_run(message) if has_ended else exit_codes.CONFLICT)


def list_(
    state: Annotated[
        str,
        typer.Option("--state", metavar="STATE", help="Only runs in this state, such as RUNNING."),
    ] = "",
    labels: Labels = None,
    filter: Annotated[
        str,
        typer.Option(
            "--filter", metavar="FILTER", help='AIP-160, such as `create_time >= "2026-01-01"`.'
        ),
    ] = "",
    limit: Limit = 50,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    conditions = [f"state = {state.upper()}"] if state else []
    conditions += [*label_conditions(labels or ()), *([filter] if filter else [])]
    with connect(server) as client:
        runs = list(client.list_runs(filter=" AND ".join(conditions), limit=limit))
    if as_json:
        output.print_messages(runs)
    else:
        run_view.print_runs(runs)


def watch(run: RunName, server: Server = None, as_json: Json = False) -> None:
    """Follow a run live until it has ended; the exit code is that of its end."""
    if not as_json:
        raise typer.Exit(follow_run(run, server, as_json))
    with _following(server) as client:
        code = exit_codes.RUN_FAILED
        for snapshot in client.watch_run(run):
            output.print_json_line(output.plain(snapshot))
            code = exit_codes.of_run(snapshot)
    raise typer.Exit(code)


def logs(
    run: RunName,
    follow_it: FollowStream = False,
    old_follow: OldFollow = False,
    stage: Annotated[str, typer.Option("--stage", metavar="STAGE", help="Only this stage.")] = "",
    level: Annotated[LogLevel, typer.Option("--level", help="Lowest severity.")] = LogLevel.DEBUG,
    contains: Annotated[
        str, typer.Option("--contains", metavar="TEXT", help="Only lines with this text.")
    ] = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Print log lines, each exactly once; JSON is one line per log line."""
    del old_follow
    # Every line is at least DEBUG; only an unfiltered log can be verified as a whole.
    min_level = "" if level is LogLevel.DEBUG else level.value
    out = output.console()
    with _following(server) as client:
        batches = client.stream_logs(
            run, follow=follow_it, stage=stage, min_level=min_level, contains=contains
        )
        for batch in batches:
            for line in batch.lines:
                if as_json:
                    where = {"stage": batch.stage, "attempt": batch.attempt}
                    output.print_json_line({**where, **output.plain(line)})
                else:
                    out.print(log_text(batch.stage, batch.attempt, line), soft_wrap=True)


def metrics(
    run: RunName,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="METRIC", help="Only this metric; repeatable."),
    ] = None,
    follow_it: FollowStream = False,
    old_follow: OldFollow = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Print metric points; JSON is one line per point."""
    del old_follow
    out = output.console()
    with _following(server) as client:
        for batch in client.stream_metrics(run, follow=follow_it, metric_names=names or ()):
            for point in batch.points:
                if as_json:
                    where = {"stage": batch.stage, "attempt": batch.attempt}
                    output.print_json_line({**where, **output.plain(point)})
                else:
                    text = f"{batch.stage:<6} {point.step:>8} {point.name} {point.value:.6g}"
                    out.print(output.one_line(text), soft_wrap=True)


def predictions(
    run: RunName,
    eval_set: EvalSetName = "",
    limit: Limit = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List the model's predictions."""
    with connect(server) as client:
        messages = list(client.list_predictions(run, eval_set=eval_set, limit=limit))
    if as_json:
        output.print_messages(messages)
        return
    finish = evaluation_pb2.FinishReason.DESCRIPTOR
    rows: list[tuple[str, ...]] = [
        (
            p.eval_set,
            p.example_id,
            p.prompt,
            reasoning_text(p),
            answer_text(p) or p.error,
            enum_word(finish, p.finish_reason),
        )
        for p in messages
    ]
    heads = ["EVAL SET", "ITEM", "PROMPT", "REASONING", "ANSWER", "ENDED BY"]
    if not any(map(reasoning_text, messages)):
        position = heads.index("REASONING")
        heads.pop(position)
        rows = [(*row[:position], *row[position + 1 :]) for row in rows]
    output.print_table(heads, rows, text=("PROMPT", "REASONING", "ANSWER"), keys=("ITEM",))


def verdicts(
    run: RunName,
    eval_set: EvalSetName = "",
    judge: Annotated[str, typer.Option("--judge", metavar="JUDGE", help="Only this judge.")] = "",
    outcome: Annotated[Outcome | None, typer.Option("--outcome", help="Only this outcome.")] = None,
    limit: Limit = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List the judges' verdicts."""
    word = outcome.value if outcome else ""
    with connect(server) as client:
        messages = list(
            client.list_verdicts(run, eval_set=eval_set, judge=judge, outcome=word, limit=limit)
        )
    if as_json:
        output.print_messages(messages)
        return
    words = evaluation_pb2.Outcome.DESCRIPTOR
    rows = [
        (
            v.judge,
            v.eval_set,
            v.example_id,
            enum_word(words, v.outcome),
            v.expected,
            v.extracted,
            v.reason,
        )
        for v in messages
    ]
    heads = ["JUDGE", "EVAL SET", "ITEM", "OUTCOME", "EXPECTED", "FOUND", "REASON"]
    output.print_table(heads, rows, text=("EXPECTED", "FOUND", "REASON"), keys=("ITEM",))


def download(
    run: RunName,
    folder: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder to write to; created if missing.",
            show_default=False,
        ),
    ],
    parts: Annotated[
        list[Part] | None,
        typer.Option("--only", help="Only this part; repeatable (default: all but checkpoints)."),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Download the trained model (`final_model/`) and the result files of a run."""
    with connect(server) as client:
        written = download_run(client, run, folder, parts or ())
    if as_json:
        output.print_json({part.value: str(path) for part, path in written.items()})
    else:
        output.print_fields((part.value, path) for part, path in written.items())


def verify(
    run: RunName,
    other: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Run to compare with, such as an uninterrupted one."),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show the certificates of a run's training states, or compare them with another run's.

    The exit code is 0 if they are equal and 8 if they differ; the output says why.
    """
    with connect(server) as client:
        code = verify_run(client, run, other, as_json=as_json)
    raise typer.Exit(code)


def retry(run: RunName, server: Server = None, as_json: Json = False) -> None:
    """Queue a failed or cancelled run again, from its first unfinished stage."""
    with connect(server) as client:
        _print_state(client.retry_run(run), as_json)


@contextmanager
def _following(server: str | None) -> Iterator[Client]:
    """Connect a client that reports on stderr when its streams wait for the control plane."""
    with (
        Absence(address(server), output.console(stderr=True)) as absence,
        connect(server, absence.retry) as client,
    ):
        yield client


def _print_state(run: run_pb2.Run, as_json: bool) -> None:
    if as_json:
        output.print_json(output.plain(run))
    else:
        output.console().print(output.one_line(f"{run.name} {run_view.run_state(run)}"))


# In the order of use, as the help lists them.
for _name, _command in (
    ("create", create),
    ("list", list_),
    ("get", get),
    ("watch", watch),
    ("logs", logs),
    ("metrics", metrics),
    ("rollouts", rollouts),
    ("predictions", predictions),
    ("verdicts", verdicts),
    ("report", report),
    ("download", download),
    ("judge", judge),
    ("compare", compare),
    ("verify", verify),
    ("cancel", cancel),
    ("retry", retry),
):
    app.command(_name)(_command)
app.command("follow", hidden=True)(watch)
