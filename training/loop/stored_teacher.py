"""A teacher's likeliest tokens at the learnt places of a dataset.

They are computed once, before the first step, and are constants of the training from then on, so
that the teacher's weights need no memory in the steps. The identity of checkpoints names them: a
resumed training compares with the same numbers on any slot, or is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tailrace.formats.canonical import sha256_json
from tailrace.formats.spec.train_spec import TrainSpec
from training.checkpoints.certificate import digest_arrays
from training.checkpoints.checkpoint import Arrays, checkpoint_identity
from training.checkpoints.provenance import environment
from training.data.batches import Batch, Collator
from training.data.encode import EncodedExamples
from training.data.example_store import (
    ExampleStore,
    TaughtStore,
    TopTokens,
    token_counts,
    trained_counts,
)
from training.errors import CheckpointError, ConfigError
from training.loop.precision import full_precision
from training.loop.score_files import ScoreFiles, save_arrays
from training.loop.start import Start
from training.loop.teacher import Teacher
from training.loop.trainable import choose_trainable
from training.machine.sharding import make_mesh
from training.objectives.distill import StoredTeacherObjective
from training.objectives.divergence import top_tokens
from training.objectives.objective import BoundModel
from training.observer import Observer

_log = logging.getLogger(__name__)

TOP_TOKENS = "teacher_tokens"
"""Key in the identity for the facts of a teacher's likeliest tokens."""

_TRAIN, _HELD_OUT = "train", "held_out"


@dataclass(frozen=True)
class _Key:
    """Facts that the tokens depend on, to the last bit."""

    teacher: str
    """Digest of the teacher's configuration and weights."""
    examples: str
    """Digest of tokens and masks of the train part."""
    held_out: str
    """Digest of tokens and masks of the held-out part; empty without evaluations."""
    top_k: int
    vocabulary: int
    """Number of tokens that both models embed."""
    dtype: str
    """Type of the computation."""
    width: str
    """Kind and number of devices, and number of CPU cores."""

    @property
    def name(self) -> str:
        """Digest of all facts."""
        return sha256_json({"teacher_tokens": asdict(self)})


def with_stored_teacher(
    start: Start,
    spec: TrainSpec,
    observer: Observer,
    file: Path,
    resume: Path | None = None,
    cache: Path | None = None,
    exchange: Path | None = None,
) -> Start:
    """Return the start with its teacher's likeliest tokens in place of the teacher, if wanted.

    Args:
        start: The starting point.
        spec: The settings of the training.
        observer: Receiver of stop requests and of the tokens; it may have earlier ones.
        file: File of the training's own, which is written; an interrupted one may have it already.
        resume: Checkpoint to continue from, whose tokens must be the same.
        cache: The host's folder of earlier files (default: none is reused).
        exchange: Folder for files that the observer writes and reads (default: it has none).

    Raises:
        StoppedError: The observer requests a stop.
        CheckpointError: The tokens of the checkpoint's training cannot be found or computed again.
        ConfigError: ``top_k`` is not below the size of the vocabulary.
        OSError: A file cannot be written.
    """
    top_k = spec.distill.top_k if spec.distill is not None else None
    if top_k is None or start.teacher is None:
        return start
    stores = _stores(start)
    program = _Program(start.teacher, start, spec, top_k)
    key = _Key(
        teacher=start.teacher.digest,
        examples=stores[_TRAIN].content_digest,
        held_out=stores[_HELD_OUT].content_digest if _HELD_OUT in stores else "",
        top_k=top_k,
        vocabulary=program.vocabulary,
        dtype=str(program.dtype),
        width=program.width,
    )
    expected = None
    if resume is not None:
        key, expected = _of_checkpoint(resume, key)

    def read(path: Path) -> Arrays | None:
        arrays = _read(path, stores, top_k)
        own = arrays is None or expected in (None, digest_arrays(arrays))
        return arrays if own else None

    files = ScoreFiles(read, observer, cache, exchange, "examples")
    arrays = files.find(key.name)
    if arrays is None and resume is not None and file.is_file():
        arrays = read(file)
    if arrays is None:
        arrays = _computed(program, stores, observer)
        if expected not in (None, digest_arrays(arrays)):
            raise CheckpointError(
                f"{resume} was trained with the teacher's log-probabilities of another machine "
                f"({key.width}), which are gone: continue there, or start again"
            )
        files.keep(key.name, arrays)
    save_arrays(file, arrays)
    return _taught(start, spec, stores, arrays, key)


def _taught(
    start: Start, spec: TrainSpec, stores: dict[str, ExampleStore], arrays: Arrays, key: _Key
) -> Start:
    parts = {
        part: TaughtStore(store, TopTokens(*(arrays[name] for name in _names(part))))
        for part, store in stores.items()
    }
    if _HELD_OUT in parts:
        held_out = EncodedExamples(parts[_HELD_OUT], start.held_out.totals)
        start = replace(start, held_out=held_out)
    facts = {**asdict(key), "log_probs": digest_arrays(arrays)}
    return replace(
        start,
        encoded=EncodedExamples(parts[_TRAIN], start.encoded.totals),
        objective=StoredTeacherObjective(spec, key.vocabulary),
        teacher=None,
        identity={**start.identity, TOP_TOKENS: facts},
    )


