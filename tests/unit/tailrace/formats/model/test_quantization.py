"""Folders that another tool quantized are refused by the name of their method."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.formats.model.config import family_problem
from tailrace.formats.model.quantization import config_quantization, tensor_quantization
from tailrace.formats.model.safetensors_header import read_header

BEFORE = "give the model as it was before its quantization"
WIDEN = ", or widen it with transformers, at some loss: AutoModelForCausalLM.from_pretrained(FOLDER"
UP = "model.layers.0.mlp.up_proj"


@pytest.mark.parametrize(
    ("settings", "name", "way"),
    [
        ({"quant_method": "awq"}, " with AWQ", BEFORE),
        ({"quant_method": "gptq"}, " with GPTQ", BEFORE),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            " with bitsandbytes",
            f"{BEFORE}{WIDEN}).dequantize().save_pretrained(OTHER)",
        ),
        (
            {"load_in_8bit": True},
            " with bitsandbytes",
            f"{BEFORE}{WIDEN}).dequantize().save_pretrained(OTHER)",
        ),
        (
            {"quant_method": "mxfp4"},
            " with MXFP4",
            f"{BEFORE}{WIDEN}, quantization_config=Mxfp4Config(dequantize=True))"
            ".save_pretrained(OTHER)",
        ),
        (
            {"quant_method": "compressed-tensors"},
            " with compressed-tensors",
            f"{BEFORE}{WIDEN}, quantization_config=CompressedTensorsConfig(dequantize=True))"
            ".save_pretrained(OTHER)",
        ),
        (
            {"quant_method": "fp8"},
            " with FP8",
            f"{BEFORE}{WIDEN}, quantization_config=FineGrainedFP8Config(dequantize=True))"
            ".save_pretrained(OTHER)",
        ),
        ({"quant_method": "hqq"}, " with HQQ", BEFORE),
        ({"quant_method": "aqlm"}, " with AQLM", BEFORE),
        ({"quant_method": "torchao"}, " with torchao", BEFORE),
        ({"quant_method": "modelopt"}, " with NVIDIA ModelOpt", BEFORE),
        ({"quant_method": "later"}, " with 'later'", BEFORE),
        ({"quant_method": ["gptq"]}, " with ['gptq']", BEFORE),
        ("gptq", "", BEFORE),
    ],
)
def test_a_configuration_names_its_quantization(settings: Any, name: str, way: str) -> None:
    config = {"model_type": "llama", "quantization_config": settings}
    expected = f"weights quantized{name} (quantization_config) are not supported: {way}"
    assert family_problem(config) == expected


def test_an_unknown_family_is_named_together_with_its_quantization() -> None:
    config = {"model_type": "gpt_oss", "quantization_config": {"quant_method": "mxfp4"}}
    problem = family_problem(config)
    assert problem.startswith("model_type 'gpt_oss' is not supported; known: ")
    assert "; weights quantized with MXFP4 (quantization_config) are not supported" in problem


@pytest.mark.parametrize("config", [{}, {"quantization_config": None}, {"quantization_config": {}}])
def test_a_configuration_without_a_quantization(config: dict[str, Any]) -> None:
    assert config_quantization(config) == ""


@pytest.mark.parametrize(
    ("endings", "name"),
    [
        ((".qweight", ".qzeros", ".scales"), "AWQ"),
        ((".qweight", ".qzeros", ".scales", ".g_idx"), "GPTQ"),
        ((".weight", ".weight.absmax", ".weight.quant_map"), "bitsandbytes"),
        ((".weight", ".SCB", ".weight_format"), "bitsandbytes (8 bits)"),
        (("_blocks", "_scales", "_bias"), "MXFP4"),
        ((".weight_packed", ".weight_scale", ".weight_shape"), "compressed-tensors"),
        ((".weight", ".weight_scale_inv"), "FP8"),
        ((".W_q", ".meta"), "HQQ"),
        ((".codes", ".codebooks", ".scales"), "AQLM"),
        ((".weight:_data", ".weight:_scale"), "torchao"),
        (("._weight_qdata", "._weight_scale"), "torchao"),
        ((".weight._data", ".weight._scale"), "quanto"),
        ((".weight", ".weight_scale", ".weight_scale_2"), "NVIDIA ModelOpt"),
    ],
)
def test_tensors_name_the_quantization_that_a_configuration_lacks(
    endings: tuple[str, ...], name: str
) -> None:
    dtypes = {f"{UP}{ending}": "U8" for ending in endings}
    problem = tensor_quantization(dtypes)
    assert problem.startswith(f"they are quantized with {name}: {BEFORE}")


def test_types_show_a_quantization_without_a_name() -> None:
    assert (
        tensor_quantization({"a": "F32", "b": "F8_E4M3"}) == f"they are quantized (FP8): {BEFORE}"
    )
    assert tensor_quantization({"a": "F32", "b": "I8"}) == f"they are quantized: {BEFORE}"


def test_plain_tensors_are_not_quantized() -> None:
    assert tensor_quantization({f"{UP}.weight": "BF16", f"{UP}.bias": "F32"}) == ""


def test_microscaled_types_are_refused_in_the_header() -> None:
    header = json.dumps({"w": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}).encode()
    with pytest.raises(ValueError, match="'w' of the quantized type F4: give the model as it was"):
        read_header(header, 8 + len(header) + 2)
