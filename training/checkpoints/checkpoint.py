"""Checkpoints: the state of a training at a step, in safetensors and JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tailrace.formats.canonical import canonical_json
from tailrace.formats.certificate import CERTIFICATE, PARTS, Certificate, flatten
from tailrace.formats.schema import parse, to_mapping
from tailrace.formats.spec.methods import SHARED_WITH_SFT
from training.checkpoints.certificate import certify
from training.errors import CheckpointError
from training.machine.file_errors import as_os_errors

FORMAT = 2
"""Version of the layout; other versions are refused."""

_STATE = "state.safetensors"
_META = "checkpoint.json"

REFERENCE = "reference"
"""Key in the identity, and name of the file, for log-probabilities under the starting model."""

_NAME = re.compile(r"step-(\d{8,})")


Arrays = dict[str, np.ndarray[Any, Any]]
"""Host arrays by their path in the state."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a training between two steps, on the host."""

    step: int
    """Optimizer steps done; with the identity's seed also the position in the data."""
    arrays: Arrays
    """Parameters and optimizer state, see :func:`to_host`."""
    rng: list[int]
    """Root of the dropout keys of all steps."""
    progress: dict[str, Any]
    """Counters of the trainer as JSON, the position in the metrics among them."""
    identity: dict[str, Any]
    """Settings and content digests that make two trainings the same."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Hardware, mesh and versions; a resumed training may have other conditions."""
    reference: Arrays = field(default_factory=dict)
    """Log-probabilities under the starting model, for methods that compare with it."""


def to_host(state: Any) -> Arrays:
    """Return a copy of a pytree of arrays on the host, by path, gathered from all devices.

    The copy survives the donation of the buffers of ``state``.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    for _, leaf in leaves:
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    return {jax.tree_util.keystr(path): np.array(leaf, order="C") for path, leaf in leaves}


def save_checkpoint(
    folder: Path, checkpoint: Checkpoint, keep: int, best: int | None = None
) -> tuple[Path, Certificate]:
    """Write ``folder/step-…`` atomically; keep the newest ``keep`` checkpoints and step ``best``.

    The draft is flushed to disk and renamed, so that a checkpoint is either complete or absent.

    Raises:
        OSError: The checkpoint cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{checkpoint.step:08d}"
    draft = folder / f".draft-{checkpoint.step:08d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    certificate = certify(checkpoint)
    try:
        _write_draft(draft, checkpoint, certificate)
    except OSError:
        # Give a full disk its space back.
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if target.exists():
        shutil.rmtree(target)
    draft.rename(target)
    _flush(folder)
    # A training that resumed from an older step finds newer checkpoints than its own.
    retained = {target, folder / f"step-{best:08d}" if best is not None else target}
    for old in list_checkpoints(folder)[:-keep]:
        if old not in retained:
            shutil.rmtree(old)
    return target, certificate


def _write_draft(draft: Path, checkpoint: Checkpoint, certificate: Certificate) -> None:
    meta = {
        "format": FORMAT,
        "step": checkpoint.step,
        "rng": checkpoint.rng,
        "progress": checkpoint.progress,
        "identity": checkpoint.identity,
    }
    with as_os_errors(draft / _STATE):
        save_file(checkpoint.arrays, str(draft / _STATE))
        if checkpoint.reference:
            save_file(checkpoint.reference, str(draft / f"{REFERENCE}.safetensors"))
    _write_json(draft / _META, meta)
    _write_json(draft / CERTIFICATE, to_mapping(certificate))
    for path in (*sorted(draft.iterdir()), draft):
        _flush(path)


def load_checkpoint(path: Path, identity: dict[str, Any]) -> Checkpoint:
    """Read a checkpoint and verify its certificate.

    Raises:
        CheckpointError: The checkpoint is missing, damaged, of another format, or belongs to a
            training with another identity; the error names the differences.
    """
    try:
        meta = _read_json(path / _META)
        if meta["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {meta['format']}, not {FORMAT}")
        issued = parse(Certificate, _read_json(path / CERTIFICATE))
        checkpoint = Checkpoint(
            step=int(meta["step"]),
            arrays=load_file(str(path / _STATE)),
            rng=[int(word) for word in meta["rng"]],
            progress=dict(meta["progress"]),
            identity=dict(meta["identity"]),
            conditions=issued.conditions,
        )
        actual = certify(checkpoint)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not a checkpoint: {error.filename} is missing") from error
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    damaged = [name for name in PARTS if getattr(actual, name) != getattr(issued, name)]
    if damaged:
        raise CheckpointError(
            f"{path} is damaged: {', '.join(damaged)} do not match {CERTIFICATE}; "
            "resume from an older checkpoint"
        )
    _require_same(path, _with_shared_keys(checkpoint.identity), identity)
    return checkpoint


def restore(checkpoint: Checkpoint, template: Any, path: Path) -> Any:
    """Return the checkpoint's state as a pytree like ``template``, laid out over its devices.

    The layout may differ from the one at saving; leaves on the host in the template stay there.

    Raises:
        CheckpointError: Names, shapes or types differ.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    expected = {jax.tree_util.keystr(where): leaf for where, leaf in leaves}
    arrays = checkpoint.arrays
    if set(expected) != set(arrays):
        raise CheckpointError(f"{path} has the state of another model or optimizer")
    for name, leaf in expected.items():
        if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            raise CheckpointError(f"{path}: {name} is {arrays[name].shape}, not {leaf.shape}")
    placed = [
        jax.device_put(arrays[name], leaf.sharding) if isinstance(leaf, jax.Array) else arrays[name]
        for name, leaf in expected.items()
    ]
    return jax.tree_util.tree_unflatten(structure, placed)


def checkpoint_step(path: Path) -> int:
    """Return the step of a checkpoint.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    try:
        return int(_read_json(path / _META)["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a checkpoint: {_META} cannot be read") from error


def checkpoint_identity(path: Path) -> dict[str, Any]:
    """Return the identity of a checkpoint's training.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    try:
        return dict(_read_json(path / _META)["identity"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a checkpoint: {_META} cannot be read") from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of any training and verify its certificate.

    Raises:
        CheckpointError: The checkpoint is missing, damaged, or of another format.
    """
    return load_checkpoint(path, _with_shared_keys(checkpoint_identity(path)))


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest step first; the folder may be missing."""
    if not folder.is_dir():
        return []
    checkpoints = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(checkpoints, key=lambda path: int(path.name.removeprefix("step-")))


def find_checkpoint(folder: Path, choice: str) -> Path:
    """Return the checkpoint that ``latest`` or a path stands for.

    Raises:
        CheckpointError: The folder has no checkpoint.
    """
    if choice != "latest":
        return Path(choice)
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        raise CheckpointError(f"{folder} has no checkpoint: leave out --resume_from")
    return checkpoints[-1]


def _with_shared_keys(identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity whose shared keys are those of ``train``, not of ``train.sft``."""
    train = identity.get("train")
    if not isinstance(train, dict) or not isinstance(train.get("sft"), dict):
        return identity
    sft = train["sft"]
    shared = {name: sft[name] for name in SHARED_WITH_SFT if name in sft}
    own = {name: value for name, value in sft.items() if name not in shared}
    return {**identity, "train": {**train, **shared, "sft": own}}


def _require_same(path: Path, saved: dict[str, Any], identity: dict[str, Any]) -> None:
    before, now = flatten(saved), flatten(identity)
    differing = [
        f"{name} was {before.get(name, 'not there')}, is {now.get(name, 'not there')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise CheckpointError(f"{path} belongs to another training: " + "; ".join(differing))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(canonical_json(value) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
