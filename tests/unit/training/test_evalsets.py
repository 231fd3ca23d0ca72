from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tailrace.formats import catalog
from tailrace.formats.data.golden import fresh_sums, golden_v2
from tailrace.formats.data.leakage import leaked_ids, prompt_words
from tailrace.formats.data.record import CompletionRecord
from tailrace.formats.data.split import split_records
from training.errors import DataError
from training.evalsets import load_eval_set, load_eval_sets, require_questions

SPLIT = split_records(golden_v2(), 0.2, 42)


def test_eval_v1() -> None:
    items = load_eval_set("eval_v1")
    assert len(items) == 25
    assert {item.category for item in items} == {
        "arithmetic",
        "knowledge",
        "word_problems",
        "geometry",
        "patterns",
        "conversion",
        "probability",
    }
    assert set(Counter(item.difficulty for item in items)) == {"easy", "medium", "hard"}
    assert all(load_eval_set(name) for name in catalog.EVAL_SETS)


def test_eval_v2() -> None:
    items = load_eval_set("eval_v2")
    assert Counter(item.section for item in items) == {
        "core": 50,
        "trace_sensitive": 30,
        "edge_case": 20,
    }
    assert set(Counter(item.difficulty for item in items)) == {"easy", "medium", "hard"}
    assert all(item.category for item in items)


def test_no_question_is_in_two_shipped_sets_nor_twice_in_one() -> None:
    sets = {name: load_eval_set(name) for name in catalog.EVAL_SETS}
    ids = Counter(item.id for items in sets.values() for item in items)
    prompts = Counter(prompt_words(item.prompt) for items in sets.values() for item in items)
    assert [name for name, count in ids.items() if count > 1] == []
    assert [words for words, count in prompts.items() if count > 1] == []
    assert leaked_ids(sets["eval_v2"], [item.prompt for item in sets["eval_v1"]]) == set()


@pytest.mark.parametrize("name", catalog.EVAL_SETS)
def test_no_shipped_question_leaks_into_golden_v2(name: str) -> None:
    assert leaked_ids(load_eval_set(name), [trace.prompt for trace in golden_v2()]) == set()


def test_sums_43_are_the_fresh_sums() -> None:
    assert load_eval_set("sums_43") == fresh_sums()


def test_parts_of_a_dataset_and_files_by_their_stem(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "a", "prompt": "p", "expected_answer": "x"}\n')
    sets = load_eval_sets(["dataset:train", "dataset:held_out", str(path)], SPLIT)
    assert {name: len(items) for name, items in sets.items()} == {
        "dataset:train": 54,
        "dataset:held_out": 13,
        "mine": 1,
    }


def test_imported_sets_keep_the_name_that_the_spec_has(tmp_path: Path) -> None:
    path = tmp_path / "eval_set.jsonl"
    path.write_text('{"id": "a", "prompt": "p", "expected_answer": "x"}\n')
    sets = load_eval_sets(["mine@2", "eval_v1"], imported={"mine@2": str(path)})
    assert {name: len(items) for name, items in sets.items()} == {"mine@2": 1, "eval_v1": 25}
    with pytest.raises(DataError, match="no eval set 'mine@3'"):
        load_eval_sets(["mine@3"], imported={"mine@2": str(path)})


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("dataset:train", "needs a dataset"),
        ("eval_v9", "there is no eval set 'eval_v9': give dataset:train, .*eval_v1"),
    ],
)
def test_refused(name: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load_eval_set(name)


def test_an_empty_part_is_refused() -> None:
    whole = split_records(golden_v2(), 0.0, 42)
    with pytest.raises(DataError, match="dataset:held_out is empty"):
        load_eval_set("dataset:held_out", whole)


def test_a_part_that_asks_for_nothing_is_refused() -> None:
    texts = [CompletionRecord("", text, id=text) for text in "abcd"]
    with pytest.raises(DataError, match="asks for nothing: none of its 2 records has a prompt"):
        load_eval_set("dataset:held_out", split_records(texts, 0.5, 42))


def test_wrong_files_and_equal_names(tmp_path: Path) -> None:
    path = tmp_path / "eval_v1.jsonl"
    path.write_text('{"prompt": "p"}\n')
    with pytest.raises(DataError, match=r"line 1: id: is required"):
        load_eval_set(str(path))
    path.write_text('{"id": "a", "prompt": "p", "expected_answer": "x"}\n')
    with pytest.raises(DataError, match="two eval sets are called 'eval_v1'"):
        load_eval_sets(["eval_v1", str(path)])


def test_a_dataset_of_plain_text_cannot_be_an_eval_set() -> None:
    texts = [CompletionRecord("", "Once upon a time.", id="a")]
    with pytest.raises(DataError, match=r"dataset:held_out asks for nothing: .* plain text"):
        require_questions(["eval_v1", "dataset:held_out"], texts)
    require_questions(["eval_v1"], texts)
    require_questions(["dataset:train"], [*texts, CompletionRecord("2 + 2?", "4", id="b")])
