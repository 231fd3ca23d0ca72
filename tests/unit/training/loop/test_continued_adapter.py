"""An imported adapter is the starting point of a training, and its continuation is exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tailrace.formats.data.trace import Trace
from tailrace.formats.model.adapter import ADAPTER_FOLDER as FOLDER
from tailrace.formats.model.adapter import PREFIX, UNMERGED_CONFIG, UNMERGED_FOLDER
from tailrace.formats.spec.model_spec import AdapterUse
from tailrace.formats.spec.run_spec import AdapterSpec, LoraSpec, ModelSpec, TrainSpec
from tests.unit.training.chat_folder import write_chat_folder
from training.errors import ConfigError, ModelConfigError
from training.loop.fit import fit
from training.loop.lora import LoraAdapter
from training.loop.start import Start, prepare
from training.models.adapter_folder import save_adapter
from training.models.family import Params
from training.models.folder import load_model
from training.observer import Observer

CONTINUED = ModelSpec(source="models/tuned", adapter=AdapterUse.CONTINUE)
MERGED = ModelSpec(source="models/tuned")
LORA = LoraSpec(rank=3, alpha=5.0, target_modules=["c_attn"])


def spec(lora: LoraSpec | None = None, **settings: Any) -> TrainSpec:
    adapter = None if lora is None else AdapterSpec(lora=lora)
    fixed = {"max_steps": 1, "batch_size": 2, "max_seq_length": 128, "steps_per_dispatch": 1}
    return TrainSpec(adapter=adapter, **{**fixed, "learning_rate": 1e-9, **settings})


def tuned(folder: Path, lora: LoraSpec = LORA) -> tuple[Path, Params]:
    """Write a chat model with an adapter of random matrices, and return these."""
    write_chat_folder(folder)
    model, _ = load_model(folder)
    adapter = LoraAdapter(model, lora, jnp.float32, seed=0)
    generator = np.random.default_rng(0)
    shapes = {name: value.shape for name, value in adapter.fresh().items()}
    trained = {
        name: jnp.asarray(generator.normal(0, 0.3, shape), jnp.float32)
        for name, shape in shapes.items()
    }
    save_adapter(folder / UNMERGED_FOLDER, adapter, trained, "models/base")
    return folder, trained


def started(folder: Path, traces: list[Trace], train: TrainSpec) -> Start:
    return prepare(CONTINUED, train, traces[:4], folder)


def test_a_training_goes_on_with_the_matrices_and_exports_them(
    tmp_path: Path, traces: list[Trace]
) -> None:
    folder, trained = tuned(tmp_path / "tuned")
    losses = {}
    for name, model, train in (
        ("continued", CONTINUED, spec()),
        ("merged", MERGED, spec(LORA)),
    ):
        start = prepare(model, train, traces[:4], folder)
        final = tmp_path / name
        losses[name] = fit(start, start.train, tmp_path / f"{name}.c", final, Observer()).first_loss
    assert losses["continued"] == pytest.approx(losses["merged"], rel=1e-5)
    exported = tmp_path / "continued" / FOLDER
    matrices = load_file(exported / "adapter_model.safetensors")
    assert set(matrices) == {PREFIX + name for name in trained}
    for name, value in trained.items():
        np.testing.assert_allclose(matrices[PREFIX + name], value, rtol=0, atol=1e-6)
    config = json.loads((exported / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (3, 5.0, ["c_attn"])
    assert config["base_model_name_or_path"] == "models/base"
    _, merged = load_model(folder)
    _, values = load_model(tmp_path / "continued")
    for name, value in merged.items():
        np.testing.assert_allclose(values[name], value, rtol=0, atol=1e-6)


def test_rank_alpha_and_layers_are_those_of_the_adapter(
    tmp_path: Path, traces: list[Trace]
) -> None:
    folder, _ = tuned(tmp_path, LoraSpec(rank=2, alpha=6.0, target_modules=["mlp.c_proj"]))
    path = folder / UNMERGED_CONFIG
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "use_rslora": True}))
    adapter = started(folder, traces, spec()).train.adapter
    assert adapter is not None
    assert adapter.lora is not None
    assert adapter.lora.rank == 2
    assert adapter.lora.alpha == pytest.approx(6.0 * 2**0.5)
    # Attention has a layer of that name, too.
    assert adapter.lora.target_modules == ["transformer.h.0.mlp.c_proj"]


def test_settings_that_an_adapter_does_not_have_are_those_of_the_spec(
    tmp_path: Path, traces: list[Trace]
) -> None:
    folder, _ = tuned(tmp_path)
    lora = LoraSpec(rank=3, alpha=5.0, target_modules=["attn.c_attn"], dropout=0.1)
    adapter = started(folder, traces, spec(lora)).train.adapter
    assert adapter == AdapterSpec(lora=lora)


def test_weights_that_overflow_with_their_adapter_are_named(tmp_path: Path) -> None:
    folder, trained = tuned(tmp_path)
    path = folder / UNMERGED_FOLDER / "adapter_model.safetensors"
    save_file({PREFIX + name: 1e30 * np.asarray(value) for name, value in trained.items()}, path)
    with pytest.raises(ModelConfigError, match=r"c_attn.weight with its adapter has values beyond"):
        load_model(folder)


def test_a_conflict_names_both_values(tmp_path: Path, traces: list[Trace]) -> None:
    folder, _ = tuned(tmp_path)
    with pytest.raises(ConfigError) as caught:
        started(folder, traces, spec(LoraSpec(rank=4, alpha=8.0)))
    assert str(caught.value) == (
        "train.adapter.lora differs from the adapter of models/tuned that model.adapter continues: "
        "rank 4, the adapter has 3; alpha 8, the adapter has 5; target_modules all linear layers, "
        "the adapter has c_attn: leave train.adapter out, or give the same values"
    )


def test_a_model_without_an_adapter_has_none_to_continue(
    tmp_path: Path, traces: list[Trace]
) -> None:
    folder = write_chat_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"models/tuned has no adapter: import one with its base"):
        started(folder, traces, spec())


def test_a_checkpoint_belongs_to_the_adapter_that_it_continues(
    tmp_path: Path, traces: list[Trace]
) -> None:
    folder, _ = tuned(tmp_path)
    first = started(folder, traces, spec()).identity["weights"]
    path = folder / UNMERGED_FOLDER / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert started(folder, traces, spec()).identity["weights"] != first
