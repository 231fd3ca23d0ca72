"""Files of log-probabilities that are computed once, before a training's first step.

The host may have those of an earlier training, and the control plane those of any run of the
project; it has those of this training before the first step.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import save_file

from training.checkpoints.checkpoint import REFERENCE, Arrays
from training.machine.file_errors import as_os_errors
from training.observer import Observer

_log = logging.getLogger(__name__)

_KEPT = 200
"""Number of files that a host keeps for later trainings."""

Read = Callable[[Path], "Arrays | None"]
"""Function that reads a file; it returns None for a damaged one, or one of other examples."""


class ScoreFiles:
    """Log-probabilities by the key of all that they depend on."""

    def __init__(
        self,
        read: Read,
        observer: Observer,
        cache: Path | None,
        exchange: Path | None,
        what: str,
    ) -> None:
        """Take the folders.

        Args:
            read: See :data:`Read`.
            observer: Receiver of new log-probabilities; it may have earlier ones.
            cache: The host's folder of earlier files (default: none is reused).
            exchange: Folder for files that the observer writes and reads (default: it has none).
            what: Noun for the examples in messages.
        """
        self._read = read
        self._observer = observer
        self._cache = cache
        self._exchange = exchange
        self._what = what

    def find(self, key: str) -> Arrays | None:
        """Return earlier log-probabilities with a key, if there are any.

        Raises:
            StoppedError: The observer requests a stop.
        """
        return self._cached(key) or self._published(key)

    def keep(self, key: str, arrays: Arrays) -> None:
        """Store log-probabilities for later trainings, and publish them.

        Raises:
            StoppedError: The observer requests a stop.
            OSError: A file cannot be written.
        """
        if self._cache is not None:
            save_arrays(self._cache / f"{key}.safetensors", arrays)
            files = sorted(self._cache.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
            for old in files[:-_KEPT]:
                old.unlink(missing_ok=True)
        if self._exchange is not None:
            shared = self._exchange / f"{REFERENCE}.safetensors"
            save_arrays(shared, arrays)
            self._observer.reference(key, shared)

    def _cached(self, key: str) -> Arrays | None:
        place = None if self._cache is None else self._cache / f"{key}.safetensors"
        if place is None or not place.is_file():
            return None
        arrays = self._read(place)
        if arrays is None:
            _log.warning("%s is damaged: its log-probabilities are computed again", place)
        else:
            _log.info(
                "log-probabilities of an earlier training with the same model and %s", self._what
            )
        return arrays

    def _published(self, key: str) -> Arrays | None:
        if self._exchange is None:
            return None
        self._exchange.mkdir(parents=True, exist_ok=True)
        file = self._exchange / f"{REFERENCE}.safetensors"
        if not self._observer.find_reference(key, file):
            return None
        arrays = self._read(file)
        if arrays is None:
            _log.warning("the published log-probabilities are damaged: they are computed again")
        else:
            _log.info("log-probabilities of another run with the same model and %s", self._what)
        return arrays


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write log-probabilities to a file, atomically.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with as_os_errors(draft):
        save_file(arrays, str(draft))
    draft.rename(path)
