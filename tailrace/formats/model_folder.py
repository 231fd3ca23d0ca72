"""What a model folder in Hugging Face layout may hold: weights and text, nothing that runs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

CONFIG_FILE = "config.json"
"""The file that names the architecture."""

WEIGHTS = ".safetensors"
"""The one format of weights that is taken (it holds tensors and nothing that runs)."""

WEIGHTS_FILE = "model.safetensors"
"""Weights in one file."""

WEIGHTS_INDEX = "model.safetensors.index.json"
"""The index of weights in several files: ``weight_map``, tensor name to file name."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
"""The files of which a tokenizer needs one."""

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


def lacks(paths: Collection[str]) -> list[str]:
    """What a model folder with these files lacks, each in a sentence."""
    found = []
    if CONFIG_FILE not in paths:
        found.append(f"there is no {CONFIG_FILE} at the top of the folder")
    if not {WEIGHTS_FILE, WEIGHTS_INDEX} & set(paths):
        found.append(
            f"there are no weights at the top of the folder: neither {WEIGHTS_FILE} nor "
            f"{WEIGHTS_INDEX} with its files"
        )
    if not set(TOKENIZER_FILES) & set(paths):
        found.append(
            f"there is no tokenizer at the top of the folder: no {' or '.join(TOKENIZER_FILES)}"
        )
    return found
