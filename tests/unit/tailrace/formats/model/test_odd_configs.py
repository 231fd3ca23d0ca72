"""Any value of any key of a config.json is read, or refused in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.tensors import expected_shapes

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 32,
    "num_local_experts": 3,
    "num_experts": 3,
    "num_experts_per_tok": 2,
}
ODD: list[Any] = [
    *(None, True, math.nan, math.inf, -1, 0, 1.5, 7, 2**31, 10**400, 1e308, "", "x"),
    *([], [1], [None], ["x"], [math.nan], {}, {"a": 1}, {"rope_type": "yarn"}, {"type": []}),
]
ROPE = ("rope_type", "factor", "short_factor", "attention_factor", "full_attention", "rope_theta")


def configs(model_type: str) -> Iterator[dict[str, Any]]:
    """Yield configurations with one odd value each."""
    base = {"model_type": model_type, **SIZES}
    written = FAMILIES[model_type].dump_config(read_model_config(base))
    for value in ODD:
        for name in {*base, *written, "rope_scaling", "layer_types", "sliding_window"}:
            if name != "model_type":
                yield {**base, name: value}
        for kind in ("linear", "longrope", "default"):
            for name in ROPE:
                yield {**base, "rope_parameters": {"rope_type": kind, name: value}}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_odd_values_are_read_or_refused(model_type: str) -> None:
    refusals = []
    for config in configs(model_type):
        try:
            values = read_model_config(config)
        except ValueError as error:
            refusals.append(str(error))
            continue
        numbers = [value for value in vars(values).values() if isinstance(value, float)]
        assert all(map(math.isfinite, numbers)), config
        if FAMILIES[model_type].dimensions(values).layers < 10:
            assert expected_shapes(config)
    assert len(refusals) > 100
    assert all(0 < len(text) < 2000 for text in refusals)
