"""Weights in one safetensors file, or in several with an index, as on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.canonical import sha256_file, sha256_json
from tailrace.formats.model.files import size_problem
from tailrace.formats.model.folder import lacks, weight_places
from tailrace.formats.model.safetensors_header import (
    PREFIX_BYTES,
    Entry,
    header_length,
    read_header,
)
from tailrace.formats.outside_json import read_object
from tailrace.formats.wording import name_text
from training.errors import ModelConfigError, ModelNotFoundError

WEIGHTS = "model.safetensors"
"""File name of weights in one file."""

INDEX = "model.safetensors.index.json"
"""File name of the index of several files: tensor name to file name."""

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SHOWN = 5
_COMPARED_BYTES = 1 << 20


def list_weights(folder: Path) -> list[Path]:
    """Return the weight files of a model folder, sorted by name.

    Raises:
        ModelNotFoundError: There are none, or some are missing.
        ModelConfigError: The weights are pickled, or the index is wrong.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        files = sorted({folder / name for name in _read_index(folder / INDEX).values()})
        missing = [path.name for path in files if not path.is_file()]
        if missing:
            raise ModelNotFoundError(f"{folder} lacks weight files: {', '.join(missing)}")
        return files
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        raise ModelConfigError(
            f"{folder} holds weights in a pickle format ({', '.join(pickled[:_SHOWN])}), which is "
            "never opened: unpickling runs whatever code the file contains. Save the model as "
            "safetensors where you trust it (transformers: model.save_pretrained(folder))"
        )
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    problems = [problem for problem in lacks(names) if "weights" in problem or "adapter" in problem]
    raise ModelNotFoundError(f"{folder} has no weights: {'; '.join(problems)}")


def weights_digest(folder: Path) -> str:
    """Return the sha256 of the weight file, or of the canonical JSON of all files' sha256.

    Errors as :func:`list_weights`.
    """
    digests = {path.name: sha256_file(path) for path in list_weights(folder)}
    return digests[WEIGHTS] if set(digests) == {WEIGHTS} else sha256_json(digests)


@dataclass(frozen=True)
class Place:
    """Location of a stored tensor."""

    path: Path
    """File."""
    name: str
    """Stored name."""
    entry: Entry
    """Type, shape and offsets."""
    start: int
    """Offset of the first byte in the file."""


def find_places(folder: Path, files: list[Path]) -> dict[str, Place]:
    """Return the place of each loaded tensor in the files of a folder, by its stored name.

    Raises:
        ModelConfigError: A header or the index is damaged.
    """
    places: dict[str, Place] = {}
    indexed = _read_index(folder / INDEX) if files != [folder / WEIGHTS] else None
    for path in files:
        entries, start = read_file_header(path)
        for name, entry in entries.items():
            if indexed is None or indexed.get(name) == path.name:
                places[name] = Place(path, name, entry, start + entry.start)
    missing = sorted(set(indexed or ()) - set(places))
    if missing:
        wrong = ", ".join(
            f"{name_text(name)} in {(indexed or {})[name]}" for name in missing[:_SHOWN]
        )
        raise ModelConfigError(f"{folder / INDEX} places tensors in files without them: {wrong}")
    return places


def read_file_header(path: Path) -> tuple[dict[str, Entry], int]:
    """Return the tensors of a weight file and the offset of the first one.

    Raises:
        ModelConfigError: The file is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            length = header_length(file.read(PREFIX_BYTES), size)
            return read_header(file.read(length), size), PREFIX_BYTES + length
        except ValueError as error:
            raise ModelConfigError(f"{path} {error}") from error


def same_bytes(first: Place, second: Place) -> bool:
    """Return True if two stored tensors have equal bytes; reads a part of each at a time."""
    if first.entry.tensor.dtype != second.entry.tensor.dtype:
        return False
    with first.path.open("rb") as one, second.path.open("rb") as other:
        one.seek(first.start)
        other.seek(second.start)
        rest = first.entry.end - first.entry.start
        while rest > 0:
            size = min(rest, _COMPARED_BYTES)
            if one.read(size) != other.read(size):
                return False
            rest -= size
    return True


def _read_index(path: Path) -> dict[str, str]:
    problem = size_problem(path.name, path.stat().st_size)
    try:
        if problem:
            raise ValueError(problem)
        return weight_places(read_object(path.read_bytes()))
    except ValueError as error:
        raise ModelConfigError(f"{path} {error}") from error
