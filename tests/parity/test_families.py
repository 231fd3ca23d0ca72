"""Every family computes here what it computes in transformers; the reference is committed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tailrace.formats.model.families import FAMILIES
from tests.parity.cases import CASES, GOLDENS
from tests.parity.compare import Expected, check_computation, check_generation
from training.models.folder import load_model, save_model
from training.models.weights import INDEX


def expected_of(case: str) -> Expected:
    return dict(load_file(str(GOLDENS / case / "expected.safetensors")))


def test_every_family_has_a_golden_of_every_case() -> None:
    assert {path.name for path in GOLDENS.iterdir() if path.is_dir()} == set(CASES)
    configs = [json.loads((GOLDENS / case / "config.json").read_text()) for case in CASES]
    assert {config["model_type"] for config in configs} == set(FAMILIES)
    assert any((GOLDENS / case / INDEX).exists() for case in CASES)


@pytest.mark.parametrize("case", CASES)
def test_logits_loss_and_gradients(case: str) -> None:
    check_computation(*load_model(GOLDENS / case), expected_of(case))


@pytest.mark.parametrize("case", CASES)
def test_greedy_generation_token_for_token(case: str) -> None:
    check_generation(*load_model(GOLDENS / case), expected_of(case))


@pytest.mark.parametrize("case", CASES)
def test_load_save_load_is_exact(case: str, tmp_path: Path) -> None:
    model, params = load_model(GOLDENS / case)
    save_model(tmp_path, model, params, eos_token_id=0)
    again, values = load_model(tmp_path)
    assert again.config == model.config
    assert list(values) == list(params)
    for name, value in params.items():
        np.testing.assert_array_equal(values[name], value)
