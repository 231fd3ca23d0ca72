"""What a model folder in Hugging Face layout may hold: weights and text, nothing that runs."""

from __future__ import annotations

from pathlib import PurePosixPath

CONFIG_FILE = "config.json"
"""The file that names the architecture."""

WEIGHTS = ".safetensors"
"""The one format of weights that is taken (it holds tensors and nothing that runs)."""

ALLOWED = (WEIGHTS, ".json", ".txt", ".model", ".jinja")
"""Suffixes of a model's files."""

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
_CODE = (".py", ".so", ".sh", ".pyc")


def file_problem(path: str) -> str | None:
    """Why a file has no place in a model folder, by its name; ``None`` when it has."""
    suffix = PurePosixPath(path).suffix
    if suffix.lower() in _PICKLED:
        return "may hold pickled objects, which run code when opened: convert it to safetensors"
    if suffix.lower() in _CODE:
        return "is code, and a model's code is never run"
    if suffix not in ALLOWED:
        return f"is no file of a model; there may be: {', '.join(ALLOWED)}"
    return None
