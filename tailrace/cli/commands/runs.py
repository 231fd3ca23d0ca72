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
from tailrace.cli.commands.verify import verify as verify_run
from tailrace.cli.download import Part, download_run
from tailrace.cli.options import Json, Limit, Output, RunName, Server, address, connect
from tailrace.cli.run_report.command import report
from tailrace.cli.show import output, run_view
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

app.command("cancel")(cancel)
app.command("compare")(compare)
app.command("judge")(judge)
app.command("report")(report)

EvalSet = Annotated[
    str,
    typer.Option("--eval-set", help="Only this eval set; NAME is any version, NAME@2 that one."),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")]


@app.command("create")
def create(
    file: Annotated[
        Path, typer.Option("--file", "-f", help="Run file, YAML or JSON.", show_default=False)
    ],
    run_id: Annotated[str, typer.Option("--id", help="Id of the run; else chosen.")] = "",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value: train.seed=7."),
    ] = None,
    follow_it: Annotated[
        bool, typer.Option("--follow", help="Show it until it has ended.")
    ] = False,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check everything, start nothing.")
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Submit a run. With --follow the exit code tells how it ended."""
    spec = load_spec(file, overrides=overrides or ())
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


@app.command("get")
def get(
    run: RunName,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="Let the exit code tell how it ended; 4 while it has not ended."
        ),
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show a run: state, stages, result, gates."""
    with connect(server) as client:
        found = client.get_run(run)
    print_run(found, as_json)
    if exit_code:
        ended = found.state in TERMINAL_STATES
        raise typer.Exit(exit_codes.of_run(found) if ended else exit_codes.CONFLICT)


@app.command("list")
def list_(
    state: Annotated[str, typer.Option("--state", help="Only this state, such as RUNNING.")] = "",
    filter: Annotated[
        str, typer.Option("--filter", help='AIP-160, such as `labels.team = "search"`.')
    ] = "",
    limit: Limit = 50,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    conditions = [f"state = {state.upper()}"] if state else []
    conditions += [filter] if filter else []
    with connect(server) as client:
        found = list(client.list_runs(filter=" AND ".join(conditions), limit=limit))
    if as_json:
        output.print_messages(found)
    else:
        run_view.print_runs(found)


@app.command("watch")
def watch(run: RunName, server: Server = None, as_json: Json = False) -> None:
    """Follow a run live until it has ended; the exit code tells how."""
    if not as_json:
        raise typer.Exit(follow_run(run, server, as_json))
    with _following(server) as client:
        code = exit_codes.RUN_FAILED
        for snapshot in client.watch_run(run):
            output.print_json_line(output.plain(snapshot))
            code = exit_codes.of_run(snapshot)
    raise typer.Exit(code)


@app.command("logs")
def logs(
    run: RunName,
    follow_it: Follow = False,
    stage: Annotated[str, typer.Option("--stage", help="Only this stage.")] = "",
    level: Annotated[LogLevel, typer.Option("--level", help="Least severity.")] = LogLevel.DEBUG,
    contains: Annotated[str, typer.Option("--contains", help="Only lines with this text.")] = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Print log lines, each exactly once; JSON is one line per log line."""
    # Every line is at least DEBUG; no filter lets the whole log be verified.
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


@app.command("metrics")
def metrics(
    run: RunName,
    names: Annotated[
        list[str] | None, typer.Option("--name", help="Only this metric; may be repeated.")
    ] = None,
    follow_it: Follow = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Print metric points; JSON is one line per point."""
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


@app.command("predictions")
def predictions(
    run: RunName,
    eval_set: EvalSet = "",
    limit: Limit = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List what the model answered."""
    with connect(server) as client:
        found = list(client.list_predictions(run, eval_set=eval_set, limit=limit))
    if as_json:
        output.print_messages(found)
        return
    finish = evaluation_pb2.FinishReason.DESCRIPTOR
    rows = [
        (p.eval_set, p.example_id, p.prompt, p.text or p.error, enum_word(finish, p.finish_reason))
        for p in found
    ]
    heads = ["EVAL SET", "ITEM", "PROMPT", "PREDICTION", "ENDED BY"]
    output.print_table(heads, rows, text=("PROMPT", "PREDICTION"), keys=("ITEM",))


@app.command("verdicts")
def verdicts(
    run: RunName,
    eval_set: EvalSet = "",
    judge: Annotated[str, typer.Option("--judge", help="Only this judge.")] = "",
    outcome: Annotated[Outcome | None, typer.Option("--outcome", help="Only this outcome.")] = None,
    limit: Limit = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List what the judges decided."""
    wanted = outcome.value if outcome else ""
    with connect(server) as client:
        listed = client.list_verdicts(
            run, eval_set=eval_set, judge=judge, outcome=wanted, limit=limit
        )
        found = list(listed)
    if as_json:
        output.print_messages(found)
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
        for v in found
    ]
    heads = ["JUDGE", "EVAL SET", "ITEM", "OUTCOME", "EXPECTED", "FOUND", "REASON"]
    output.print_table(heads, rows, text=("EXPECTED", "FOUND", "REASON"), keys=("ITEM",))


@app.command("download")
def download(
    run: RunName,
    folder: Output,
    parts: Annotated[
        list[Part] | None,
        typer.Option(
            "--only", help="Only this part; may be repeated. Default: all but checkpoints."
        ),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Fetch the trained model (`final_model/`) and the result files of a run."""
    with connect(server) as client:
        written = download_run(client, run, folder, parts or ())
    if as_json:
        output.print_json({part.value: str(path) for part, path in written.items()})
    else:
        output.print_fields((part.value, path) for part, path in written.items())


@app.command("verify")
def verify(
    run: RunName,
    other: Annotated[
        str | None,
        typer.Argument(metavar="[RUN2]", help="A run to compare with, such as an undisturbed one."),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show the certificates of a training's states, or compare them with another run's.

    The exit code is 0 when they are equal and 8 when they differ; the output says why.
    """
    with connect(server) as client:
        code = verify_run(client, run, other, as_json=as_json)
    raise typer.Exit(code)


@app.command("retry")
def retry(run: RunName, server: Server = None, as_json: Json = False) -> None:
    """Queue a failed or cancelled run again from its first unfinished stage."""
    with connect(server) as client:
        _print_state(client.retry_run(run), as_json)


@contextmanager
def _following(server: str | None) -> Iterator[Client]:
    """Connect a client that says on stderr when its streams wait for the control plane."""
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
