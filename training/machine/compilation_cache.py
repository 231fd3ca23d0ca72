"""Repair of JAX's persistent compilation cache: JAX itself never replaces an entry."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

_SUFFIXES = ("-cache", "-atime")
"""Suffixes of the files of an entry."""


@functools.cache
def delete_damaged_entries() -> None:
    """Make this process delete each entry of the compilation cache that it cannot read.

    JAX compiles the program again, but does not overwrite the entry, so that every later start
    would fail to read it as well. Call this before programs are compiled; further calls do nothing.
    """
    # JAX exposes the key of an entry nowhere else.
    from jax._src import compilation_cache

    read = compilation_cache.get_executable_and_time

    @functools.wraps(read)
    def read_or_delete(cache_key: str, *arguments: Any, **options: Any) -> Any:
        try:
            return read(cache_key, *arguments, **options)
        except OSError:
            raise  # The file system failed; the entry may be good.
        except Exception:
            _delete(cache_key)
            raise

    compilation_cache.get_executable_and_time = read_or_delete


def _delete(key: str) -> None:
    import jax

    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if not folder:
        return
    _log.warning(
        "the compilation cache's entry %s is damaged: it is deleted and compiled again", key
    )
    for suffix in _SUFFIXES:
        try:
            (Path(folder) / f"{key}{suffix}").unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the damaged entry cannot be deleted: %s", error)
