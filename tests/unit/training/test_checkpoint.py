from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from training import checkpoint as module
from training.checkpoint import (
    Checkpoint,
    checkpoint_step,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from training.errors import CheckpointError

IDENTITY = {"seed": 1, "dataset": "abc"}


def state(value: float = 1.0) -> Any:
    params = {"w": jnp.full((2, 3), value), "b": jnp.zeros(3)}
    return params, optax.adamw(0.1).init(params)


def make(step: int, value: float = 1.0) -> Checkpoint:
    return Checkpoint(step, state(value), [1, 2], {"tokens": 5, "window": [0.1 + 0.2]}, IDENTITY)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make(7, 1 / 3), keep=2)
    loaded = load_checkpoint(path, state(), IDENTITY)
    assert (loaded.step, loaded.rng, loaded.progress) == (7, [1, 2], make(7).progress)
    np.testing.assert_array_equal(loaded.state[0]["w"], state(1 / 3)[0]["w"])
    assert loaded.state[1][0].count.shape == ()
    assert checkpoint_step(path) == 7


def test_only_json_and_safetensors(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make(1), keep=1)
    assert sorted(f.name for f in path.iterdir()) == ["checkpoint.json", "state.safetensors"]


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 15, 100):
        save_checkpoint(tmp_path, make(step), keep=2)
    assert [checkpoint_step(path) for path in list_checkpoints(tmp_path)] == [15, 100]
    assert find_checkpoint(tmp_path, "latest").name == "step-00000100"


def test_an_interrupted_save_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, make(1), keep=1)

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "_flush", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, make(2), keep=1)
    monkeypatch.undo()
    assert [checkpoint_step(path) for path in list_checkpoints(tmp_path)] == [1]
    save_checkpoint(tmp_path, make(2), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_another_training_is_refused_by_name(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make(1), keep=1)
    with pytest.raises(CheckpointError, match="dataset was 'abc', is 'xyz'; seed was 1, is 2"):
        load_checkpoint(path, state(), {"seed": 2, "dataset": "xyz"})


def test_damage_is_seen(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make(1), keep=1)
    weights = path / "state.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path, state(), IDENTITY)


def test_another_model_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make(1), keep=1)
    params = {"w": jnp.ones((2, 4)), "b": jnp.zeros(3)}
    with pytest.raises(CheckpointError, match=r"is \(2, 3\), not \(2, 4\)"):
        load_checkpoint(path, (params, optax.adamw(0.1).init(params)), IDENTITY)
    with pytest.raises(CheckpointError, match="another model or optimizer"):
        load_checkpoint(path, (params, optax.sgd(0.1).init(params)), IDENTITY)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"format": 9}, "has format 9"), ({"step": "x"}, "cannot be read"), ({"rng": None}, "cannot")],
)
def test_refused_contents(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    path = save_checkpoint(tmp_path, make(1), keep=1)
    meta = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**meta, **change}))
    with pytest.raises(CheckpointError, match=complaint):
        load_checkpoint(path, state(), IDENTITY)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        find_checkpoint(tmp_path / "nowhere", "latest")
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        load_checkpoint(find_checkpoint(tmp_path, str(tmp_path / "x")), state(), IDENTITY)
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        checkpoint_step(tmp_path)
