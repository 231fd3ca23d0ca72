"""The command tree, and the end of a command: its exit code."""

from __future__ import annotations

import inspect
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

# Run files are YAML: the command line cannot do without it.
import yaml  # noqa: F401

from tailrace.access import INSECURE_VARIABLE
from tailrace.channel import SERVER_VARIABLE
from tailrace.cli import errors
from tailrace.cli.commands import (
    baselines,
    datasets,
    demo,
    evalsets,
    models,
    pools,
    runs,
    up,
    worker,
    workers,
)
from tailrace.cli.commands.access import audit, certs, profiles, projects, quotas, tokens
from tailrace.environment import (
    CA_VARIABLE,
    CERTIFICATE_VARIABLE,
    KEY_VARIABLE,
    PROFILE_VARIABLE,
    PROJECT_VARIABLE,
    TLS_VARIABLE,
    TOKEN_VARIABLE,
)

app = typer.Typer(
    name="tailrace",
    help="LLM post-training as a service: train, infer and judge over gRPC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=(
        "Exit codes: 0 ok, 1 run failed, 2 bad input, 3 not found, 4 conflict, 5 no answer, "
        "6 refused, 7 run cancelled, 8 runs differ, 9 gate failed, 70 fault, 130 interrupted."
    ),
)
# In the order of use, as the help lists them.
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("worker")(worker.worker)
app.command("console")(up.console)
app.add_typer(datasets.app, name="datasets")
app.add_typer(evalsets.app, name="evalsets")
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")
app.add_typer(baselines.app, name="baselines")
app.add_typer(pools.app, name="pools")
app.add_typer(workers.app, name="workers")
app.add_typer(quotas.app, name="quotas")
app.command("usage")(quotas.usage)
app.command("login")(profiles.login)
app.add_typer(profiles.app, name="profiles")
app.add_typer(projects.app, name="projects")
app.add_typer(tokens.app, name="tokens")
app.add_typer(audit.app, name="audit")
app.add_typer(certs.app, name="certs")


def _let_help_flow(commands: typer.Typer) -> None:
    """Join the lines of help texts, so that paragraphs wrap at the width of the terminal only."""
    for command in commands.registered_commands:
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(text.split()) for text in paragraphs)
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _let_help_flow(group.typer_instance)


_let_help_flow(app)


def _show_version(show_version: bool) -> None:
    if show_version:
        typer.echo(f"tailrace {version('tailrace')}")
        raise typer.Exit


def _file(name: str, help_text: str) -> Any:
    return typer.Option(name, metavar="FILE", help=help_text)


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="PROFILE", help="Profile to use.")
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Use TLS with a certificate of a public authority.")
    ] = False,
    ca: Annotated[Path | None, _file("--ca", "Use TLS with this authority's certificate.")] = None,
    cert: Annotated[
        Path | None, _file("--cert", "Certificate for a server that requires one.")
    ] = None,
    key: Annotated[Path | None, _file("--key", "Private key of the certificate.")] = None,
    token_file: Annotated[Path | None, _file("--token-file", "File with the API token.")] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Send the token in plaintext to another machine, too."),
    ] = False,
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            metavar="PROJECT",
            help="Project of the command (default: that of the profile or token, else `default`).",
        ),
    ] = None,
) -> None:
    del show_version
    options = {
        PROFILE_VARIABLE: profile,
        TLS_VARIABLE: "true" if tls else None,
        CA_VARIABLE: ca,
        CERTIFICATE_VARIABLE: cert,
        KEY_VARIABLE: key,
        TOKEN_VARIABLE: token_file,
        INSECURE_VARIABLE: "true" if insecure else None,
        PROJECT_VARIABLE: project,
    }
    # Variables, because `tailrace worker` starts a process that reads them.
    os.environ.update({name: str(value) for name, value in options.items() if value is not None})
    if profile is not None:
        # An option takes precedence over a variable.
        os.environ.pop(SERVER_VARIABLE, None)


def run() -> None:
    """Parse the arguments, run the command and end the process."""
    try:
        app()
    except errors.REPORTED as error:
        sys.exit(errors.error(error))
    except Exception as error:  # noqa: BLE001 - reported, and distinct from a failed run
        sys.exit(errors.fault(error))
