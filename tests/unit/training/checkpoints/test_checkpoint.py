from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from training.checkpoints import checkpoint as module
from training.checkpoints.checkpoint import (
    Checkpoint,
    checkpoint_step,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    restore,
    save_checkpoint,
    to_host,
)
from training.errors import CheckpointError

IDENTITY = {"train": {"seed": 1, "steps": 9}, "dataset": "abc"}


def state(value: float = 1.0) -> Any:
    params = {"w": jnp.full((2, 3), value), "b": jnp.zeros(3)}
    return params, optax.adamw(0.1).init(params)


def make(step: int, value: float = 1.0) -> Checkpoint:
    progress = {"tokens": 5, "window": [0.1 + 0.2]}
    conditions = {"device": "cpu"}
    return Checkpoint(step, to_host(state(value)), [1, 2], progress, IDENTITY, conditions)


def save(folder: Path, checkpoint: Checkpoint, keep: int, best: int | None = None) -> Path:
    return save_checkpoint(folder, checkpoint, keep, best)[0]


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = save(tmp_path, make(7, 1 / 3), keep=2)
    loaded = load_checkpoint(path, IDENTITY)
    assert (loaded.step, loaded.rng, loaded.progress) == (7, [1, 2], make(7).progress)
    assert loaded.conditions == {"device": "cpu"}
    restored = restore(loaded, state(), path)
    np.testing.assert_array_equal(restored[0]["w"], state(1 / 3)[0]["w"])
    assert restored[1][0].count.shape == ()
    assert checkpoint_step(path) == 7


def test_a_checkpoint_from_before_the_shared_keys_goes_on(tmp_path: Path) -> None:
    old = {"seed": 1, "sft": {"max_steps": 9, "learning_rate": 0.1, "overlong": "drop"}}
    new = {"seed": 1, "max_steps": 9, "learning_rate": 0.1, "sft": {"overlong": "drop"}}
    path = save(tmp_path, dataclasses.replace(make(7), identity={"train": old}), keep=2)
    assert load_checkpoint(path, {"train": new}).step == 7
    with pytest.raises(CheckpointError, match=r"train.max_steps was 9, is 8"):
        load_checkpoint(path, {"train": {**new, "max_steps": 8}})


def test_only_json_and_safetensors(tmp_path: Path) -> None:
    path = save(tmp_path, make(1), keep=1)
    names = ["certificate.json", "checkpoint.json", "state.safetensors"]
    assert sorted(f.name for f in path.iterdir()) == names


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 15, 100):
        save(tmp_path, make(step), keep=2)
    assert [checkpoint_step(path) for path in list_checkpoints(tmp_path)] == [15, 100]
    assert find_checkpoint(tmp_path, "latest").name == "step-00000100"


def test_the_best_one_is_kept_beside_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        save(tmp_path, make(step), keep=1, best=10)
    assert [checkpoint_step(path) for path in list_checkpoints(tmp_path)] == [10, 20]


def test_what_was_just_written_is_never_removed(tmp_path: Path) -> None:
    for step in (100, 200, 300):
        save(tmp_path, make(step), keep=3)
    # It goes on from step 100; newer steps are there already.
    assert save(tmp_path, make(120), keep=2).is_dir()


def test_a_copy_on_the_host_outlives_donated_buffers() -> None:
    value = jnp.arange(4096, dtype=jnp.float32)
    copy = to_host((value,))
    grow = jax.jit(lambda x: x + 1, donate_argnums=0)
    for _ in range(3):
        value = grow(value)
    np.testing.assert_array_equal(copy["[0]"], np.arange(4096, dtype=np.float32))


def test_an_interrupted_save_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, make(1), keep=1)

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "_flush", fail)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path, make(2), keep=1)
    monkeypatch.undo()
    assert [checkpoint_step(path) for path in list_checkpoints(tmp_path)] == [1]
    save(tmp_path, make(2), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_another_training_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path, make(1), keep=1)
    with pytest.raises(CheckpointError, match=r"dataset was abc, is xyz; train\.seed was 1, is 2$"):
        load_checkpoint(path, {"train": {"seed": 2, "steps": 9}, "dataset": "xyz"})


def test_damage_is_seen(tmp_path: Path) -> None:
    path = save(tmp_path, make(1), keep=1)
    weights = path / "state.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged: optimizer do not match"):
        load_checkpoint(path, IDENTITY)


def test_another_model_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, make(1), keep=1)
    params = {"w": jnp.ones((2, 4)), "b": jnp.zeros(3)}
    loaded = load_checkpoint(path, IDENTITY)
    with pytest.raises(CheckpointError, match=r"is \(2, 3\), not \(2, 4\)"):
        restore(loaded, (params, optax.adamw(0.1).init(params)), path)
    with pytest.raises(CheckpointError, match="another model or optimizer"):
        restore(loaded, (params, optax.sgd(0.1).init(params)), path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"format": 9}, "has format 9"), ({"step": "x"}, "cannot be read"), ({"rng": None}, "cannot")],
)
def test_refused_contents(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    path = save(tmp_path, make(1), keep=1)
    meta = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**meta, **change}))
    with pytest.raises(CheckpointError, match=complaint):
        load_checkpoint(path, IDENTITY)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        find_checkpoint(tmp_path / "nowhere", "latest")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_checkpoint(find_checkpoint(tmp_path, str(tmp_path / "x")), IDENTITY)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        checkpoint_step(tmp_path)
