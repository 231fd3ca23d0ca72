"""Model folders that another tool quantized, recognised by name.

Their weights are codes whose meaning only that tool's kernels know. A training starts from the
weights before the quantization; it can quantize them itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.formats.model.config_reader import shorten


@dataclass(frozen=True)
class Method:
    """A quantization that model folders are published in."""

    name: str
    """Name that its users know."""
    suffixes: tuple[str, ...] = ()
    """Endings of tensor names that occur together in its folders alone."""
    opening: str = ""
    """Expression by which transformers opens a folder and widens its weights; empty if none."""


_CLASS = "AutoModelForCausalLM.from_pretrained"

_METHODS = {
    "bitsandbytes": Method(
        "bitsandbytes", (".absmax", ".quant_map"), f"{_CLASS}(FOLDER).dequantize()"
    ),
    "bitsandbytes_8bit": Method(
        "bitsandbytes (8 bits)", (".SCB",), f"{_CLASS}(FOLDER).dequantize()"
    ),
    "gptq": Method("GPTQ", (".qweight", ".g_idx")),
    "awq": Method("AWQ", (".qweight", ".qzeros")),
    "mxfp4": Method(
        "MXFP4",
        ("_blocks", "_scales"),
        f"{_CLASS}(FOLDER, quantization_config=Mxfp4Config(dequantize=True))",
    ),
    "compressed-tensors": Method(
        "compressed-tensors",
        (".weight_packed", ".weight_scale"),
        f"{_CLASS}(FOLDER, quantization_config=CompressedTensorsConfig(dequantize=True))",
    ),
    "fp8": Method(
        "FP8",
        (".weight_scale_inv",),
        f"{_CLASS}(FOLDER, quantization_config=FineGrainedFP8Config(dequantize=True))",
    ),
    "modelopt": Method("NVIDIA ModelOpt", (".weight_scale_2",)),
    "hqq": Method("HQQ", (".W_q",)),
    "aqlm": Method("AQLM", (".codes", ".codebooks")),
    "torchao": Method("torchao", (".weight:_data",)),
    "torchao_qdata": Method("torchao", ("weight_qdata",)),
    "quanto": Method("quanto", (".weight._data",)),
    "exl2": Method("EXL2", (".q_weight", ".q_groups")),
    "exl3": Method("EXL3", (".trellis",)),
    "vptq": Method("VPTQ", (".centroids.weight",)),
    **{
        key: Method(name)
        for key, name in {
            "auto-round": "AutoRound",
            "bitnet": "BitNet",
            "eetq": "EETQ",
            "fbgemm_fp8": "FP8 (FBGEMM)",
            "fp_quant": "FP-Quant",
            "higgs": "HIGGS",
            "mxfp8": "MXFP8",
            "nvfp4": "NVFP4",
            "quark": "AMD Quark",
            "spqr": "SpQR",
        }.items()
    },
}
"""Methods by the ``quant_method`` of config.json; of two that share endings, the narrower first."""

_KEYS = ("quantization_config", "compression_config")
"""Keys of config.json that describe a quantization."""

_ORIGINAL = "give the model as it was before its quantization"


def config_quantization(config: Mapping[str, Any]) -> str:
    """Return a sentence on the quantization that a config.json describes; empty without one."""
    key = next((key for key in _KEYS if config.get(key)), None)
    if key is None:
        return ""
    described = config[key]
    settings: Mapping[str, Any] = described if isinstance(described, Mapping) else {}
    named = settings.get("quant_method")
    if named is None and (settings.get("load_in_4bit") or settings.get("load_in_8bit")):
        named = "bitsandbytes"  # Its first releases did not write their name.
    method = _METHODS.get(named) if isinstance(named, str) else None
    if method is not None:
        return f"weights quantized with {method.name} ({key}) are not supported: {_way_out(method)}"
    origin = "" if named is None else f" with {shorten(named)}"
    return f"weights quantized{origin} ({key}) are not supported: {_ORIGINAL}"


def tensor_quantization(dtypes: Mapping[str, str]) -> str:
    """Return a sentence on the quantization that stored tensors show; empty without one.

    Args:
        dtypes: The safetensors type of every tensor by its name.
    """
    for method in _METHODS.values():
        if method.suffixes and all(_has(dtypes, suffix) for suffix in method.suffixes):
            return f"they are quantized with {method.name}: {_way_out(method)}"
    if any(dtype.startswith("F8") for dtype in dtypes.values()):
        return f"they are quantized (FP8): {_ORIGINAL}"
    if any(dtype.startswith(("I8", "U8")) for dtype in dtypes.values()):
        return f"they are quantized: {_ORIGINAL}"
    return ""


def _has(names: Collection[str], suffix: str) -> bool:
    return any(name.endswith(suffix) for name in names)


def _way_out(method: Method) -> str:
    widened = f"{method.opening}.save_pretrained(OTHER)"
    way = f", or widen it with transformers, at some loss: {widened}" if method.opening else ""
    return _ORIGINAL + way
