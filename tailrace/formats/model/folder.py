"""Files of a model folder in Hugging Face layout: weights and text, never code."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath

from tailrace.formats.model.adapter import CONFIG_NAME as ADAPTER_CONFIG
from tailrace.formats.model.adapter import UNMERGED_WEIGHTS
from tailrace.formats.wording import describe

CONFIG_FILE = "config.json"
"""File that describes the architecture."""

WEIGHTS = ".safetensors"
"""Suffix of the only accepted weight format, which holds tensors and no code."""

WEIGHTS_FILE = "model.safetensors"
"""Weights in one file."""

WEIGHTS_INDEX = "model.safetensors.index.json"
"""Index of weights in several files: ``weight_map``, tensor name to file name."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
"""Files of which a tokenizer needs one."""

ALLOWED = (WEIGHTS, ".json", ".txt", ".model", ".jinja")
"""Accepted suffixes of a model's files."""

MAX_WEIGHT_FILES = 1000
"""Largest number of weight files."""

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
_CODE = (".py", ".so", ".sh", ".pyc")
_GGUF = ".gguf"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_CONVERT = "convert it with `python -m training.import_gguf --gguf FILE --output FOLDER`"
_SHOWN = 5


def file_problem(path: str) -> str | None:
    """Return the reason to refuse a file by its name; None for an accepted one."""
    suffix = PurePosixPath(path).suffix
    if suffix.lower() in _PICKLED:
        return "may hold pickled objects, which run code when opened: convert it to safetensors"
    if suffix.lower() in _CODE:
        return "is code, and a model's code is never run"
    if suffix.lower() == _GGUF:
        return f"is a GGUF file (llama.cpp's format): {_CONVERT}"
    if suffix not in ALLOWED:
        return f"is not a file of a model; accepted suffixes: {', '.join(ALLOWED)}"
    return None


def lacks(paths: Collection[str]) -> list[str]:
    """Return what a folder with these files lacks, in sentences with the way out."""
    if ADAPTER_CONFIG in paths and CONFIG_FILE not in paths:
        return [
            f"it is a PEFT adapter ({ADAPTER_CONFIG}), not a model: name its base model "
            "(`tailrace models import FOLDER --base models/NAME`), or merge it into its base model "
            "(peft: model.merge_and_unload().save_pretrained(FOLDER)) and give that folder"
        ]
    sentences = []
    if CONFIG_FILE not in paths:
        sentences.append(f"there is no {CONFIG_FILE} at the top of the folder")
    if not {WEIGHTS_FILE, WEIGHTS_INDEX} & set(paths):
        sentences.append(
            f"there are no weights at the top of the folder: neither {WEIGHTS_FILE} nor "
            f"{WEIGHTS_INDEX} with its files{_other_weights(paths)}"
        )
    if not set(TOKENIZER_FILES) & set(paths):
        sentences.append(
            f"there is no tokenizer at the top of the folder: no {' or '.join(TOKENIZER_FILES)}"
            f"{_other_tokenizers(paths)}"
        )
    return sentences


def weight_places(index: object) -> dict[str, str]:
    """Return the file name of each tensor in a parsed index of weights.

    Raises:
        ValueError: It is not an index; the message is a predicate.
    """
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise ValueError("is not an index of weights: it needs a weight_map")
    if not places:
        raise ValueError("is not an index of weights: its weight_map is empty")
    for name in places.values():
        # A name from outside must stay inside the folder.
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            raise ValueError(
                f"names {describe(name)}, which is not the name of a safetensors file in this "
                "folder"
            )
    if len(set(places.values())) > MAX_WEIGHT_FILES:
        raise ValueError(f"names more than {MAX_WEIGHT_FILES} files")
    return places


def is_weight_file(path: str) -> bool:
    """Return True if a file holds weights at the top of the folder."""
    return "/" not in path and path.endswith(WEIGHTS)


def has_header(path: str) -> bool:
    """Return True for a safetensors file that a model is loaded from."""
    return is_weight_file(path) or path == UNMERGED_WEIGHTS


def _other_weights(paths: Collection[str]) -> str:
    """Return the files present in place of weights, with the way out."""
    named = sorted(path for path in paths if "/" not in path)
    shards = [path for path in named if _SHARD.fullmatch(path)]
    kinds = [
        (shards, f"are parts of weights without {WEIGHTS_INDEX}, which belongs to them"),
        (
            [p for p in named if p.endswith(WEIGHTS) and not _SHARD.fullmatch(p)],
            f"are not named as a model's weights: save the model with transformers "
            f"(model.save_pretrained(FOLDER) writes {WEIGHTS_FILE})",
        ),
        (
            [path for path in named if PurePosixPath(path).suffix.lower() in _PICKLED],
            "are pickled weights, which are never opened: save the model as safetensors where you "
            "trust it (transformers: model.save_pretrained(FOLDER))",
        ),
        ([path for path in named if path.lower().endswith(_GGUF)], f"is a GGUF file: {_CONVERT}"),
    ]
    for names, problem in kinds:
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            return f"; {', '.join(names[:_SHOWN])}{more} {problem}"
    return ""


def _other_tokenizers(paths: Collection[str]) -> str:
    formats = [path for path in ("tokenizer.model", "tekken.json", "vocab.txt") if path in paths]
    if not formats:
        return ""
    return (
        f"; save {formats[0]} as {TOKENIZER_FILES[0]} where transformers opens it "
        "(AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER))"
    )