def _stores(start: Start) -> dict[str, ExampleStore]:
    stores = {}
    for part, encoded in ((_TRAIN, start.encoded), (_HELD_OUT, start.held_out)):
        examples = encoded.examples
        if not isinstance(examples, ExampleStore):
            raise TypeError("a teacher's likeliest tokens need the examples of fine-tuning")
        if len(examples):
            stores[part] = examples
    return stores


class _Program:
    """The teacher's compiled forward pass."""

    def __init__(self, teacher: Teacher, start: Start, spec: TrainSpec, top_k: int) -> None:
        rows = spec.micro_batch_size or spec.batch_size
        self.mesh = make_mesh(spec.mesh, rows)
        self.teacher = teacher
        self.top_k = top_k
        self.vocabulary = min(teacher.model.vocabulary, start.model.vocabulary)
        if top_k >= self.vocabulary:
            raise ConfigError(
                f"train.distill.top_k must be below {self.vocabulary}, the number of tokens that "
                "both models embed"
            )
        self.dtype = choose_trainable(start.model, spec).dtype
        self.collator = Collator(rows)
        machine = environment()
        self.width = f"{self.mesh.size} × {machine['device']}, {machine['cores']} cores"
        self.tokens = jax.jit(self._tokens)

    def _tokens(self, weights: dict[str, jax.Array], batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return ids [B, T, k] and log-probabilities [B, T, k + 1] at all places of rows."""
        layout = self.teacher.layout(self.mesh)
        rows = jax.tree.map(lambda values: values[0], layout.split(batch, rows=1))
        with full_precision(self.dtype), layout.current():
            decoder = self.teacher.decoder(weights)
            hidden = BoundModel(decoder, None, remat=False, by_block=False).hidden(rows)
            # A row at a time: logits of all rows may be larger than all else.
            top: tuple[jax.Array, jax.Array] = jax.lax.map(
                lambda row: top_tokens(decoder.logits(row)[..., : self.vocabulary], self.top_k),
                hidden,
            )
            return top


def _computed(program: _Program, stores: dict[str, ExampleStore], observer: Observer) -> Arrays:
    begin = time.perf_counter()
    weights = program.teacher.load(program.mesh, program.dtype)
    arrays: Arrays = {}
    for part, examples in stores.items():
        counts = trained_counts(examples)
        ends = np.cumsum(counts)
        tokens = np.zeros((counts.sum(), program.top_k), np.int32)
        log_probs = np.zeros((counts.sum(), program.top_k + 1), np.float32)
        for chosen in _by_length(examples, program.collator):
            observer.check_stop()
            rows = [examples[int(i)] for i in chosen]
            outputs = [
                np.asarray(v) for v in program.tokens(weights, program.collator.collate([rows]))
            ]
            for row, (index, example) in enumerate(zip(chosen, rows, strict=True)):
                place = slice(int(ends[index] - counts[index]), int(ends[index]))
                learnt = np.flatnonzero(example.mask[1:])
                tokens[place], log_probs[place] = (values[row][learnt] for values in outputs)
        arrays |= dict(zip(_names(part), (tokens, log_probs), strict=True))
    _log.info(
        "the teacher's %d likeliest tokens at %d places in %.1f s",
        program.top_k,
        sum(len(array) for array in arrays.values()) // 2,
        time.perf_counter() - begin,
    )
    return arrays


def _by_length(examples: ExampleStore, collator: Collator) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of batches of similar length."""
    order = np.argsort(token_counts(examples), kind="stable")
    for begin in range(0, len(order), collator.batch_size):
        yield order[begin : begin + collator.batch_size]


def _of_checkpoint(checkpoint: Path, key: _Key) -> tuple[_Key, str]:
    """Return the key of a checkpoint's tokens, and their digest."""
    facts = checkpoint_identity(checkpoint).get(TOP_TOKENS)
    if not isinstance(facts, dict) or not isinstance(facts.get("log_probs"), str):
        raise CheckpointError(
            f"{checkpoint} belongs to another training: it names no tokens of a teacher"
        )
    return replace(key, width=str(facts.get("width"))), facts["log_probs"]


def _read(path: Path, stores: dict[str, ExampleStore], top_k: int) -> Arrays | None:
    """Return the tokens of a file, or None if they are not those of all examples."""
    try:
        arrays: Arrays = load_file(str(path))
    except (OSError, SafetensorError):
        return None
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {}
    for part, examples in stores.items():
        count = int(trained_counts(examples).sum())
        tokens, log_probs = _names(part)
        expected[tokens] = (np.dtype(np.int32), (count, top_k))
        expected[log_probs] = (np.dtype(np.float32), (count, top_k + 1))
    return arrays if {n: (a.dtype, a.shape) for n, a in arrays.items()} == expected else None


def _names(part: str) -> tuple[str, str]:
    """Return the names of a part's arrays in the file."""
    return f"{part}.tokens", f"{part}.log_probs"
