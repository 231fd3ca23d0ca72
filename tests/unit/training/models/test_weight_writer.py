from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from training.errors import ModelConfigError
from training.models.family import Model, Params
from training.models.weight_writer import WEIGHTS, TensorSpec, WeightWriter, write_model

TENSORS: dict[str, np.ndarray] = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.ones(3, np.float16),
    "c.d": np.ones((3, 1), ml_dtypes.bfloat16),
    "é": np.zeros(2, np.float64),
    "scalar": np.array(3, np.float32),
}


def specs(tensors: dict[str, np.ndarray]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(value.shape, value.dtype) for name, value in tensors.items()}


def test_files_are_those_of_the_library_in_any_order_of_writing(tmp_path: Path) -> None:
    save_file(TENSORS, str(tmp_path / "library"), metadata={"format": "pt"})
    writer = WeightWriter({tmp_path / "ours": specs(TENSORS)})
    for name in reversed(TENSORS):
        assert writer.write(name, TENSORS[name])
    writer.close()
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "library").read_bytes()


def test_every_tensor_must_be_written_in_its_shape(tmp_path: Path) -> None:
    writer = WeightWriter({tmp_path / "file": specs(TENSORS)})
    with pytest.raises(ValueError, match=r"b is \(3, 2\), not \(2, 3\)"):
        writer.write("b", TENSORS["b"].T)
    with pytest.raises(ValueError, match=r"not written: a, b, c.d, scalar, é"):
        writer.close()


def test_values_beyond_their_type_are_named_and_nothing_stays(
    tmp_path: Path, model: Model, params: Params
) -> None:
    large = {name: value + 1e6 * ("ln_" in name) for name, value in params.items()}
    with pytest.raises(ModelConfigError, match=r"^trained values are .*ln_1.bias and 5 more; set"):
        write_model(tmp_path, model, large, dict.fromkeys(params, np.float16))
    assert not (tmp_path / WEIGHTS).exists()


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Figures of ``save_probe.py``."""
    folder = tmp_path_factory.mktemp("large")
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.training.models.save_probe", str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=Path(__file__).parents[4],
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def test_saving_needs_one_tensor_beside_the_weights(probed: dict[str, Any]) -> None:
    assert probed["weights"] > 150e6
    assert probed["grown"] <= 1.5 * probed["largest"] + 50e6


def test_no_host_array_holds_more_than_a_tensor(probed: dict[str, Any]) -> None:
    assert probed["host_peak"] <= 1.2 * probed["largest"] + 20e6 < probed["weights"] / 2


def test_several_devices_and_files_give_the_same_values(probed: dict[str, Any]) -> None:
    assert probed["files"] > 1
    assert probed["differing"] == []
