"""Checkpoints: what continues a training at its exact step, in safetensors and JSON only."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tailrace.formats.canonical import sha256_file
from training.errors import CheckpointError

FORMAT = 1
"""Version of the layout; others are refused."""

_STATE = "state.safetensors"
_META = "checkpoint.json"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """A training between two steps."""

    step: int
    """Optimizer steps done; with the identity's seed it is the data position, too."""
    state: Any
    """Parameters and optimizer state: a pytree of arrays."""
    rng: list[int]
    """The root key that each step's dropout key is folded from."""
    progress: dict[str, Any]
    """The trainer's own counters, as JSON."""
    identity: dict[str, Any]
    """What must be equal for the training to be the same: settings and content hashes."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write ``folder/step-…`` atomically, then remove all but the newest ``keep`` checkpoints.

    It is written beside its place, flushed to disk and renamed, so that a checkpoint is either
    whole or not there. Raises :class:`OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{checkpoint.step:08d}"
    draft = folder / f".draft-{checkpoint.step:08d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    save_file(_named_arrays(checkpoint.state), str(draft / _STATE))
    meta = {
        "format": FORMAT,
        "step": checkpoint.step,
        "rng": checkpoint.rng,
        "progress": checkpoint.progress,
        "identity": checkpoint.identity,
        "state_sha256": sha256_file(draft / _STATE),
    }
    (draft / _META).write_text(json.dumps(meta, indent=1, sort_keys=True), encoding="utf-8")
    for path in (draft / _STATE, draft / _META, draft):
        _flush(path)
    if target.exists():
        shutil.rmtree(target)
    draft.rename(target)
    _flush(folder)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def load_checkpoint(path: Path, template: Any, identity: dict[str, Any]) -> Checkpoint:
    """Read a checkpoint; ``template`` is a pytree with the shapes of its state.

    Raises :class:`training.errors.CheckpointError` when it is missing, damaged, of another format,
    or of a training whose identity differs, naming what differs.
    """
    try:
        meta = json.loads((path / _META).read_text(encoding="utf-8"))
        if meta["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {meta['format']}, not {FORMAT}")
        if sha256_file(path / _STATE) != meta["state_sha256"]:
            raise CheckpointError(f"{path} is damaged: {_STATE} does not have its sha256")
        arrays = load_file(str(path / _STATE))
        checkpoint = Checkpoint(
            step=int(meta["step"]),
            state=_fill(template, arrays, path),
            rng=[int(word) for word in meta["rng"]],
            progress=dict(meta["progress"]),
            identity=dict(meta["identity"]),
        )
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is no checkpoint: {error.filename} is missing") from error
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    differing = [
        f"{name} was {checkpoint.identity.get(name)!r}, is {identity.get(name)!r}"
        for name in sorted({*identity, *checkpoint.identity})
        if checkpoint.identity.get(name) != identity.get(name)
    ]
    if differing:
        raise CheckpointError(f"{path} is of another training: " + "; ".join(differing))
    return checkpoint


def checkpoint_step(path: Path) -> int:
    """The step of a checkpoint. Raises :class:`training.errors.CheckpointError`."""
    try:
        return int(json.loads((path / _META).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no checkpoint: {_META} cannot be read") from error


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest step first; none when there is no folder."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def find_checkpoint(folder: Path, choice: str) -> Path:
    """The checkpoint that ``latest`` or a path means.

    Raises :class:`training.errors.CheckpointError` when there is none.
    """
    if choice != "latest":
        return Path(choice)
    found = list_checkpoints(folder)
    if not found:
        raise CheckpointError(f"{folder} holds no checkpoint: leave out --resume_from")
    return found[-1]


def _named_arrays(state: Any) -> dict[str, np.ndarray[Any, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf, order="C") for path, leaf in leaves}


def _fill(template: Any, arrays: dict[str, np.ndarray[Any, Any]], path: Path) -> Any:
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    expected = {jax.tree_util.keystr(where): leaf for where, leaf in leaves}
    if set(expected) != set(arrays):
        raise CheckpointError(f"{path} holds the state of another model or optimizer")
    for name, leaf in expected.items():
        if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            raise CheckpointError(f"{path}: {name} is {arrays[name].shape}, not {leaf.shape}")
    restored = [jax.numpy.asarray(arrays[name]) for name in expected]
    return jax.tree_util.tree_unflatten(structure, restored)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
