from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tailrace.formats.model.rope import Rope
from tests.unit.training.models.gguf.gguf_file import write_gguf
from training.errors import ModelConfigError, ModelNotFoundError
from training.models.family import Model, Params
from training.models.gguf.file import GgufFile
from training.models.gguf.weights import read_gguf
from training.models.registry import model_from_config
from training.models.rotary import Llama3Scaling, Rotary

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 50_000.0,
    "bos_token_id": 0,
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, tokenizer: Any) -> Write:
    """Writes a model as a GGUF file."""

    def written(model: Model, params: Params, **options: Any) -> Path:
        path = tmp_path / "model.gguf"
        write_gguf(path, model, params, tokenizer, **options)
        return path

    return written


def tiny(family: str, tokenizer: Any, **changes: Any) -> tuple[Model, Params]:
    settings = {**SHAPE, "model_type": family, "vocab_size": len(tokenizer), **changes}
    model = model_from_config(settings)
    return model, model.init(0)


UNSCALED = ("llama", "qwen2", "qwen3")
"""Families whose settings the common keys of a file hold."""


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", UNSCALED)
def test_every_family_comes_back_exactly(
    family: str, tied: bool, tokenizer: Any, write: Write
) -> None:
    model, params = tiny(family, tokenizer, tie_word_embeddings=tied)
    read, values = read_gguf(GgufFile(write(model, params)))
    assert read.config == model.config
    assert list(values) == list(params)
    for name, value in params.items():
        np.testing.assert_array_equal(values[name], value)


LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.25, 2.1],
    "long_factor": [2.0, 5.5, 9.0],
    "attention_factor": 1.19,
}
LINEAR = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "olmo2": [{}],
    "granite": [
        {
            "head_dim": 8,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.0625,
            "logits_scaling": 8.0,
        }
    ],
    "smollm3": [{"num_hidden_layers": 4, "tie_word_embeddings": True}],
    "gemma2": [{"query_pre_attn_scalar": 16, "sliding_window": 24}],
    "gemma3_text": [
        {"query_pre_attn_scalar": 16, "sliding_window": 24, "rope_theta": 1e6},
        {
            "query_pre_attn_scalar": 16,
            "sliding_window": 24,
            "rope_parameters": {"full_attention": LINEAR, "sliding_attention": {}},
        },
    ],
    "phi3": [
        {"head_dim": None, "sliding_window": 9, "original_max_position_embeddings": 4096},
        {
            "head_dim": None,
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 16,
            "rope_scaling": LONGROPE,
        },
    ],
}


@pytest.mark.parametrize(
    ("family", "changes"), [(name, changes) for name in VARIANTS for changes in VARIANTS[name]]
)
def test_settings_of_each_family_come_back(
    family: str, changes: dict[str, Any], tokenizer: Any, write: Write
) -> None:
    model, params = tiny(family, tokenizer, **changes)
    read, values = read_gguf(GgufFile(write(model, params)))
    assert read.config == model.config
    assert list(values) == list(params)
    for name, value in params.items():
        # The factors of Gemma's norms are stored as 1 + weight.
        np.testing.assert_allclose(values[name], value, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        (gguf.GGMLQuantizationType.F16, 2048),
        (gguf.GGMLQuantizationType.BF16, 256),
        (gguf.GGMLQuantizationType.Q8_0, 127),
        (gguf.GGMLQuantizationType.Q4_1, 15),
    ],
)
def test_quantized_tensors_are_widened(
    kind: gguf.GGMLQuantizationType, steps: int, tokenizer: Any, write: Write
) -> None:
    model, params = tiny("llama", tokenizer)
    _, values = read_gguf(GgufFile(write(model, params, kind=kind)))
    for name, value in params.items():
        assert values[name].dtype == np.float32
        error = np.abs(np.asarray(values[name]) - np.asarray(value)).max()
        assert error <= 2 * np.abs(value).max() / steps, name


