"""``tailrace models``: models from which runs can start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.commands import model_serving
from tailrace.cli.errors import CommandError
from tailrace.cli.options import (
    ContentId,
    Description,
    Json,
    Limit,
    RunName,
    Server,
    connect,
    content_id,
)
from tailrace.cli.run_report.scores import gate_outcome
from tailrace.cli.show import output
from tailrace.transfer import download_artifact
from tailrace.transfer.model_folder import model_files
from tailrace.v1 import evaluation_pb2, model_pb2

Name = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Id or name (`models/…`): the newest version, or with `@VERSION` or `@ALIAS`.",
    ),
]

app = typer.Typer(help="Models from which runs can start.", no_args_is_help=True)


@app.command("import")
def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Model folder in Hugging Face layout, or a PEFT adapter's."
        ),
    ],
    model_id: ContentId = None,
    description: Description = "",
    base: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Base model of a PEFT adapter (`models/…`; default: as the adapter names it).",
        ),
    ] = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Import a model folder; run files then name it `models/ID`.

    Only the files of a model are sent: no hidden files, pickles, code or documentation.
    """
    try:
        _print_left_out(folder)
        with connect(server) as client:
            model = client.import_model(
                folder,
                model_id or content_id(folder.resolve().name),
                description=description,
                base=base,
            )
    except (ValueError, NotADirectoryError) as error:
        raise CommandError(str(error)) from error
    _print(model, as_json)


@app.command("list")
def list_(limit: Limit = None, server: Server = None, as_json: Json = False) -> None:
    """List models, newest first."""
    with connect(server) as client:
        models = list(client.list_models(limit=limit))
    if as_json:
        output.print_messages(models)
        return
    rows = [
        (
            f"{m.name}@{m.version}",
            " ".join(m.aliases),
            m.architecture,
            output.size(m.artifact.size_bytes),
            output.moment(m.create_time),
            m.description,
        )
        for m in models
    ]
    output.print_table(
        ["MODEL", "ALIASES", "ARCHITECTURE", "SIZE", "CREATED", "DESCRIPTION"],
        rows,
        text=("DESCRIPTION",),
    )


@app.command("get")
def get(
    name: Name,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show a version of a model with its files."""
    with connect(server) as client:
        _print(client.get_model(name), as_json)


@app.command("promote")
def promote(
    run: RunName,
    model_id: Annotated[str, typer.Argument(metavar="MODEL", help="Id of the model.")],
    description: Description = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote also without gates that were passed.")
    ] = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Reason; required with --force.")
    ] = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Make the final model of a run the next version of a model."""
    with connect(server) as client:
        model = client.promote_model(
            run, model_id, description=description, force=force, reason=reason
        )
    _print(model, as_json)


@app.command("alias")
def alias(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Id or name (`models/…`).")],
    alias_name: Annotated[str, typer.Argument(metavar="ALIAS", help="Alias, such as `prod`.")],
    version: Annotated[
        int, typer.Argument(metavar="VERSION", min=0, help="Version; 0 removes the alias.")
    ],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Move an alias of a model to a version; runs name it `models/MODEL@ALIAS`."""
    with connect(server) as client:
        model = client.set_model_alias(name, alias_name, version)
    if version == 0 and not as_json:
        output.print_fields([("removed", f"{model.name}@{alias_name}")])
    else:
        _print(model, as_json)


@app.command("delete")
def delete(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Id or name (`models/…`): the whole model, or with `@VERSION` one version.",
        ),
    ],
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Succeed if there is no such model or version.")
    ] = False,
    server: Server = None,
) -> None:
    """Delete a version of a model, or a model with its versions and aliases.

    Refused while unfinished runs use it, or while aliases refer to the version.
    """
    with connect(server) as client:
        client.delete_model(name, allow_missing=allow_missing)


@app.command("lineage")
def lineage(name: Name, server: Server = None, as_json: Json = False) -> None:
    """Show the trainings that led to a version, with their scores, and the moves of its aliases."""
    with connect(server) as client:
        model = client.get_model(name)
    if as_json:
        document = output.plain(model)
        parts = ("lineage", "alias_history")
        output.print_json({part: document.get(part, []) for part in parts})
        return
    rows = [
        (step.model or "-", step.run or "-", step.method or "-", step.base or "-",
         step.teacher or "-", step.dataset or "-", _scores(step), _gates(step))
        for step in model.lineage
    ]  # fmt: skip
    heads = ["MODEL", "RUN", "METHOD", "STARTED FROM", "TEACHER", "DATASET", "SCORES", "GATES"]
    output.print_table(heads, rows)
    if model.alias_history:
        output.console().print()
        moves = [
            (move.alias, move.from_version or "-", move.to_version or "-", output.moment(move.time))
            for move in model.alias_history
        ]
        output.print_table(["ALIAS", "FROM", "TO", "TIME"], moves)


@app.command("download")
def download(
    name: Name,
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
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Download the files of a version; files that have the right content stay."""
    with connect(server) as client:
        model = client.get_model(name)
        try:
            download_artifact(client.channel, model.artifact, folder)
        except ValueError as error:
            raise CommandError(str(error)) from error
    if as_json:
        output.print_json({"model": f"{model.name}@{model.version}", "folder": str(folder)})
    else:
        output.print_fields([("model", f"{model.name}@{model.version}"), ("folder", folder)])


app.command("export")(model_serving.export)
app.command("chat")(model_serving.chat)
app.command("serve")(model_serving.serve)


def _print_left_out(folder: Path) -> None:
    """Print the files that are not sent, with the reason.

    Raises:
        NotADirectoryError: There is no such folder.
    """
    out = output.console(stderr=True)
    for path, problem in model_files(folder).left_out.items():
        out.print(output.one_line(f"left out: {path} {problem}"), soft_wrap=True)


def _scores(step: model_pb2.LineageStep) -> str:
    return "; ".join(
        f"{score.judge} on {score.eval_set}: {score.score:.3f} "
        f"({score.interval_low:.3f}-{score.interval_high:.3f})"
        for score in step.scores
        if score.HasField("score") and score.model_role != evaluation_pb2.MODEL_ROLE_BASE
    )


def _gates(step: model_pb2.LineageStep) -> str:
    return "; ".join(f"{gate.name} {gate_outcome(gate)}" for gate in step.gates)


def _print(model: model_pb2.Model, as_json: bool) -> None:
    if as_json:
        output.print_json(output.plain(model))
        return
    output.print_fields(
        [
            ("model", f"{model.name}@{model.version}"),
            ("aliases", " ".join(model.aliases)),
            ("promoted by force", model.force_reason),
            ("description", model.description),
            ("architecture", model.architecture),
            ("size", output.size(model.artifact.size_bytes)),
            ("artifact", model.artifact.name),
            ("created", output.moment(model.create_time)),
        ]
    )
    rows = [(file.path, output.size(file.size_bytes), file.sha256) for file in model.artifact.files]
    output.console().print()
    output.print_table(["FILE", "SIZE", "SHA256"], rows)
