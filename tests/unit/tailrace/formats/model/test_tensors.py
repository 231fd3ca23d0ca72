from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config_reader import MAX_LAYERS
from tailrace.formats.model.tensors import (
    Tensor,
    expected_shapes,
    weight_problems,
)
from tests.model_folder import CONFIG


def stored(config: dict[str, Any] = CONFIG, **changes: Tensor | None) -> dict[str, Tensor]:
    found = {name: Tensor("F32", shape) for name, shape in expected_shapes(config).items()}
    for name, tensor in changes.items():
        if tensor is None:
            found.pop(name.replace("__", "."))
        else:
            found[name.replace("__", ".")] = tensor
    return found


def test_what_fits() -> None:
    assert weight_problems(CONFIG, stored()) == ""
    bare = {name.removeprefix("transformer."): t for name, t in stored().items()}
    assert weight_problems(CONFIG, bare) == ""
    masks = {"transformer.h.0.attn.bias": Tensor("BOOL", (1, 1, 2, 2))}
    output = {"lm_head.weight": Tensor("F16", (3, 2))}
    assert weight_problems(CONFIG, stored() | masks | output) == ""


def test_what_does_not_fit_is_listed_with_its_shapes() -> None:
    found = weight_problems(
        CONFIG,
        stored(
            transformer__wte__weight=Tensor("F32", (4, 2)),
            transformer__ln_f__bias=Tensor("I32", (2,)),
            transformer__wpe__weight=None,
            score__weight=Tensor("F32", (1, 2)),
            lm_head__weight=Tensor("F32", (9, 9)),
        ),
    )
    assert found == (
        "wrong tensors: lm_head.weight is [9, 9], not [3, 2], "
        "transformer.ln_f.bias holds I32, not one of F64, F32, F16, BF16, "
        "transformer.wte.weight is [4, 2], not [3, 2]; "
        "unknown tensors: score.weight [1, 2]; "
        "missing tensors: transformer.wpe.weight [2, 2] "
        "(take the config.json that belongs to these weights, or fetch both again)"
    )


def test_many_problems_are_counted() -> None:
    assert "and 11 more" in weight_problems(CONFIG, {})


def test_every_wrong_size_at_once() -> None:
    wrong = {"n_embd": None, "n_layer": "2", "n_head": 0, "vocab_size": True}
    with pytest.raises(ValueError, match="n_embd is missing") as raised:
        expected_shapes({**CONFIG, **wrong})
    for name in wrong:
        assert name in str(raised.value)


@pytest.mark.parametrize("name", ["mamba", None, [], "x" * 1000])
def test_an_unknown_architecture_lists_the_known(name: object) -> None:
    with pytest.raises(ValueError, match="known: gpt2, llama, mistral") as raised:
        expected_shapes({**CONFIG, "model_type": name})
    assert len(str(raised.value)) < 300


def test_layers_are_bounded() -> None:
    with pytest.raises(ValueError, match=f"n_layer must be at most {MAX_LAYERS}"):
        expected_shapes({**CONFIG, "n_layer": MAX_LAYERS + 1})
