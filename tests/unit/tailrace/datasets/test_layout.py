from __future__ import annotations

import pytest

from tailrace.datasets.layout import Split, choose_split, find_splits
from tailrace.datasets.readers.row import DataFileError


def _splits(*paths: str, card: str = "") -> dict[str, tuple[str, ...]]:
    return {split.full_name: split.files for split in find_splits(paths, card)}


def test_shards_belong_to_the_split_in_their_names() -> None:
    shards = [f"data/{name}-0000{i}-of-00002.parquet" for name in ("train", "sft") for i in (1, 0)]
    assert _splits(*shards, "README.md", ".gitattributes") == {
        "sft": ("data/sft-00000-of-00002.parquet", "data/sft-00001-of-00002.parquet"),
        "train": ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"),
    }


def test_splits_by_the_names_of_files_and_folders() -> None:
    assert _splits("my_train.jsonl", "dev.jsonl.gz", "eval-2.csv") == {
        "validation": ("dev.jsonl.gz",),
        "test": ("eval-2.csv",),
        "train": ("my_train.jsonl",),
    }
    assert _splits("data/Train/a.csv", "data/test/train_a.csv") == {
        "train": ("data/Train/a.csv",),
        "test": ("data/test/train_a.csv",),
    }


def test_a_word_that_only_contains_a_split_is_no_split() -> None:
    assert _splits("constraints.jsonl", "latest.jsonl") == {
        "train": ("constraints.jsonl", "latest.jsonl")
    }


def test_hidden_files_and_descriptions_are_no_data() -> None:
    assert _splits("a.json", ".cache/b.json", "dataset_infos.json", "__x/c.json") == {
        "train": ("a.json",)
    }


def test_files_of_no_split_are_named() -> None:
    (split,) = find_splits(["train.jsonl", "extra.jsonl"])
    assert split.unassigned == ("extra.jsonl",)


CARD = """---
language: no
license: mit
configs:
- config_name: chat
  default: true
  data_files:
  - split: train
    path: "chat/*.jsonl"
  - split: test
    path: [chat/held/**/*.jsonl]
- config_name: pairs
  data_dir: pairs
---
# A data set
"""


def test_the_card_describes_configurations() -> None:
    paths = ["chat/a.jsonl", "chat/held/x/b.jsonl", "pairs/train.csv", "pairs/test.csv"]
    assert _splits(*paths, card=CARD) == {
        "chat/train": ("chat/a.jsonl",),
        "chat/test": ("chat/held/x/b.jsonl",),
        "pairs/test": ("pairs/test.csv",),
        "pairs/train": ("pairs/train.csv",),
    }


@pytest.mark.parametrize(
    "data_files", ["all.csv", "[all.csv]", "{train: all.csv}", "[{split: train, path: [all.csv]}]"]
)
def test_spellings_of_data_files(data_files: str) -> None:
    card = f"---\nconfigs:\n- data_files: {data_files}\n---\n"
    assert _splits("all.csv", "more.csv", card=card) == {"train": ("all.csv",)}


@pytest.mark.parametrize(
    "card",
    [
        "no yaml",
        "---\nlicense: mit\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\nconfigs: [1]\n---\n",
        "---\n- a\n---\n",
    ],
)
def test_cards_without_configurations(card: str) -> None:
    assert _splits("a.csv", card=card) == {"train": ("a.csv",)}


@pytest.mark.parametrize(
    ("paths", "card", "problem"),
    [
        (["a.csv"], "---\n{\n---\n", r"has a card \(README.md\) whose YAML is damaged"),
        (
            ["a.csv"],
            "---\nconfigs:\n- data_files: b.csv\n---\n",
            "no file for the split train .*b.csv",
        ),
        (["a.csv"], f"---\n{'[' * 3000}\n---\n", "whose YAML is damaged"),
        (["a.csv"], f"---\n{'x' * (1 << 20)}y\n---\n", "is longer than 1048576 bytes"),
        (["README.md"], "", "has no data files: their names end in .jsonl"),
        (["a.py"], "", "has a script in place of data files, which is not run"),
        (["a.arrow", "state.json"], "", "has Arrow files, as save_to_disk writes them"),
    ],
)
def test_folders_that_are_refused(paths: list[str], card: str, problem: str) -> None:
    with pytest.raises(DataFileError, match=problem):
        find_splits(paths, card)


def test_the_only_split_needs_no_name() -> None:
    only = Split("train", ("a.csv",))
    assert choose_split([only], None) is only


def test_ambiguous_and_unknown_splits_are_refused_with_the_candidates() -> None:
    splits = find_splits(["train.csv", "test.csv"])
    with pytest.raises(
        DataFileError, match=r"has the splits test \(1 file\), train \(1 file\): choose one with"
    ):
        choose_split(splits, None)
    with pytest.raises(DataFileError, match=r"has no split 'dev'; there is: test \(1 file\)"):
        choose_split(splits, "dev")
    assert choose_split(splits, "train").files == ("train.csv",)


def test_a_split_of_several_configurations_needs_its_full_name() -> None:
    splits = [Split("train", ("a.csv",), "x"), Split("train", ("b.csv",), "y")]
    with pytest.raises(DataFileError, match=r"has train several times; there is: x/train"):
        choose_split(splits, "train")
    assert choose_split(splits, "y/train").files == ("b.csv",)
    assert choose_split(splits, "x").files == ("a.csv",)


def test_files_of_several_formats_are_refused() -> None:
    splits = find_splits(["train.csv", "train.jsonl.gz", "train.jsonl"])
    with pytest.raises(
        DataFileError, match=r"several formats in the split train \(\.csv, \.jsonl\)"
    ):
        choose_split(splits, None)
