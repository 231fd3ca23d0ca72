from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace.datasets import convert_file, hub
from tailrace.datasets.hub import HubUrl, parse_url
from tailrace.datasets.readers.row import DataFileError
from tests.unit.tailrace.datasets.hub_twin import COMMIT, HubTwin

LINE = b'{"prompt": "1+1?", "completion": "2"}\n'
FILES = {
    "README.md": b"---\nlicense: mit\n---\n# Sums\n",
    "data/train-00000-of-00002.jsonl": LINE,
    "data/train-00001-of-00002.jsonl": LINE,
    "data/test-00000-of-00001.jsonl": LINE,
}


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubTwin]:
    """A hub with one data set, which the library reads with a token."""
    from huggingface_hub import constants

    with HubTwin(dict(FILES), token="hf_secret").run() as twin:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        template = template.replace(constants.ENDPOINT, twin.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", twin.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield twin


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("hf://datasets/org/name", HubUrl("org/name")),
        ("hf://datasets/org/name/", HubUrl("org/name")),
        ("hf://datasets/org/na.me@v1.0/a/b.csv", HubUrl("org/na.me", "v1.0", "a/b.csv")),
        (
            "hf://datasets/org/name@refs/convert/parquet/a",
            HubUrl("org/name", "refs/convert/parquet", "a"),
        ),
        ("hf://datasets/org/name@refs%2Fpr%2F1", HubUrl("org/name", "refs/pr/1")),
    ],
)
def test_addresses(url: str, parts: HubUrl) -> None:
    assert parse_url(url) == parts


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("hf://datasets/name", "must be of the form hf://datasets/ORG/NAME"),
        ("hf://models/org/name", "must be of the form"),
        ("hf://datasets/org/name/../x", "has a path that "),
    ],
)
def test_wrong_addresses(url: str, problem: str) -> None:
    with pytest.raises(DataFileError, match=problem):
        parse_url(url)


def test_a_split_is_read_at_a_commit_and_its_origin_is_recorded(
    twin: HubTwin, tmp_path: Path
) -> None:
    conversion = convert_file("hf://datasets/org/name", tmp_path / "out", split="train")
    assert conversion.lines == 2
    assert conversion.origin == f"hf://datasets/org/name@{COMMIT}"
    assert "split train (2 files)" in conversion.source
    paths = [path for _, path, _ in twin.requests]
    assert not any("test-00000" in path for path in paths)
    assert all(COMMIT in path for path in paths if "/resolve/" in path)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_token_is_sent_to_the_endpoint_alone(twin: HubTwin, tmp_path: Path) -> None:
    convert_file("hf://datasets/org/name", tmp_path / "out", split="train")
    tokens = {
        host: {token for h, _, token in twin.requests if h == host} for host, *_ in twin.requests
    }
    assert tokens == {"hub": {"Bearer hf_secret"}, "storage": {""}}


def test_a_file_of_a_data_set(twin: HubTwin, tmp_path: Path) -> None:
    url = "hf://datasets/org/name@main/data/test-00000-of-00001.jsonl"
    conversion = convert_file(url, tmp_path / "out")
    assert (conversion.lines, conversion.path) == (1, tmp_path / "out")
    with pytest.raises(DataFileError, match="is a file, which has no splits"):
        convert_file(url, tmp_path / "out", split="train")


def test_ambiguous_splits_are_refused_before_any_download(twin: HubTwin, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"org/name: has the splits test .* choose one with"):
        convert_file("hf://datasets/org/name", tmp_path / "out")
    assert not any(host == "storage" and "/data/" in path for host, path, _ in twin.requests)


def test_a_revision_that_does_not_exist(twin: HubTwin, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="hf://datasets/org/name: has no revision 'v9'"):
        convert_file("hf://datasets/org/name@v9", tmp_path / "out")


def test_a_private_data_set_names_the_way_to_log_in(
    twin: HubTwin, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(DataFileError, match="does not exist, or is private: set HF_TOKEN"):
        convert_file("hf://datasets/org/name", tmp_path / "out")


def test_a_gated_data_set_names_the_way_to_its_conditions(twin: HubTwin, tmp_path: Path) -> None:
    twin.gated = True
    with pytest.raises(DataFileError, match="is gated: accept its conditions on its page, then"):
        convert_file("hf://datasets/org/name", tmp_path / "out")


def test_paths_out_of_the_folder_are_refused(twin: HubTwin, tmp_path: Path) -> None:
    twin.files["../../evil.jsonl"] = LINE
    with pytest.raises(DataFileError, match="has a file whose path "):
        convert_file("hf://datasets/org/name", tmp_path / "out", split="train")


def test_a_split_that_is_too_large_is_refused_before_its_download(
    twin: HubTwin, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(hub, "MAX_BYTES", 50)
    with pytest.raises(DataFileError, match="has 76 bytes in the split, at most 50 allowed"):
        convert_file("hf://datasets/org/name", tmp_path / "out", split="train")


def test_a_disk_without_room_is_refused(twin: HubTwin, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(hub, "_MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(DataFileError, match=r"has room for 0: name another folder with TMPDIR"):
        convert_file("hf://datasets/org/name", tmp_path / "out", split="train")


def test_an_endpoint_that_does_not_answer(tmp_path: Path, monkeypatch: Any) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(DataFileError, match=r"cannot be read: .*\(HF_ENDPOINT names another"):
        convert_file("hf://datasets/org/name", tmp_path / "out")


def test_the_library_that_is_not_installed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataFileError, match=r'hf:// needs .*pip install "tailrace\[data\]"'):
        convert_file("hf://datasets/org/name", tmp_path / "out")


def test_the_variables_of_the_library_are_read(tmp_path: Path) -> None:
    script = (
        "from tailrace.datasets import convert_file\n"
        f"target = {str(tmp_path / 'out')!r}\n"
        "print(convert_file('hf://datasets/org/name', target, split='test').lines)"
    )
    with HubTwin(dict(FILES), token="hf_env").run() as twin:
        environment = {**os.environ, "HF_ENDPOINT": twin.endpoint, "HF_TOKEN": "hf_env"}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")
