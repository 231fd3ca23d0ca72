from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tailrace.formats.model.export import ExportDtype
from tests.unit.training.models.gguf.test_tokenizer import PIECES, read
from training.data.tokenizer import load_tokenizer
from training.errors import ModelConfigError, ModelNotFoundError
from training.loop.final_model import save_folder
from training.models.exported import ExportedModel, export_adapter, export_merged
from training.models.folder import load_model
from training.models.gguf.file import GgufFile
from training.models.gguf.tokenizer import read_tokenizer
from training.models.gguf.weights import read_gguf
from training.models.gguf.writer import write_gguf
from training.models.registry import model_from_config

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 48,
}


def saved(folder: Path, tokenizer: Any, **changes: Any) -> Path:
    settings = {"model_type": "llama", "vocab_size": len(tokenizer), **SHAPE, **changes}
    model = model_from_config(settings)
    save_folder(folder, model, model.init(3), tokenizer)
    return folder


@pytest.mark.parametrize("dtype", list(ExportDtype))
def test_a_folder_in_another_type(dtype: ExportDtype, tmp_path: Path, tokenizer: Any) -> None:
    source = saved(tmp_path / "source", tokenizer)
    export_merged(source, tmp_path / "out", dtype)
    _, wanted = load_model(source)
    _, values = load_model(tmp_path / "out")
    steps = {ExportDtype.FLOAT16: 2048, ExportDtype.BFLOAT16: 256}.get(dtype, float("inf"))
    for name, value in wanted.items():
        np.testing.assert_allclose(values[name], value, rtol=1 / steps, atol=1e-7)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["dtype"] == ("float32" if dtype is ExportDtype.SOURCE else dtype)
    text = "What is 82 + 15?"
    assert load_tokenizer(tmp_path / "out")(text) == load_tokenizer(source)(text)


def test_values_that_are_too_large_are_named(tmp_path: Path, tokenizer: Any) -> None:
    model = model_from_config({"model_type": "llama", "vocab_size": len(tokenizer), **SHAPE})
    params = model.init(3)
    params["model.norm.weight"] = params["model.norm.weight"] * 1e6
    save_folder(tmp_path / "source", model, params, tokenizer)
    with pytest.raises(ModelConfigError, match=r"model\.norm\.weight has values up to 1e"):
        export_merged(tmp_path / "source", tmp_path / "out", ExportDtype.FLOAT16)


def test_a_model_without_an_adapter(tmp_path: Path, tokenizer: Any) -> None:
    source = saved(tmp_path / "source", tokenizer)
    with pytest.raises(ModelNotFoundError, match="has no adapter"):
        export_adapter(source, tmp_path / "out", ExportDtype.SOURCE)


def test_the_adapter_alone(tmp_path: Path, tokenizer: Any) -> None:
    source = saved(tmp_path / "source", tokenizer)
    adapter = source / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    matrix = np.arange(64, dtype=np.float32).reshape(2, 32)
    save_file({name: matrix}, str(adapter / "adapter_model.safetensors"))
    export_adapter(source, tmp_path / "out", ExportDtype.FLOAT16)
    values = load_file(str(tmp_path / "out/adapter_model.safetensors"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert values[name].dtype == np.float16
    np.testing.assert_array_equal(values[name], matrix)


ROPE = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.25, 2.1, 3.0, 4.0, 5.0, 6.0, 7.0],
    "long_factor": [2.0, 5.5, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0],
    "attention_factor": 1.19,
}
FAMILIES: list[dict[str, Any]] = [
    {"model_type": "llama"},
    {"model_type": "llama", "rope_parameters": {**ROPE, "rope_theta": 500_000.0}},
    {"model_type": "mistral", "sliding_window": None},
    {"model_type": "qwen2", "tie_word_embeddings": True},
    {"model_type": "qwen3", "head_dim": 16},
    {"model_type": "olmo2"},
    {"model_type": "granite", "attention_multiplier": 0.0625, "logits_scaling": 8.0,
     "embedding_multiplier": 12.0, "residual_multiplier": 0.22},
    {"model_type": "smollm3", "num_hidden_layers": 4, "tie_word_embeddings": True},
    {"model_type": "gemma2", "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 24},
    {"model_type": "gemma3_text", "head_dim": 16, "query_pre_attn_scalar": 16,
     "sliding_window": 24, "rope_theta": 1e6},
    {"model_type": "phi3", "original_max_position_embeddings": 16, "rope_scaling": LONGROPE},
]  # fmt: skip


@pytest.mark.parametrize("changes", FAMILIES, ids=lambda changes: changes["model_type"])
def test_gguf_files_come_back(changes: dict[str, Any], tmp_path: Path, tokenizer: Any) -> None:
    source = saved(tmp_path / "source", tokenizer, **changes)
    path = tmp_path / "model.gguf"
    write_gguf(path, ExportedModel.open(source, ExportDtype.SOURCE), load_tokenizer(source))
    file = GgufFile(path)
    _, values = read_gguf(file)
    _, wanted = load_model(source)
    assert list(values) == list(wanted)
    for name, value in wanted.items():
        # The factors of Gemma's norms are stored as 1 + weight.
        np.testing.assert_allclose(values[name], value, atol=1e-7, err_msg=name)
    text = "It's 2024: 82 + 15 <|endoftext|>"
    assert read_tokenizer(file)(text) == load_tokenizer(source)(text)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model_type": "mistral", "sliding_window": 16}, "sliding_window = 16"),
        ({"model_type": "llama", "rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope ="),
        ({"model_type": "qwen3_moe", "num_experts": 2, "num_experts_per_tok": 1,
          "moe_intermediate_size": 16, "head_dim": 16}, "qwen3_moe cannot be exported to GGUF"),
    ],
)  # fmt: skip
def test_models_that_gguf_cannot_hold(
    changes: dict[str, Any], complaint: str, tmp_path: Path, tokenizer: Any
) -> None:
    source = saved(tmp_path / "source", tokenizer, **changes)
    exported = ExportedModel.open(source, ExportDtype.SOURCE)
    with pytest.raises(ModelConfigError, match=complaint):
        write_gguf(tmp_path / "model.gguf", exported, load_tokenizer(source))


@pytest.mark.parametrize("dtype", [ExportDtype.FLOAT16, ExportDtype.BFLOAT16])
def test_half_of_the_bytes(dtype: ExportDtype, tmp_path: Path, tokenizer: Any) -> None:
    source = saved(tmp_path / "source", tokenizer)
    path = tmp_path / "model.gguf"
    write_gguf(path, ExportedModel.open(source, dtype), load_tokenizer(source))
    _, values = read_gguf(GgufFile(path))
    export_merged(source, tmp_path / "folder", dtype)
    _, wanted = load_model(tmp_path / "folder")
    name = "model.embed_tokens.weight"
    np.testing.assert_array_equal(values[name], wanted[name])


def test_sentencepiece_tokenizers_come_back(tmp_path: Path, tokenizer: Any) -> None:
    pieces = read(tmp_path, tokenizer, extra=PIECES)
    source = saved(tmp_path / "source", pieces)
    path = tmp_path / "written.gguf"
    pieces = load_tokenizer(source)
    write_gguf(path, ExportedModel.open(source, ExportDtype.SOURCE), pieces)
    written = read_tokenizer(GgufFile(path))
    for text in ("hello world", "a  hollow hell", "h\u00e9\n<|end|>"):
        assert written(text) == pieces(text)
