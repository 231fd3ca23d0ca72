"""Preview of training examples on this machine: ``training.preview`` as a child process.

The SDK does not import the training library, which needs the extra ``training``.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from tailrace import launcher
from tailrace.cli import exit_codes
from tailrace.cli.errors import CommandError
from tailrace.cli.show import output
from tailrace.client.blocking import Client
from tailrace.datasets.content import local_file
from tailrace.formats.model.files import is_tokenizer_file, size_problem
from tailrace.formats.model.folder import CONFIG_FILE
from tailrace.formats.schema import to_mapping
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.transfer import download_blob

FIRST_LINES = 10_000
"""Number of lines that a preview reads unless it is asked for all."""

_MODULE = "training.preview"
_NEEDED = ("training", "transformers", "tokenizers", "jax")
_SHOWN_WORDS = 20


def preview_dataset(
    client: Client,
    dataset: str,
    model: str,
    options: Sequence[str],
    *,
    every_line: bool = False,
    as_json: bool = False,
) -> None:
    """Print the examples that a training on a dataset sees.

    Args:
        client: Client of the server.
        dataset: Name of a dataset, or path of a file.
        model: Folder, hub id or imported model; empty if the options name a preset.
        options: Further arguments of ``training.preview``.
        every_line: Read every line, not only the first :data:`FIRST_LINES`.
        as_json: Print JSON.

    Raises:
        CommandError: The extra ``training`` is missing, or the preview failed.
        TailraceError: A call failed.
        typer.Exit: The preview refused its input and has printed the reason.
    """
    require_training()
    limit = None if every_line else FIRST_LINES
    with local_file(client, dataset, limit) as file, tokenizer_of(client, model) as source:
        arguments = ["--dataset", str(file), "--all", *options]
        arguments += ["--model", source] if source else []
        if as_json:
            document = json.loads(run_training(arguments))
            document["dataset"] |= {"name": dataset, "first_lines": limit}
            output.print_json(document)
            return
        run_training(arguments, show=True)
    if limit is not None:
        note = f"read at most the first {limit:,} lines of {dataset}; --all reads every line"
        output.console(stderr=True).print(output.one_line(note))


def preview_run(client: Client, spec: RunSpec, *, on_stderr: bool) -> None:
    """Print the examples that the TRAIN stage of a run would see; errors as preview_dataset.

    Args:
        client: Client of the server.
        spec: Spec of the run.
        on_stderr: Print on standard error, because standard output is a document.
    """
    if spec.train is None or spec.model is None or spec.dataset is None:
        raise CommandError("the run has no train block: there are no examples to preview")
    require_training()
    model = spec.model.source or ""
    with (
        local_file(client, spec.dataset, FIRST_LINES) as file,
        tokenizer_of(client, model) as source,
        tempfile.TemporaryDirectory(prefix="tailrace-preview-") as folder,
    ):
        config = Path(folder) / "config.yaml"
        # JSON is YAML.
        blocks = {"model": to_mapping(spec.model), "train": to_mapping(spec.train)}
        config.write_text(json.dumps(blocks), encoding="utf-8")
        arguments = ["--dataset", str(file), "--all", "--config", str(config)]
        arguments += ["--model", source] if source else []
        arguments += ["--template-date", spec.template_date] if spec.template_date else []
        run_training(arguments, show=True, on_stderr=on_stderr)


def token_totals(client: Client, dataset: str, model: str) -> dict[str, Any]:
    """Return the totals of a whole dataset under a model's tokenizer and chat template.

    Raises:
        CommandError: As :func:`preview_dataset`.
        TailraceError: A call failed.
    """
    require_training()
    with local_file(client, dataset) as file, tokenizer_of(client, model) as source:
        arguments = ["--dataset", str(file), "--all", "--examples", "0", "--model", source]
        totals: dict[str, Any] = json.loads(run_training(arguments))["totals"]
    return totals


def require_training() -> None:
    """Require the training library on this machine.

    Raises:
        CommandError: It is not installed; the message says how to get it.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"{', '.join(missing)} cannot be imported: chat templates and tokens need the extra "
            "`training` on this machine (pip install 'tailrace[training]')"
        )


@contextmanager
def tokenizer_of(client: Client, model: str) -> Iterator[str]:
    """Provide a model whose tokenizer can be opened here.

    Of an imported model (``models/…``) only the files of the tokenizer and the configuration are
    downloaded; a folder or a hub id is provided unchanged.

    Raises:
        CommandError: A file of the model is larger than a tokenizer's may be.
        TailraceError: There is no such model, or a call failed.
    """
    if not model.startswith("models/") or Path(model).is_dir():
        yield model
        return
    artifact = client.get_model(model).artifact
    with tempfile.TemporaryDirectory(prefix="tailrace-tokenizer-") as folder:
        for file in artifact.files:
            if file.path != CONFIG_FILE and not is_tokenizer_file(file.path):
                continue
            if problem := size_problem(file.path, file.size_bytes):
                raise CommandError(f"{model}: {file.path} {problem}")
            target = Path(folder) / file.path
            download_blob(client.channel, file.sha256, file.size_bytes, target)
        yield folder


def run_training(arguments: Sequence[str], *, show: bool = False, on_stderr: bool = False) -> str:
    """Run ``training.preview`` until its end and return its output.

    Args:
        arguments: Arguments of the program.
        show: Let it write to the standard streams and return nothing (default: it prints JSON).
        on_stderr: Its standard output is this process's standard error.

    Raises:
        CommandError: It ended with an error.
        typer.Exit: It ended with an error that it has shown.
    """
    # Without -P a folder `training` in the working directory would be taken for the library.
    program = [sys.executable, "-P", "-m", _MODULE, *arguments, *([] if show else ["--json"])]
    argv = launcher.command(signal.SIGKILL, program)
    if show:
        sys.stdout.flush()
        status = subprocess.run(
            argv, check=False, stdout=sys.stderr if on_stderr else None
        ).returncode
        if status:
            _check_signal(status)
            raise typer.Exit(exit_codes.BAD_INPUT)
        return ""
    ended = subprocess.run(argv, check=False, capture_output=True, text=True, encoding="utf-8")
    if ended.returncode:
        _check_signal(ended.returncode)
        words = "\n".join(ended.stderr.splitlines()[-_SHOWN_WORDS:])
        raise CommandError(words.removeprefix("error: ") or f"{_MODULE} failed")
    return ended.stdout


def _check_signal(status: int) -> None:
    if status < 0:
        name = signal.Signals(-status).name
        raise CommandError(f"{_MODULE} was killed by {name}", exit_codes.FAULT)
