"""Log-probabilities of pairs under the model that a training starts from.

They are computed once, before the first step, and are constants of the training from then on: each
checkpoint has them, and its identity names them, so that a resumed training compares with the same
numbers on any slot. :attr:`ReferenceKey.name` is equal where they would be computed alike, whatever
the method's other settings: the host or the control plane may have them already. The control plane
has them before the first step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tailrace.formats.canonical import sha256_json
from tailrace.formats.spec.run_spec import BaseDtype, TrainSpec
from training.checkpoints.certificate import digest_arrays
from training.checkpoints.checkpoint import REFERENCE, checkpoint_identity
from training.checkpoints.provenance import environment
from training.data.batches import Collator
from training.data.example_store import Example, token_counts
from training.errors import CheckpointError
from training.loop.lora import LoraAdapter
from training.loop.score_files import ScoreFiles
from training.loop.start import Start, digest_weights
from training.loop.steps import compile_answers
from training.loop.trainable import TrainableSplit, choose_trainable
from training.machine.sharding import Layout, make_mesh
from training.objectives.objective import ReferencedObjective
from training.objectives.pairs import PairStore
from training.observer import Observer

_log = logging.getLogger(__name__)

_TRAIN, _HELD_OUT = "train", "held_out"

Reference = dict[str, NDArray[np.float32]]
"""Log-probabilities of both answers of each pair, [pairs, 2], by part of the dataset."""


@dataclass(frozen=True)
class ReferenceKey:
    """Facts that log-probabilities depend on, to the last bit."""

    weights: str
    """Digest of the weights."""
    pairs: str
    """Digest of tokens and masks of the train part."""
    held_out: str
    """Digest of tokens and masks of the held-out part."""
    dtype: str
    """Type of the computation, and that of quantized weights."""
    width: str
    """Kind and number of devices, and number of CPU cores."""

    @property
    def name(self) -> str:
        """Digest of all facts."""
        return sha256_json(asdict(self))


def with_reference(
    start: Start,
    spec: TrainSpec,
    observer: Observer,
    resume: Path | None = None,
    cache: Path | None = None,
    exchange: Path | None = None,
) -> Start:
    """Return the start with the log-probabilities of its pairs, if its method needs them.

    Args:
        start: The starting point.
        spec: The settings of the training.
        observer: Receiver of stop requests and of new log-probabilities; it may have earlier ones.
        resume: Checkpoint to continue from, whose log-probabilities are taken.
        cache: The host's folder of earlier references (default: none is reused).
        exchange: Folder for files that the observer writes and reads (default: it has none).

    Raises:
        StoppedError: The observer requests a stop.
        CheckpointError: The checkpoint has no log-probabilities of these pairs.
        ConfigError: The settings do not fit the model or the devices.
        OSError: The cache cannot be written.
    """
    objective = start.objective
    if not isinstance(objective, ReferencedObjective) or not objective.has_reference:
        return start
    pairs, held_out = start.encoded.examples, start.held_out.examples
    if not isinstance(pairs, PairStore):
        raise TypeError("a method with a reference must encode pairs")
    # Without evaluations there is no held-out pair.
    stores = {_TRAIN: pairs, **({_HELD_OUT: held_out} if isinstance(held_out, PairStore) else {})}
    program = _Program(objective, start, spec)
    key = ReferenceKey(
        weights=digest_weights(start.weights),
        pairs=pairs.answers.content_digest,
        held_out=stores[_HELD_OUT].answers.content_digest if _HELD_OUT in stores else "",
        dtype=_dtype(program.trainable),
        width=program.width,
    )
    if resume is not None:
        reference, width = _of_checkpoint(resume, stores)
        key = replace(key, width=width)
    else:
        files = ScoreFiles(lambda path: _read(path, stores), observer, cache, exchange, "pairs")
        reference = files.find(key.name) or _computed(program, start, stores, observer)
        files.keep(key.name, reference)
    facts = {**asdict(key), "log_probs": digest_arrays(reference)}
    encoded = replace(start.encoded, examples=pairs.with_reference(reference[_TRAIN]))
    if _HELD_OUT in stores:
        examples = stores[_HELD_OUT].with_reference(reference[_HELD_OUT])
        start = replace(start, held_out=replace(start.held_out, examples=examples))
    identity = {**start.identity, REFERENCE: facts}
    return replace(start, encoded=encoded, reference=reference, identity=identity)


class _Program:
    """The compiled forward pass of a start's model over pairs."""

    def __init__(self, objective: ReferencedObjective, start: Start, spec: TrainSpec) -> None:
        rows = spec.micro_batch_size or spec.batch_size
        mesh = make_mesh(spec.mesh, rows)
        self.trainable = choose_trainable(start.model, spec)
        self.layout = Layout.of(start.model.family.model_type, mesh)
        self.collator = objective.collator(rows)
        machine = environment()
        self.width = f"{mesh.size} × {machine['device']}, {machine['cores']} cores"
        self.answers = compile_answers(objective, self.trainable, self.layout)


