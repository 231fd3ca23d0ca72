"""Data sets on the Hugging Face hub, read by the client with its own token."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tailrace.datasets.layout import (
    CARD,
    MAX_CARD_BYTES,
    MAX_FILES,
    Split,
    choose_split,
    find_splits,
)
from tailrace.datasets.readers.row import DataFileError, missing_library
from tailrace.formats.listing import path_problem

SCHEME = "hf://"
"""Beginning of the address of a data set on the hub."""

MAX_BYTES = 64 << 30
"""Maximum size of the files that are downloaded."""

_MIN_FREE_BYTES = 1 << 30
_REPOSITORY_TYPE = "dataset"
_URL = re.compile(
    r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[\w.-]+|[^/@]+))?(?:/(?P<path>.+?)/?)?/?"
)


@dataclass(frozen=True)
class HubUrl:
    """Address of a data set, or of a part of it."""

    repository: str
    """Organisation and name."""
    revision: str | None = None
    """Branch, tag or commit; None for the newest commit."""
    path: str = ""
    """File or folder in the repository; empty for all of it."""


@dataclass(frozen=True)
class Download:
    """The files of a split on this machine."""

    files: tuple[tuple[str, Path], ...]
    """Path in the repository and on this machine of each file."""
    split: str
    origin: str
    """Address of the data set with the commit that was read."""
    left_out: tuple[str, ...] = ()
    """Data files that belong to no split."""


def parse_url(url: str) -> HubUrl:
    """Return the parts of an address.

    Raises:
        DataFileError: It is not of the form ``hf://datasets/ORG/NAME[@REVISION][/PATH]``.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise DataFileError(
            f"{url[:200]!r} must be of the form hf://datasets/ORG/NAME[@REVISION][/PATH]"
        )
    revision = match["revision"]
    path = match["path"] or ""
    problem = path_problem(path) if path else None
    if problem:
        raise DataFileError(f"{url[:200]!r} has a path that {problem}")
    return HubUrl(match["repository"], unquote(revision) if revision else None, path)


def download(url: HubUrl, folder: Path, split: str | None = None) -> Download:
    """Download the files of a split to a folder, and return their places.

    The revision is resolved to a commit first, from which every file is read. The library
    ``huggingface_hub`` takes the endpoint from ``HF_ENDPOINT`` and the token from ``HF_TOKEN`` or
    its login; the token goes to the endpoint alone, not to servers that it redirects to.

    Raises:
        DataFileError: The data set cannot be reached, or its split is missing or ambiguous.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise missing_library(error, "hf://") from error
    api = huggingface_hub.HfApi(library_name="tailrace")
    with _errors(url), _without_bars():
        commit = api.dataset_info(url.repository, revision=url.revision).sha
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40,64}", commit):
            raise DataFileError("has no commit: the endpoint is not a Hugging Face hub")
        sizes = _list_files(api, url, commit)
        repository = _Repository(api, url.repository, commit, folder)
        origin = f"hf://datasets/{url.repository}@{commit}" + (f"/{url.path}" if url.path else "")
        if url.path in sizes:
            if split is not None:
                raise DataFileError("is a file, which has no splits: leave out --split")
            part = Split(Path(url.path).name, (url.path,))
        else:
            prefix = f"{url.path}/" if url.path else ""
            inside = {path.removeprefix(prefix) for path in sizes if path.startswith(prefix)}
            card_path = prefix + CARD
            card = repository.read_card(card_path) if sizes.get(card_path, 0) else ""
            part = choose_split(find_splits(inside, card), split)
            part = replace(part, files=tuple(prefix + path for path in part.files))
        _require_room(folder, sum(sizes[path] for path in part.files))
        files = tuple((path, repository.fetch(path)) for path in part.files)
        return Download(files, part.full_name, origin, part.unassigned)


@dataclass(frozen=True)
class _Repository:
    """A data set at a commit, with the folder for its files."""

    api: Any
    name: str
    commit: str
    folder: Path

    def fetch(self, path: str) -> Path:
        """Download a file and return its place."""
        # The path passed path_problem, so that it stays within the folder.
        place = self.api.hf_hub_download(
            self.name,
            path,
            repo_type=_REPOSITORY_TYPE,
            revision=self.commit,
            local_dir=self.folder,
        )
        return Path(place)

    def read_card(self, path: str) -> str:
        """Return the beginning of the card's text."""
        with self.fetch(path).open("rb") as file:
            return file.read(2 * MAX_CARD_BYTES).decode(errors="replace")


def _list_files(api: Any, url: HubUrl, commit: str) -> dict[str, int]:
    """Return the size of each file of the repository, by path."""
    sizes: dict[str, int] = {}
    entries = api.list_repo_tree(
        url.repository, recursive=True, revision=commit, repo_type=_REPOSITORY_TYPE
    )
    for entry in entries:
        size = getattr(entry, "size", None)
        if size is None:
            continue
        problem = path_problem(entry.path)
        if problem:
            raise DataFileError(f"has a file whose path {problem}: {entry.path[:200]!r}")
        sizes[entry.path] = int(size)
        if len(sizes) > MAX_FILES:
            raise DataFileError(f"has more than {MAX_FILES} files: give the path of one")
    return sizes


def _require_room(folder: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataFileError(f"has {size} bytes in the split, at most {MAX_BYTES} allowed")
    free = shutil.disk_usage(folder).free - _MIN_FREE_BYTES
    if size > free:
        raise DataFileError(
            f"has {size} bytes in the split, and {folder} has room for {max(0, free)}: name "
            "another folder with TMPDIR"
        )


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the library's own progress bars from standard error."""
    utils: Any = importlib.import_module("huggingface_hub.utils")
    were_disabled = utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            utils.enable_progress_bars()


@contextmanager
def _errors(url: HubUrl) -> Iterator[None]:
    """Turn errors of the library into :class:`DataFileError`, with the way out."""
    from huggingface_hub import errors

    place = f"hf://datasets/{url.repository}"
    # The bases are the errors of its HTTP library, which differs between releases.
    http_errors: Any = (*errors.HfHubHTTPError.__bases__, OSError, ValueError)
    login = "set HF_TOKEN, or log in with `hf auth login`"
    try:
        yield
    except DataFileError as error:
        raise DataFileError(f"{place}: {error}") from error
    except errors.GatedRepoError as error:
        raise DataFileError(
            f"{place}: is gated: accept its conditions on its page, then {login}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DataFileError(f"{place}: has no revision {url.revision!r}") from error
    except errors.RepositoryNotFoundError as error:
        raise DataFileError(f"{place}: does not exist, or is private: {login}") from error
    except errors.OfflineModeIsEnabled as error:
        raise DataFileError(f"{place}: cannot be read while HF_HUB_OFFLINE is set") from error
    except http_errors as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise DataFileError(
            f"{place}: cannot be read: {reason} (HF_ENDPOINT names another endpoint)"
        ) from error
