from __future__ import annotations

import pytest

from tailrace.formats import catalog
from training.errors import ModelConfigError
from training.models.registry import (
    PRESET_VOCABULARY,
    PRESETS,
    model_from_config,
    preset_config,
)


def test_presets_are_those_that_run_specs_accept() -> None:
    assert tuple(PRESETS) == catalog.PRESETS
    assert set(PRESETS) == set(PRESET_VOCABULARY)


def test_nano() -> None:
    model = model_from_config(preset_config("gpt2-nano", 384))
    config = model.config
    assert (config.n_layer, config.n_embd, config.n_head) == (4, 128, 4)
    assert config.vocab_size <= 400
    assert (config.embd_pdrop, config.attn_pdrop, config.resid_pdrop) == (0, 0, 0)


@pytest.mark.parametrize("name", ["mamba", None, 3])
def test_unknown_architecture_lists_the_known(name: object) -> None:
    with pytest.raises(ModelConfigError, match="known: gpt2, llama, mistral, qwen2, qwen3"):
        model_from_config({"model_type": name})


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ModelConfigError, match="known: gpt2-nano"):
        preset_config("gpt2-huge", 1)
