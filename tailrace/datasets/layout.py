"""Splits of a folder: the files of each, by the layout of Hugging Face datasets.

The layout is that of the page "Structure your repository" of its documentation: ``configs`` in the
card (README.md), shards such as ``train-00000-of-00002``, folders and names of files.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tailrace.datasets.readers.formats import DATA_SUFFIXES, data_suffix
from tailrace.datasets.readers.row import DataFileError, missing_library
from tailrace.formats.wording import describe, pluralize

CARD = "README.md"
"""The card: a page that may begin with the splits, as YAML."""

MAX_CARD_BYTES = 1 << 20
"""Maximum length of a card's YAML, in bytes."""

MAX_FILES = 10_000
"""Maximum number of files of a folder."""

_MAX_ENTRIES = 1000
_SHOWN = 20
_KEYWORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "dev": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Names of splits in folders and files, with the split."""

_NOT_DATA = frozenset(
    {"dataset_infos.json", "dataset_dict.json", "dataset_info.json", "state.json"}
)
_SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}(?:-[\da-f]+)?\.")
_FRONT_MATTER = re.compile(r"\ufeff?---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Split:
    """A split with its files."""

    name: str
    files: tuple[str, ...]
    """Paths below the folder, in order."""
    config: str = ""
    """Configuration that the split belongs to; empty if there is only one."""
    unassigned: tuple[str, ...] = field(default=(), compare=False)
    """Data files of the folder that belong to no split."""

    @property
    def full_name(self) -> str:
        """Name that is unique in the folder."""
        return f"{self.config}/{self.name}" if self.config else self.name


def find_splits(paths: Iterable[str], card: str = "") -> list[Split]:
    """Return the splits of a folder.

    Args:
        paths: Paths of its files, with ``/`` between segments; hidden ones are left out.
        card: Text of its ``README.md``.

    Raises:
        DataFileError: The card's YAML is damaged, or there are no data files.
    """
    names = sorted(path for path in paths if _is_visible(path))
    data_files = [path for path in names if _is_data(path)]
    configs = _configs(card)
    splits = _described(configs, data_files) if configs else _by_name(data_files)
    if splits:
        return splits
    if any(path.endswith(".arrow") for path in names):
        raise DataFileError(
            "has Arrow files, as save_to_disk writes them: write Parquet instead "
            "(datasets: Dataset.to_parquet)"
        )
    if any(path.endswith(".py") for path in names):
        raise DataFileError(
            "has a script in place of data files, which is not run: give a revision with Parquet "
            "files, such as @refs/convert/parquet"
        )
    raise DataFileError(f"has no data files: their names end in {', '.join(DATA_SUFFIXES)}")


def choose_split(splits: Sequence[Split], name: str | None) -> Split:
    """Return the split of a name; without one, the only split.

    Raises:
        DataFileError: There is no such split, there are several, or its files differ in format.
    """
    if name is None:
        candidates = list(splits)
        problem = f"has the splits {_list(splits)}: choose one with --split NAME"
    else:
        candidates = [split for split in splits if split.full_name == name] or [
            split for split in splits if name in (split.name, split.config)
        ]
        problem = (
            f"has no split {describe(name)}" if not candidates else f"has {name} several times"
        )
        problem += f"; there is: {_list(splits)}"
    if len(candidates) != 1:
        raise DataFileError(problem)
    split = candidates[0]
    suffixes = sorted({data_suffix(path) for path in split.files})
    if len(suffixes) > 1:
        raise DataFileError(
            f"has files of several formats in the split {split.full_name} "
            f"({', '.join(suffixes)}): give one file, or a folder of one format"
        )
    return split


def _list(splits: Sequence[Split]) -> str:
    names = [
        f"{split.full_name} ({pluralize(len(split.files), 'file')})" for split in splits[:_SHOWN]
    ]
    more = len(splits) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _is_visible(path: str) -> bool:
    return not any(part.startswith((".", "__")) for part in path.split("/"))


def _is_data(path: str) -> bool:
    return data_suffix(path) in DATA_SUFFIXES and PurePosixPath(path).name not in _NOT_DATA


def _by_name(paths: Sequence[str]) -> list[Split]:
    """Return the splits that the names of files and folders tell; one of all files otherwise."""
    named: dict[str, list[str]] = {}
    unassigned = []
    for path in paths:
        name = _split_name(path)
        if name is None:
            unassigned.append(path)
        else:
            named.setdefault(name, []).append(path)
    if not named:
        return [Split("train", tuple(paths))] if paths else []
    return [
        Split(name, tuple(files), unassigned=tuple(unassigned)) for name, files in named.items()
    ]


def _split_name(path: str) -> str | None:
    *folders, file = path.split("/")
    shard = _SHARD.match(file)
    if shard:
        return _KEYWORDS.get(shard[1], shard[1])
    words = [folder.lower() for folder in reversed(folders)]
    words += re.split(r"[^a-z0-9]+", file.lower())
    return next((_KEYWORDS[word] for word in words if word in _KEYWORDS), None)


def _described(configs: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> list[Split]:
    """Return the splits that the card's ``configs`` describe."""
    splits = []
    for config in configs:
        name = str(config.get("config_name", "default"))[:200] if len(configs) > 1 else ""
        folder = str(config.get("data_dir", "")).strip("/")
        inside = [path for path in paths if not folder or path.startswith(f"{folder}/")]
        patterns = _patterns(config.get("data_files"))
        if not patterns:
            splits += [Split(split.name, split.files, name) for split in _by_name(inside)]
        for split, globs in patterns.items():
            files = [path for path in paths if any(_matches(path, glob, folder) for glob in globs)]
            if not files:
                beginning = ", ".join(glob[:100] for glob in globs[:3])
                raise DataFileError(
                    f"has no file for the split {split[:100]} of its card: {beginning}"
                )
            splits.append(Split(split, tuple(files), name))
    return splits


