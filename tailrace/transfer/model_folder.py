"""Import of a model folder: the choice of its files, their upload, the registration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.model.folder import file_problem, lacks
from tailrace.transfer.steps import Job, Request, Work
from tailrace.transfer.uploads import upload_folder
from tailrace.v1 import artifact_pb2, model_pb2


@dataclass(frozen=True)
class ModelFiles:
    """Files of a model folder, by their paths below it; hidden files are skipped."""

    accepted: frozenset[str]
    """Files that a model may have."""
    left_out: dict[str, str]
    """Reason why each other file is left out, as a predicate: ``is code, and …``."""
    lacking: list[str]
    """Sentences about required files that are missing."""


def model_files(folder: Path) -> ModelFiles:
    """Return the files of a folder, sorted into a model's own and others.

    Raises:
        NotADirectoryError: There is no such folder.
    """
    if not folder.is_dir():
        problem = file_problem(folder.name) if folder.is_file() else None
        raise NotADirectoryError(f"{folder} is not a folder{f': it {problem}' if problem else ''}")
    # A link to nothing is refused by name when it is uploaded.
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() or file.is_symlink()]
    paths = [file.relative_to(folder).as_posix() for file in files]
    problems = {path: file_problem(path) for path in paths if not _is_hidden(path)}
    return ModelFiles(
        frozenset(path for path, problem in problems.items() if problem is None),
        {path: problem for path, problem in problems.items() if problem is not None},
        lacks(problems),
    )


def import_folder(
    folder: Path, register: Callable[[list[artifact_pb2.ArtifactFile]], Request]
) -> Job[model_pb2.Model]:
    """Upload a model folder's own files, and register them.

    Raises:
        ValueError: The folder is not a model folder; the message names what it lacks.
        NotADirectoryError: There is no such folder.
    """
    files: ModelFiles = yield Work(lambda: model_files(folder))
    if files.lacking:
        raise ValueError("\n  ".join([f"{folder} is not a model folder:", *files.lacking]))
    entries = yield from upload_folder(folder, files.accepted.__contains__)
    model: model_pb2.Model = yield register(entries)
    return model


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))
