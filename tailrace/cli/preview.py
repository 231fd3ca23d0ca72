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
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import typer

from tailrace import launcher
from tailrace.cli import exit_codes
from tailrace.cli.errors import CommandError
from tailrace.cli.show import output
from tailrace.client.blocking import Client
from tailrace.datasets.content import local_file, stored_file
from tailrace.formats.catalog import PRESETS
from tailrace.formats.model.files import is_tokenizer_file, size_problem
from tailrace.formats.model.folder import CONFIG_FILE
from tailrace.formats.schema import to_mapping
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.transfer import download_blob

FIRST_LINES = 10_000
"""Number of lines that a preview reads unless it is asked for all."""

_MODULE = "training.preview"
_NEEDED = ("training", "transformers", "tokenizers", "jax")
_IMPORTED = "models/"
_LAST_LINES = 20
_STDERR = 2


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
        model: Folder, preset, hub id or imported model.
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
        arguments = [*_dataset(file), _model_argument(source), *options]
        is_part = limit is not None and _line_count(file) == limit
        if as_json:
            document = json.loads(run_training(arguments))
            document["dataset"] |= {"name": dataset, "complete": not is_part}
            output.print_json(document)
        else:
            run_training(arguments, show=True)
            _note_part(dataset, is_part)


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
    is_imported = model.startswith(_IMPORTED)
    with (
        stored_file(client, spec.dataset, FIRST_LINES) as file,
        imported_tokenizer(client, model) if is_imported else nullcontext(model) as source,
        tempfile.TemporaryDirectory(prefix="tailrace-preview-") as folder,
    ):
        config = Path(folder) / "config.yaml"
        # JSON is YAML.
        blocks = {"model": to_mapping(spec.model), "train": to_mapping(spec.train)}
        config.write_text(json.dumps(blocks), encoding="utf-8")
        arguments = [*_dataset(file), "--strict", f"--config={config}"]
        arguments += [f"--model={source}"] if source else []
        arguments += [f"--template-date={spec.template_date}"] if spec.template_date else []
        # In another folder: a hub id must not be taken for a folder of the same name.
        run_training(arguments, show=True, on_stderr=on_stderr, place=Path(folder))
        _note_part(spec.dataset, _line_count(file) == FIRST_LINES)


def token_totals(client: Client, dataset: str, model: str) -> dict[str, Any]:
    """Return the totals of a whole dataset under a model's tokenizer and chat template.

    Raises:
        CommandError: As :func:`preview_dataset`.
        TailraceError: A call failed.
    """
    require_training()
    with local_file(client, dataset) as file, tokenizer_of(client, model) as source:
        arguments = [*_dataset(file), "--examples=0", _model_argument(source)]
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
    """Provide a model whose tokenizer can be opened here: a folder, or a hub id.

    A folder comes before an imported model (``models/…``) of the same name; errors as
    :func:`imported_tokenizer`.
    """
    if model.startswith(_IMPORTED) and not Path(model).is_dir():
        with imported_tokenizer(client, model) as folder:
            yield folder
    else:
        yield model


@contextmanager
def imported_tokenizer(client: Client, model: str) -> Iterator[str]:
    """Provide a temporary folder with an imported model's tokenizer and configuration.

    No other file of the model is downloaded.

    Raises:
        CommandError: A file of the model is larger than a tokenizer's may be.
        TailraceError: There is no such model, or a call failed.
    """
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


def run_training(
    arguments: Sequence[str],
    *,
    show: bool = False,
    on_stderr: bool = False,
    place: Path | None = None,
) -> str:
    """Run ``training.preview`` until its end and return its output.

    Args:
        arguments: Arguments of the program.
        show: Let it write to the standard streams and return nothing (default: it prints JSON).
        on_stderr: Its standard output is this process's standard error.
        place: Its working directory (default: that of this process).

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
            argv, check=False, cwd=place, stdout=_STDERR if on_stderr else None
        ).returncode
        if status:
            _check_signal(status)
            raise typer.Exit(exit_codes.BAD_INPUT)
        return ""
    ended = subprocess.run(argv, check=False, capture_output=True, text=True, encoding="utf-8")
    if ended.returncode:
        _check_signal(ended.returncode)
        words = "\n".join(ended.stderr.splitlines()[-_LAST_LINES:])
        raise CommandError(words.removeprefix("error: ") or f"{_MODULE} failed")
    return ended.stdout


def _dataset(file: Path) -> list[str]:
    return [f"--dataset={file}", "--all"]


def _model_argument(model: str) -> str:
    """Return the argument for a model; a preset, whose tokenizer the dataset trains, is none."""
    is_preset = model in PRESETS and not Path(model).is_dir()
    return f"--preset={model}" if is_preset else f"--model={model}"


def _line_count(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def _note_part(dataset: str, is_part: bool) -> None:
    if is_part:
        note = f"the first {FIRST_LINES:,} lines of {dataset} were read (datasets preview --all "
        output.console(stderr=True).print(output.one_line(f"{note}reads every line)"))


def _check_signal(status: int) -> None:
    if status < 0:
        name = signal.Signals(-status).name
        raise CommandError(f"{_MODULE} was killed by {name}", exit_codes.FAULT)
