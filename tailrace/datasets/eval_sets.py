"""Items of eval sets on the caller's machine: imported, built in, or in a file."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from tailrace.client.blocking import Client
from tailrace.datasets.content import DatasetError
from tailrace.formats.catalog import EVAL_SETS
from tailrace.formats.data.eval_item import EvalItem, read_eval_items
from tailrace.transfer import download_artifact

_FILE = "eval_set.jsonl"


def load_eval_items(client: Client, source: str) -> list[EvalItem]:
    """Return the items of a file if one has the path ``source``, else of the eval set of that name.

    Raises:
        DatasetError: The eval set is built in, but its files are not installed here.
        FormatError: Lines of the file are not eval items.
        TailraceError: There is no such eval set, or a call failed.
        OSError: The file cannot be read.
    """
    if Path(source).is_file():
        return read_eval_items(Path(source))
    if source in EVAL_SETS:
        return read_eval_items(_built_in(source))
    return download_eval_items(client, source)


def download_eval_items(client: Client, name: str) -> list[EvalItem]:
    """Return the items of an imported eval set.

    Raises:
        TailraceError: There is no such eval set, or a call failed.
    """
    eval_set = client.get_eval_set(name)
    artifact = client.get_artifact(eval_set.artifact)
    with tempfile.TemporaryDirectory(prefix="tailrace-eval-set-") as folder:
        download_artifact(client.channel, artifact, Path(folder))
        return read_eval_items(Path(folder) / _FILE)


def _built_in(name: str) -> Path:
    # The files belong to `training`, whose code is not imported here.
    package = importlib.util.find_spec("training")
    for place in (package and package.submodule_search_locations) or ():
        path = Path(place) / "evalsets" / f"{name}.jsonl"
        if path.is_file():
            return path
    raise DatasetError(
        f"the files of the built-in eval set {name!r} are not installed: give a file"
    )