def _patterns(data_files: Any) -> dict[str, list[str]]:
    """Return the patterns of each split of ``data_files``, in its three spellings."""
    if isinstance(data_files, str):
        return {"train": [data_files]}
    if isinstance(data_files, Mapping):
        data_files = [{"split": name, "path": path} for name, path in data_files.items()]
    if not isinstance(data_files, list):
        return {}
    patterns: dict[str, list[str]] = {}
    for entry in data_files[:_MAX_ENTRIES]:
        split, paths = "train", entry
        if isinstance(entry, Mapping):
            split, paths = str(entry.get("split", "train")), entry.get("path")
        texts = paths if isinstance(paths, list) else [paths]
        globs = [text for text in texts[:_MAX_ENTRIES] if isinstance(text, str)]
        patterns.setdefault(split, []).extend(globs)
    return patterns


def _matches(path: str, pattern: str, folder: str) -> bool:
    full = f"{folder}/{pattern}" if folder and not pattern.startswith(f"{folder}/") else pattern
    return _match_segments(path.split("/"), full.removeprefix("./").split("/"))


def _match_segments(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return True if segments match those of a pattern, in which ``**`` is any number of them."""
    # The set of numbers of segments that the pattern so far can have consumed.
    ends = {0}
    for part in pattern:
        if part == "**":
            ends = set(range(min(ends), len(path) + 1)) if ends else set()
        else:
            ends = {
                end + 1 for end in ends if end < len(path) and fnmatch.fnmatchcase(path[end], part)
            }
    return len(path) in ends


def _configs(card: str) -> list[Mapping[str, Any]]:
    front = _FRONT_MATTER.match(card)
    if front is None:
        return []
    if len(front[1]) > MAX_CARD_BYTES:
        raise DataFileError(f"has a card whose YAML is longer than {MAX_CARD_BYTES} bytes")
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise missing_library(error, "a folder with a card") from error
    try:
        # All scalars stay text: a card has values of many meanings, such as the language "no".
        content = yaml.load(front[1], Loader=yaml.BaseLoader)  # noqa: S506 - makes text only
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = str(error).splitlines()[0][:200]
        raise DataFileError(f"has a card ({CARD}) whose YAML is damaged: {problem}") from error
    configs = content.get("configs") if isinstance(content, dict) else None
    if not isinstance(configs, list):
        return []
    return [config for config in configs[:_MAX_ENTRIES] if isinstance(config, Mapping)]
