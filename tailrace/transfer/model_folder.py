"""Import of a model folder: the choice of its files, their upload, the registration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.model.adapter import (
    CONFIG_NAME,
    UNMERGED_CONFIG,
    UNMERGED_FOLDER,
    WEIGHTS_NAME,
)
from tailrace.formats.model.files import size_problem
from tailrace.formats.model.folder import CONFIG_FILE, file_problem, lacks
from tailrace.formats.outside_json import read_object
from tailrace.formats.wording import describe
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
    folder: Path,
    register: Callable[[list[artifact_pb2.ArtifactFile]], Request],
    find_base: Callable[[str], Request],
    base: str = "",
) -> Job[model_pb2.Model]:
    """Upload a model folder's own files, and register them.

    An adapter is registered with the files of its base model, which the server has already.

    Args:
        folder: Folder of a model, or of a PEFT adapter.
        register: Request that registers uploaded files.
        find_base: Request for the model of a name.
        base: Name of an adapter's base model (default: the name in its configuration).

    Raises:
        ValueError: The folder is not a model folder; the message names what it lacks.
        NotADirectoryError: There is no such folder.
    """
    files: ModelFiles = yield Work(lambda: model_files(folder))
    if CONFIG_NAME in files.accepted and CONFIG_FILE not in files.accepted:
        name = yield Work(lambda: base or named_base(folder))
        base_model: model_pb2.Model = yield find_base(name)
        matrices = yield from upload_folder(folder, (CONFIG_NAME, WEIGHTS_NAME).__contains__)
        adapted: model_pb2.Model = yield register(_adapted(base_model, matrices))
        return adapted
    if base:
        raise ValueError(f"{folder} is not a PEFT adapter ({CONFIG_NAME}): leave out the base")
    if files.lacking:
        raise ValueError("\n  ".join([f"{folder} is not a model folder:", *files.lacking]))
    entries = yield from upload_folder(folder, files.accepted.__contains__)
    model: model_pb2.Model = yield register(entries)
    return model


def named_base(folder: Path) -> str:
    """Return the imported model that an adapter's configuration names as its base.

    Raises:
        ValueError: The configuration is not JSON, or names none.
    """
    path = folder / CONFIG_NAME
    problem = size_problem(UNMERGED_CONFIG, path.stat().st_size)
    if problem:
        raise ValueError(f"{path} {problem}")
    try:
        name = read_object(path.read_bytes()).get("base_model_name_or_path")
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    if isinstance(name, str) and name.startswith("models/"):
        return name
    if isinstance(name, str) and name.startswith("runs/"):
        way_out = "make that run's model a model (`tailrace models promote`)"
    else:
        way_out = "import that model"
    raise ValueError(
        f"{folder} is a PEFT adapter of {describe(name)}: {way_out} first, then name it with "
        "--base models/NAME (`base` in the SDK)"
    )


def _adapted(
    base: model_pb2.Model, matrices: list[artifact_pb2.ArtifactFile]
) -> list[artifact_pb2.ArtifactFile]:
    """Return the files of a base model with an adapter's.

    Raises:
        ValueError: The base model has an adapter, or a file of the adapter is missing.
    """
    missing = {CONFIG_NAME, WEIGHTS_NAME} - {file.path for file in matrices}
    if missing:
        raise ValueError(f"the adapter lacks {', '.join(sorted(missing))}")
    files = list(base.artifact.files)
    if any(file.path == UNMERGED_CONFIG for file in files):
        raise ValueError(
            f"{base.name} has an adapter already: merge one of them with peft and import the result"
        )
    for matrix in matrices:
        file = artifact_pb2.ArtifactFile()
        file.CopyFrom(matrix)
        file.path = f"{UNMERGED_FOLDER}/{matrix.path}"
        files.append(file)
    return sorted(files, key=lambda file: file.path)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))
