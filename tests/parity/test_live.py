"""Every family against PyTorch itself, with other weights than the committed ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.parity.cases import CASES
from tests.parity.compare import check_computation, check_generation
from tests.parity.tiny_models import make_model, reference
from training.models.folder import load_model, save_model

SEED = 7


@pytest.mark.parametrize("case", CASES)
def test_the_same_here_and_there(case: str, tmp_path: Path) -> None:
    there = make_model(case, SEED)
    there.save_pretrained(tmp_path)
    expected = {name: value.numpy() for name, value in reference(there).items()}
    here = load_model(tmp_path)
    check_computation(*here, expected)
    check_generation(*here, expected)


@pytest.mark.parametrize("shard_bytes", [10**9, 10_000])
@pytest.mark.parametrize("case", CASES)
def test_transformers_opens_what_is_saved_here(case: str, shard_bytes: int, tmp_path: Path) -> None:
    first, second = tmp_path / "there", tmp_path / "here"
    there = make_model(case, SEED)
    there.save_pretrained(first)
    save_model(second, *load_model(first), eos_token_id=0, max_shard_bytes=shard_bytes)
    opened, problems = AutoModelForCausalLM.from_pretrained(second, output_loading_info=True)
    assert not any(problems.values()), problems
    tokens = torch.arange(1, 25).reshape(2, 12)
    with torch.no_grad():
        assert torch.equal(opened.eval()(tokens).logits, there(tokens).logits)
