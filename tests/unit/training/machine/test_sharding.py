from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tailrace.formats.model.families import FAMILIES
from tailrace.formats.spec.run_spec import MeshSpec
from training.errors import ConfigError
from training.machine.sharding import Layout, bytes_per_device, make_mesh, require_experts
from training.models.family import Model, Params
from training.models.registry import model_from_config

CONFIGS = ("gpt2", "llama", "mixtral")
ROOT = Path(__file__).parents[4]

pytestmark = pytest.mark.timeout(400)
"""Eight devices on few cores take their time when the machine is busy."""

LLAMA = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "tie_word_embeddings": False,
}
GPT2 = {"n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 64}


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory, compilation_cache: Path) -> dict[str, Any]:
    """Figures of ``mesh_probe.py`` on eight virtual devices."""
    folder = tmp_path_factory.mktemp("meshes")
    probe = Path(__file__).parent / "mesh_probe.py"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(compilation_cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = subprocess.run(
        [sys.executable, str(probe), str(folder)],
        capture_output=True,
        text=True,
        timeout=380,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert seen["devices"] == 8
    return seen


@pytest.mark.parametrize("mesh", ["data_tensor", "all", "experts"])
def test_the_loss_is_the_same_on_one_device_and_on_eight(probed: dict[str, Any], mesh: str) -> None:
    curves = probed["losses"]
    compared = [family for family in CONFIGS if f"{family}/{mesh}" in curves]
    assert compared
    for family in compared:
        one, many = curves[f"{family}/one"], curves[f"{family}/{mesh}"]
        assert len(one) == 4
        assert max(one) - min(one) > 0.05
        np.testing.assert_allclose(many, one, rtol=0, atol=1e-5)


def test_an_adapter_is_the_same_on_one_device_and_on_eight(probed: dict[str, Any]) -> None:
    one, many = probed["adapted"]["one"], probed["adapted"]["all"]
    assert (len(one["losses"]), len(one["evaluations"])) == (4, 2)
    assert max(one["losses"]) - min(one["losses"]) > 1e-3
    for curve in ("losses", "evaluations"):
        np.testing.assert_allclose(many[curve], one[curve], rtol=0, atol=1e-5)
    for name, weights in one["merged"].items():
        np.testing.assert_allclose(many["merged"][name], weights, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("change", ["all to one", "one to all", "all to data_tensor"])
def test_a_checkpoint_of_one_mesh_goes_on_on_another(probed: dict[str, Any], change: str) -> None:
    undisturbed = probed["losses"]["gpt2/one"]
    np.testing.assert_allclose(probed["resumed"][change], undisturbed[2:], rtol=0, atol=1e-5)


def test_weights_are_split_as_the_rules_say(probed: dict[str, Any]) -> None:
    shards = probed["shards"]
    assert set(shards["gpt2/one"].values()) == {1.0}
    halves = {name for name, parts in shards["gpt2/data_tensor"].items() if parts == 2}
    assert "transformer.h.0.attn.c_attn.weight" in halves
    assert "transformer.wpe.weight" not in halves
    for family in ("gpt2", "llama"):
        parts = shards[f"{family}/all"]
        matrices = {n: p for n, p in parts.items() if p > 1}
        assert {p for n, p in matrices.items() if n.endswith("proj.weight")} == {4.0}
    assert shards["gpt2/all"]["transformer.ln_f.weight"] == 1.0
    expert = "model.layers.0.block_sparse_moe.experts.w1.weight"
    assert shards["mixtral/experts"][expert] == 8.0
    assert probed["mesh"] == "data 2 × fsdp 2 × tensor 2"


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_large_parameter_of_a_family_has_a_rule(name: str) -> None:
    model = model_from_config({"model_type": name, **(GPT2 if name == "gpt2" else LLAMA)})
    mesh: Any = SimpleNamespace(shape={"data": 1, "fsdp": 2, "tensor": 2, "experts": 2})
    layout = Layout(mesh, FAMILIES[name].axes)
    whole = {n for n, s in model.shapes.items() if len(s) > 1 and _axes(layout, n, s) == 0}
    assert whole == set()


def _axes(layout: Layout, name: str, shape: tuple[int, ...]) -> int:
    return sum(axis is not None for axis in layout.axes(name, shape))


def test_a_dimension_that_does_not_divide_stays_whole() -> None:
    mesh: Any = SimpleNamespace(shape={"data": 1, "fsdp": 2, "tensor": 4})
    layout = Layout(mesh, FAMILIES["gpt2"].axes)
    assert layout.axes("transformer.wte.weight", (50257, 768)) == (None, "fsdp")
    assert layout.axes("transformer.wte.weight", (50304, 768)) == ("tensor", "fsdp")
    assert layout.axes("transformer.h.0.ln_1.weight", (768,)) == ()
    assert bytes_per_device(layout, {"transformer.wte.weight": (50304, 768)}, 4) == 50304 * 96 * 4


def mesh_of(spec: MeshSpec, rows: int, count: int) -> Any:
    """The mesh of fake devices; what is refused is refused before any is touched."""
    return make_mesh(spec, rows, [object()] * count)


@pytest.mark.parametrize(
    ("spec", "rows", "count", "complaint"),
    [
        (MeshSpec(data=4, tensor=2), 8, 4, r"asks for 8 devices .* the slot has 4"),
        (MeshSpec(fsdp=8), 8, 4, r"asks for 8 devices"),
        (MeshSpec(data=4), 6, 4, r"6 rows .* multiple of 4"),
        (MeshSpec(data=2, fsdp=2), 6, 4, r"6 rows .* multiple of 4"),
        (MeshSpec(fsdp=4), 6, 4, r"data 1 × fsdp 4: .* multiple of 4"),
    ],
)
def test_refused(spec: MeshSpec, rows: int, count: int, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        mesh_of(spec, rows, count)


def test_experts_must_divide_those_of_the_model() -> None:
    require_experts(MeshSpec(experts=4), 8)
    require_experts(MeshSpec(), 0)
    with pytest.raises(ConfigError, match=r"train.mesh.experts is 3, but the model has 8 experts"):
        require_experts(MeshSpec(experts=3), 8)
    with pytest.raises(ConfigError, match="the model has no experts: must be 1"):
        require_experts(MeshSpec(experts=2), 0)


def test_one_device_is_a_mesh_and_a_copy_shares_nothing(model: Model, params: Params) -> None:
    layout = Layout.of("gpt2", make_mesh(MeshSpec(), 3))
    assert layout.name == "data 1 × fsdp 1 × tensor 1"
    placed = layout.place(params)
    for name, value in params.items():
        np.testing.assert_array_equal(placed[name], value)
        assert placed[name].unsafe_buffer_pointer() != value.unsafe_buffer_pointer()
    assert sum(p.size for p in placed.values()) == model.parameters
