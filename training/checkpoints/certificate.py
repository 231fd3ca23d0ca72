"""Issue of resume certificates; see :mod:`tailrace.formats.certificate`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tailrace.formats.canonical import canonical_json, sha256_json
from tailrace.formats.certificate import Certificate, flatten

if TYPE_CHECKING:
    from training.checkpoints.checkpoint import Checkpoint

Arrays = Mapping[str, np.ndarray[Any, Any]]
"""Host arrays by name."""

PARAMETERS = "[0]"
"""Prefix of the names of parameters in a state; the other arrays are the optimizer's."""


BOOKKEEPING = {"window", "metrics_window"}
"""Counters that depend on how often metrics are logged; certificates leave them out."""


def certify(checkpoint: Checkpoint) -> Certificate:
    """Return the certificate of a training between two steps, from the hashes of all arrays."""
    arrays = checkpoint.arrays
    parameters = {n: a for n, a in arrays.items() if n.startswith(PARAMETERS)}
    optimizer = {n: a for n, a in arrays.items() if n not in parameters}
    counters = {n: v for n, v in checkpoint.progress.items() if n not in BOOKKEEPING}
    return Certificate(
        step=checkpoint.step,
        parameters=digest_arrays(parameters),
        optimizer=digest_arrays(optimizer),
        rng=sha256_json(checkpoint.rng),
        cursor=sha256_json({"step": checkpoint.step, "counters": counters}),
        identity=flatten(checkpoint.identity),
        conditions=dict(checkpoint.conditions),
    )


def digest_arrays(arrays: Arrays) -> str:
    """Return the hex sha256 over names, types, shapes and little-endian bytes, sorted by name."""
    return digest_sorted((name, arrays[name]) for name in sorted(arrays))


def digest_sorted(arrays: Iterable[tuple[str, np.ndarray[Any, Any]]]) -> str:
    """Return the digest of :func:`digest_arrays`; ``arrays`` are sorted by name."""
    digest = hashlib.sha256()
    for name, values in arrays:
        array = np.ascontiguousarray(values)
        head = canonical_json([name, array.dtype.newbyteorder("<").str, list(values.shape)])
        digest.update(head.encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).data)
    return digest.hexdigest()
