from __future__ import annotations

import warnings
from pathlib import Path

import jax
import pytest
from jax._src.lru_cache import LRUCache

from training.machine.compilation_cache import delete_damaged_entries


def compute() -> float:
    """Compile the same program again, as another process would."""

    def cached_probe(x: float) -> float:
        return x * 3.8125 + 7.1875

    return float(jax.jit(cached_probe)(1.0))


def entries(folder: Path) -> dict[str, bytes]:
    """Entries of ``compute``: threads of earlier tests may still add others."""
    return {path.name: path.read_bytes() for path in folder.glob("jit_cached_probe-*-cache")}


def test_an_entry_that_cannot_be_read_is_replaced_and_no_other(compilation_cache: Path) -> None:
    delete_damaged_entries()
    before = entries(compilation_cache)
    assert compute() == 11.0
    [name] = entries(compilation_cache).keys() - before
    for damaged in (b"", b"damaged", entries(compilation_cache)[name][:100]):
        (compilation_cache / name).write_bytes(damaged)
        with pytest.warns(UserWarning, match="Error reading persistent compilation cache entry"):
            assert compute() == 11.0
        assert len(entries(compilation_cache)[name]) > 100
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert compute() == 11.0
    assert entries(compilation_cache).keys() == {*before, name}
    assert all(entries(compilation_cache)[n] == content for n, content in before.items())


def test_an_unreadable_folder_is_no_damaged_entry(
    compilation_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute()
    before = entries(compilation_cache)

    def fail(cache: LRUCache, key: str) -> bytes:
        raise PermissionError(13, "Permission denied", key)

    with monkeypatch.context() as patched:
        patched.setattr(LRUCache, "get", fail)
        with pytest.warns(UserWarning, match="PermissionError"):
            compute()
    assert entries(compilation_cache).keys() == before.keys()
