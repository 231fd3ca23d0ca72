"""Models of the control plane as folders on this machine, and the programs that use them here.

The SDK does not import the training library, which needs the extra ``training``: a program of it
replaces this process.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace.cli.download import Part, download_run
from tailrace.cli.errors import CommandError
from tailrace.cli.options import connect
from tailrace.cli.show import output
from tailrace.formats.wording import describe
from tailrace.transfer import download_artifact

_NEEDED = ("training", "jax", "transformers")
_SERVING = ("starlette", "uvicorn")
_MODELS, _RUNS = "models/", "runs/"


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine."""

    source: str
    """Folder, or hub id."""
    name: str | None
    """Name that the user gave; None for a folder, which has its own."""


def local_model(model: str, server: str | None, cache: Path | None) -> LocalModel:
    """Return a model on this machine, downloaded if it is one of the control plane.

    A folder comes before a model of the same name. Downloads are kept: files with the right content
    are not fetched again.

    Args:
        model: A folder, ``models/NAME`` with a version or alias, ``runs/RUN``, or a hub id.
        server: Address of the control plane.
        cache: Folder for downloads (default: ``tailrace`` in the user's cache folder).

    Raises:
        CommandError: The run has no model, or the name can only be meant for an imported model.
        TailraceError: There is no such model or run, or a call failed.
        OSError: A file cannot be written.
    """
    if Path(model).is_dir():
        return LocalModel(model, None)
    folder = cache_folder() if cache is None else cache
    if model.startswith(_MODELS):
        with connect(server) as client:
            artifact = client.get_model(model).artifact
            _announce(model, artifact.size_bytes)
            target = folder / "models" / re.sub(r"[^a-z0-9]", "-", artifact.name.rpartition("/")[2])
            try:
                download_artifact(client.channel, artifact, target)
            except ValueError as error:
                raise CommandError(str(error)) from error
        return LocalModel(str(target), model)
    if model.startswith(_RUNS):
        with connect(server) as client:
            run = client.get_run(model)
            # The metrics have the settings of the training that decide how prompts are rendered.
            parts = download_run(
                client, run.name, folder / "runs" / run.uid, [Part.MODEL, Part.METRICS]
            )
        return LocalModel(str(parts[Part.MODEL]), model)
    if "@" in model:
        # No name on the hub has a version or an alias.
        raise CommandError(
            f"{describe(model)} is neither a folder nor a hub id: a model of the control plane is "
            f"named with its kind, such as {_MODELS}NAME@ALIAS or {_RUNS}RUN"
        )
    return LocalModel(model, model)


def cache_folder() -> Path:
    """Return the folder for what can be fetched or computed again (XDG base directories)."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tailrace"


def require_serving() -> None:
    """Require the training library with its server on this machine.

    Raises:
        CommandError: A part is not installed; the message says how to get it.
    """
    _require((*_NEEDED, *_SERVING), "training")


def require_export(*, gguf: bool) -> None:
    """Require the training library, with ``gguf`` also the package that writes GGUF files.

    Raises ``CommandError`` as :func:`require_serving`.
    """
    _require((*_NEEDED, "gguf") if gguf else _NEEDED, "training,gguf" if gguf else "training")


def _require(names: Sequence[str], extras: str) -> None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"{', '.join(missing)} cannot be imported: models are used here with `{extras}` "
            f"(pip install 'tailrace[{extras}]')"
        )


def replace_process(
    module: str, arguments: Sequence[str], variables: Mapping[str, str] | None = None
) -> None:
    """Replace this process by a program of the training library.

    Args:
        module: The program.
        arguments: Its arguments.
        variables: Further environment variables.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # Without -P a folder `training` in the working directory would be taken for the library.
    program = [sys.executable, "-P", "-m", module, *arguments]
    # It receives the signals, and its exit status counts.
    os.execve(sys.executable, program, {**os.environ, **(variables or {})})  # noqa: S606


def _announce(model: str, size: int) -> None:
    text = f"fetching {model}, {output.size(size)}, unless it is here already"
    output.console(stderr=True).print(output.one_line(text), soft_wrap=True)
