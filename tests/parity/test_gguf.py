"""A converted GGUF file computes what transformers computes with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.parity.compare import TOLERANCE, logits_of
from tests.unit.training.chat_folder import chat_tokenizer
from tests.unit.training.models.gguf.gguf_file import write_gguf
from tests.unit.training.models.gguf.test_weights import UNSCALED, VARIANTS, tiny
from training.models.folder import save_model
from training.models.gguf.file import GgufFile
from training.models.gguf.weights import read_gguf

LENGTH = 40
"""Tokens of a row: more than the windows and the original contexts of the variants."""

CASES = [
    *((family, {}) for family in UNSCALED),
    *((family, changes) for family in VARIANTS for changes in VARIANTS[family]),
]


@pytest.mark.parametrize(("family", "changes"), CASES)
def test_logits_after_an_import(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = chat_tokenizer(bos=True)
    model, fresh = tiny(family, tokenizer, **changes)
    generator = np.random.default_rng(0)
    # Fresh norms are one; only other values show that they are used.
    params = {
        name: value + jnp.asarray(generator.normal(0, 0.1, value.shape), jnp.float32)
        for name, value in fresh.items()
    }
    save_model(tmp_path / "source", model, params, eos_token_id=0)
    source = AutoModelForCausalLM.from_pretrained(tmp_path / "source").eval()
    tokens = generator.integers(0, len(tokenizer), (2, LENGTH))
    with torch.no_grad():
        expected = source(torch.from_numpy(tokens)).logits.numpy()
    write_gguf(tmp_path / "model.gguf", model, params, tokenizer)
    read, values = read_gguf(GgufFile(tmp_path / "model.gguf"))
    logits = jax.jit(lambda values: logits_of(read.bind(values), jnp.asarray(tokens)))(values)
    assert np.abs(np.asarray(logits) - expected).max() <= TOLERANCE * np.abs(expected).max()
