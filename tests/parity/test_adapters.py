"""LoRA here and in PEFT compute the same and look the same on disk; see make_adapters.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from tailrace.formats.model.adapter import UNMERGED_CONFIG, UNMERGED_FOLDER
from tests.parity.cases import ADAPTER_TARGETS, ADAPTERS, CASES, GOLDENS
from tests.parity.compare import ADAPTER_TOLERANCE, load_adapter, logits_of
from training.loop.lora import LoraAdapter, find_targets
from training.models.adapter_folder import save_adapter
from training.models.family import Params
from training.models.folder import load_model, open_model
from training.models.stored_weights import HeldWeights

Case = tuple[str, LoraAdapter, Params, Params]


@pytest.fixture(scope="module", params=ADAPTER_TARGETS)
def case(request: pytest.FixtureRequest) -> Case:
    """A name, an adapter, and the trained and the base model's values."""
    return request.param, *load_adapter(request.param)


def test_every_family_has_an_adapter() -> None:
    assert {CASES[name][0] for name in ADAPTER_TARGETS} == {name for name, _ in CASES.values()}


@pytest.mark.parametrize("name", [name for name, modules in ADAPTER_TARGETS.items() if not modules])
def test_all_layers_are_those_that_peft_calls_linear(name: str) -> None:
    model, _ = load_model(GOLDENS / name)
    config = json.loads((ADAPTERS / name / "adapter_config.json").read_text())
    assert {target.module for target in find_targets(model, [])} == set(config["target_modules"])


def test_beside_and_merged_weights_compute_what_peft_computes(
    case: Case,
) -> None:
    name, adapter, trained, params = case
    expected = load_file(ADAPTERS / name / "expected.safetensors")
    fresh, frozen = adapter.start(HeldWeights(params))
    assert {n: v.shape for n, v in fresh.items()} == {n: v.shape for n, v in trained.items()}

    @jax.jit
    def compute(trained: Params, params: Params) -> tuple[jax.Array, jax.Array]:
        none = {name: jnp.zeros_like(value) for name, value in trained.items()}
        return (
            logits_of(adapter.decoder(trained, params), expected["tokens"]),
            logits_of(adapter.decoder(none, adapter.merge(trained, params)), expected["tokens"]),
        )

    for computed in compute(trained, frozen):
        difference = np.abs(computed - expected["logits"]).max()
        assert difference <= ADAPTER_TOLERANCE * np.abs(expected["logits"]).max()


def test_the_folder_is_as_peft_writes_it(case: Case, tmp_path: Path) -> None:
    name, adapter, trained, _ = case
    save_adapter(tmp_path, adapter, trained, "base")
    ours, theirs = (
        load_file(folder / "adapter_model.safetensors") for folder in (tmp_path, ADAPTERS / name)
    )
    assert set(ours) == set(theirs)
    for tensor, value in theirs.items():
        np.testing.assert_array_equal(ours[tensor], value)
    written, reference = (
        json.loads((folder / "adapter_config.json").read_text())
        for folder in (tmp_path, ADAPTERS / name)
    )
    reference["base_model_name_or_path"] = "base"
    reference["target_modules"].sort()
    assert written == {key: reference[key] for key in written}


@pytest.mark.parametrize("is_stabilized", [False, True])
def test_an_imported_adapter_is_merged_while_its_base_is_loaded(
    case: Case, tmp_path: Path, is_stabilized: bool
) -> None:
    name, adapter, trained, params = case
    shutil.copytree(GOLDENS / name, tmp_path, dirs_exist_ok=True)
    shutil.copytree(ADAPTERS / name, tmp_path / UNMERGED_FOLDER)
    if is_stabilized:
        path = tmp_path / UNMERGED_CONFIG
        config = json.loads(path.read_text())
        alpha = config["lora_alpha"] / config["r"] ** 0.5
        path.write_text(json.dumps({**config, "use_rslora": True, "lora_alpha": alpha}))
    model, loaded = load_model(tmp_path)
    for tensor, value in adapter.merge(trained, params).items():
        np.testing.assert_allclose(loaded[tensor], value, rtol=0, atol=2e-6)
    expected = load_file(ADAPTERS / name / "expected.safetensors")
    computed = jax.jit(lambda params: logits_of(model.bind(params), expected["tokens"]))(loaded)
    difference = np.abs(np.asarray(computed) - expected["logits"]).max()
    assert difference <= ADAPTER_TOLERANCE * np.abs(expected["logits"]).max()


def test_an_exported_adapter_is_imported_on_its_base(case: Case, tmp_path: Path) -> None:
    name, adapter, trained, params = case
    shutil.copytree(GOLDENS / name, tmp_path, dirs_exist_ok=True)
    save_adapter(tmp_path / UNMERGED_FOLDER, adapter, trained, "models/base")
    _, loaded = load_model(tmp_path)
    for tensor, value in adapter.merge(trained, params).items():
        np.testing.assert_allclose(loaded[tensor], value, rtol=0, atol=2e-6)


def test_an_adapter_in_narrow_weights_is_added_before_they_are_rounded(
    case: Case, tmp_path: Path
) -> None:
    name, adapter, trained, params = case
    shutil.copytree(GOLDENS / name, tmp_path, dirs_exist_ok=True)
    save_adapter(tmp_path / UNMERGED_FOLDER, adapter, trained, "models/base")
    _, weights = open_model(tmp_path)
    narrow, merged = weights.load(dtype=jnp.bfloat16), adapter.merge(trained, params)
    for target in adapter.targets:
        exact = np.asarray(merged[target.weight])
        # Half a unit in the last of bfloat16's 8 significant bits.
        np.testing.assert_allclose(
            narrow[target.weight].astype(jnp.float32), exact, rtol=2**-8, atol=2e-6
        )
