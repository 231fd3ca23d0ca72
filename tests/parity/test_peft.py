"""PEFT opens the adapters that are written here; test_adapters.py compares without PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from tests.parity.cases import ADAPTER_TARGETS, ADAPTERS, GOLDENS
from tests.parity.compare import ADAPTER_TOLERANCE, load_adapter
from training.models.adapter_folder import save_adapter


@pytest.mark.parametrize("name", ADAPTER_TARGETS)
def test_peft_computes_with_our_folder_what_the_adapter_computes_here(
    name: str, tmp_path: Path
) -> None:
    save_adapter(tmp_path, *load_adapter(name)[:2], str(GOLDENS / name))
    expected = load_file(ADAPTERS / name / "expected.safetensors")
    base = transformers.AutoModelForCausalLM.from_pretrained(GOLDENS / name)
    opened = peft.PeftModel.from_pretrained(base, tmp_path)
    with torch.no_grad():
        logits = opened(torch.from_numpy(expected["tokens"])).logits.numpy()
    difference = np.abs(logits - expected["logits"]).max()
    assert difference <= ADAPTER_TOLERANCE * np.abs(expected["logits"]).max()