def test_the_rotary_scaling_of_llama3_is_recognized(tokenizer: Any, write: Write) -> None:
    scaling = Llama3Scaling(32.0, 8192)
    model, params = tiny("llama", tokenizer, rope_theta=500_000.0, head_dim=64)
    plain, scaled = Rotary(500_000.0), Rotary(500_000.0, scaling)
    divisors = plain.frequencies(64) / scaled.frequencies(64)
    path = write(model, params, tensors={"rope_freqs.weight": divisors})
    assert read_gguf(GgufFile(path))[0].config.rope == Rope(
        500_000.0,
        "llama3",
        {
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "factor": 32.0,
            "original_max_position_embeddings": 8192,
        },
    )


def test_another_rotary_scaling_is_refused(tokenizer: Any, write: Write) -> None:
    model, params = tiny("llama", tokenizer)
    divisors = np.linspace(1, 5, 8, dtype=np.float32)
    file = GgufFile(write(model, params, tensors={"rope_freqs.weight": divisors}))
    with pytest.raises(ModelConfigError, match="not Llama 3's rotary scaling"):
        read_gguf(file)


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ({"llama.expert_count": 8}, "expert_count = 8"),
        ({"llama.rope.scaling.type": "yarn"}, "rope.scaling.type = yarn"),
        ({"llama.attention.sliding_window": 16}, "attention.sliding_window = 16"),
        ({"llama.logit_scale": 8.0}, "logit_scale = 8.0"),
        ({"llama.block_count": 9_000}, "block_count = 9000, but the file has 2"),
        ({"llama.attention.causal": False}, "attention.causal = False"),
        ({"llama.rope.dimension_count": 8}, "rope.dimension_count = 8"),
        ({"llama.rope.scaling.attn_factor": 1.5}, "rope.scaling.attn_factor = 1.5"),
        ({"llama.rope.freq_base_swa": 1e4}, "rope.freq_base_swa = 10000.0"),
    ],
)
def test_settings_that_are_not_converted_are_named(
    extra: dict[str, Any], complaint: str, tokenizer: Any, write: Write
) -> None:
    file = GgufFile(write(*tiny("llama", tokenizer), extra=extra))
    with pytest.raises(ModelConfigError, match=complaint):
        read_gguf(file)


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear"])
def test_a_factor_without_a_type_is_linear(key: str, tokenizer: Any, write: Write) -> None:
    file = GgufFile(write(*tiny("llama", tokenizer), extra={f"llama.{key}": 4.0}))
    rope = read_gguf(file)[0].config.rope
    assert (rope.kind, rope.values) == ("linear", {"factor": 4.0})


def test_divisors_that_an_architecture_does_not_read_are_named(
    tokenizer: Any, write: Write
) -> None:
    divisors = {"rope_factors_long.weight": np.ones(8, np.float32)}
    file = GgufFile(write(*tiny("llama", tokenizer), tensors=divisors))
    with pytest.raises(ModelConfigError, match=r"unknown: \['rope_factors_long.weight'\]"):
        read_gguf(file)


def test_an_unknown_architecture_lists_the_known(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelConfigError, match=r"'mamba' is not converted; known: llama, qwen2"):
        read_gguf(GgufFile(tmp_path / "model.gguf"))


def test_tensors_that_do_not_fit_are_named_with_their_shapes(tokenizer: Any, write: Write) -> None:
    odd = {
        "blk.0.attn_norm.weight": np.ones(8, np.float32),
        "blk.7.attn_norm.weight": np.ones(32, np.float32),
    }
    file = GgufFile(write(*tiny("llama", tokenizer), tensors=odd))
    with pytest.raises(ModelConfigError) as caught:
        read_gguf(file)
    assert "blk.0.attn_norm.weight is (8,), not (32,)" in str(caught.value)
    assert "unknown: ['blk.7.attn_norm.weight']" in str(caught.value)


@pytest.mark.parametrize("kept", [0, 3, 20, 1000, -100])
def test_truncated_files(kept: int, tokenizer: Any, write: Write) -> None:
    path = write(*tiny("llama", tokenizer))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelConfigError, match="damaged or not a GGUF file"):
        GgufFile(path)


def test_text_that_is_not_utf_8(tokenizer: Any, write: Write) -> None:
    path = write(*tiny("llama", tokenizer))
    path.write_bytes(path.read_bytes().replace(b"general.architecture", b"general.\xffrchitecture"))
    with pytest.raises(ModelConfigError, match="a text in it is not UTF-8"):
        GgufFile(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        GgufFile(tmp_path / "model.gguf")
