"""Model folders made from checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.canonical import sha256_file
from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import AdapterSpec, LoraSpec, ModelSpec, TrainSpec
from training.checkpoints.checkpoint import find_checkpoint
from training.errors import CheckpointError
from training.loop.checkpoint_model import save_checkpoint_model
from training.loop.final_model import save_folder
from training.loop.fit import fit
from training.loop.start import prepare
from training.models.family import Model, Params
from training.observer import Observer

LORA = AdapterSpec(lora=LoraSpec(rank=2, target_modules=["c_attn"]))


def train_spec(**changes: Any) -> TrainSpec:
    shape = {"max_steps": 2, "batch_size": 4, "max_seq_length": 64, "steps_per_dispatch": 2}
    return TrainSpec(**shape | {"save_every_steps": 2} | changes)


def train(tmp_path: Path, spec: ModelSpec, train: TrainSpec, traces: list[Trace]) -> Path:
    """Train to the end, whose step is saved, and return the checkpoint."""
    base = tmp_path / "base"
    start = prepare(spec, train, traces, base if base.exists() else None)
    fit(start, train, tmp_path / "checkpoints", tmp_path / "final", Observer())
    return find_checkpoint(tmp_path / "checkpoints", "latest")


def same_folder(tmp_path: Path) -> None:
    made, final = tmp_path / "made", tmp_path / "final"
    names = {path.name for path in made.iterdir()}
    assert names == {path.name for path in final.iterdir() if path.is_file()}
    assert all(sha256_file(made / name) == sha256_file(final / name) for name in names)


@pytest.mark.parametrize("adapter", [None, LORA], ids=["all-weights", "lora"])
def test_the_model_of_the_last_checkpoint_is_the_final_one(
    tmp_path: Path,
    model: Model,
    params: Params,
    tokenizer: Any,
    traces: list[Trace],
    adapter: AdapterSpec | None,
) -> None:
    save_folder(tmp_path / "base", model, params, tokenizer)
    spec = ModelSpec(source="models/x")
    checkpoint = train(tmp_path, spec, train_spec(adapter=adapter), traces)
    save_checkpoint_model(checkpoint, tmp_path / "made", tmp_path / "base", [])
    same_folder(tmp_path)


def test_a_preset_gets_its_tokenizer_from_the_dataset(tmp_path: Path, traces: list[Trace]) -> None:
    spec = ModelSpec(preset="gpt2-nano")
    checkpoint = train(tmp_path, spec, train_spec(eval_fraction=0.2), traces)
    save_checkpoint_model(checkpoint, tmp_path / "made", None, traces)
    same_folder(tmp_path)


def test_a_checkpoint_that_names_no_training_is_refused(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any, traces: list[Trace]
) -> None:
    save_folder(tmp_path / "base", model, params, tokenizer)
    checkpoint = train(tmp_path, ModelSpec(source="models/x"), train_spec(), traces)
    meta = json.loads((checkpoint / "checkpoint.json").read_text())
    del meta["identity"]["model"]
    (checkpoint / "checkpoint.json").write_text(json.dumps(meta))
    with pytest.raises(CheckpointError):
        save_checkpoint_model(checkpoint, tmp_path / "made", tmp_path / "base", [])