def _computed(
    program: _Program, start: Start, stores: dict[str, PairStore], observer: Observer
) -> Reference:
    begin = time.perf_counter()
    trained, frozen = program.trainable.start(start.weights, program.layout)
    reference: Reference = {}
    for part, pairs in stores.items():
        sums = np.zeros((len(pairs), 2), np.float32)
        for chosen in _by_length(pairs, program.collator):
            observer.check_stop()
            batch = program.collator.collate([[pairs[int(i)] for i in chosen]])
            sums[chosen] = np.asarray(program.answers(trained, frozen, batch))[: len(chosen)]
        reference[part] = sums
    _log.info(
        "log-probabilities of %d pairs under the starting model in %.1f s",
        sum(map(len, stores.values())),
        time.perf_counter() - begin,
    )
    return reference


def _by_length(pairs: Sequence[Example], collator: Collator) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of batches of similar length."""
    order = np.argsort(token_counts(pairs), kind="stable")
    for begin in range(0, len(order), collator.batch_size):
        yield order[begin : begin + collator.batch_size]


def _of_checkpoint(checkpoint: Path, stores: dict[str, PairStore]) -> tuple[Reference, str]:
    """Return the log-probabilities of a checkpoint, and the width that they were computed with."""
    facts = checkpoint_identity(checkpoint).get(REFERENCE)
    path = checkpoint / f"{REFERENCE}.safetensors"
    if not isinstance(facts, dict) or not path.is_file():
        raise CheckpointError(
            f"{checkpoint} belongs to another training: it has no log-probabilities of a starting "
            "model"
        )
    reference = _read(path, stores)
    if reference is None or digest_arrays(reference) != facts.get("log_probs"):
        raise CheckpointError(
            f"{path} is damaged, or belongs to other pairs; resume from an older checkpoint"
        )
    return reference, str(facts.get("width"))


def _dtype(trainable: TrainableSplit) -> str:
    """Return the types that the log-probabilities depend on."""
    dtype = str(trainable.dtype)
    if isinstance(trainable, LoraAdapter) and trainable.spec.base_dtype is not BaseDtype.NONE:
        return f"{dtype}, {trainable.spec.base_dtype} weights"
    return dtype


def _read(path: Path, stores: dict[str, PairStore]) -> Reference | None:
    """Return the log-probabilities of a file, or None if they are not those of all pairs."""
    try:
        arrays = load_file(str(path))
    except (OSError, SafetensorError):
        return None
    expected = {part: (len(pairs), 2) for part, pairs in stores.items()}
    shapes = {name: array.shape for name, array in arrays.items() if array.dtype == np.float32}
    finite = all(np.isfinite(array).all() for array in arrays.values())
    return arrays if shapes == expected and finite else None
