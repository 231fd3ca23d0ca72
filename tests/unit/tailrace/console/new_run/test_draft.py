"""Drafts: a form, its plain data and its YAML are the same spec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace.console.new_run.draft import (
    Draft,
    add_block,
    from_fields,
    from_plain,
    remove_block,
    to_plain,
)
from tailrace.formats.schema import SpecError, parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.formats.spec.schema_keys import KeyForm, schema_keys, set_values
from tailrace.spec_file import parse_yaml
from tailrace.yaml_dumper import dump

EXAMPLES = sorted(Path("docs/examples").glob("*.yaml"))

HOSTILE = [
    "</textarea><script>alert(1)</script>",
    "\u202egnirts a",
    " edges ",
    "line\nline",
    "\r\n",
    '"',
    '"quoted"',
    '"\\n"',
    "null",
    "1e5",
    "0o17",
    "~",
    "- a: [",
    "x" * 200,
]


def fields(draft: Draft, schema: type[Any] = RunSpec, path: str = "") -> Iterator[tuple[str, str]]:
    """The fields that a browser sends for a draft."""
    for key in schema_keys(schema):
        where = f"{path}.{key.name}" if path else key.name
        value = draft.get(key.name)
        if key.form is KeyForm.BLOCKS and key.schema:
            for index, entry in enumerate(value or []):
                yield f"{where}[{index}]", "on"
                yield from fields(entry, key.schema, f"{where}[{index}]")
        elif key.schema:
            if value is not None:
                yield where, "on"
                yield from fields(value, key.schema, where)
        else:
            yield where, (value or "").replace("\n", "\r\n")


def round_trip(plain: dict[str, Any]) -> dict[str, Any]:
    draft = from_plain(plain)
    assert to_plain(from_fields(fields(draft))) == to_plain(draft)
    data, violations = to_plain(from_fields(fields(draft)))
    assert not violations
    read: dict[str, Any] = parse_yaml(dump(data))
    assert read == data
    return read


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_goes_through_form_and_yaml_without_loss(file: Path) -> None:
    plain = parse_yaml(file.read_text())
    assert parse(RunSpec, round_trip(plain)) == parse(RunSpec, plain)


def whole_block(schema: type[Any]) -> dict[str, Any]:
    """A value for every key of a schema, right or wrong."""
    values: dict[KeyForm, Any] = {
        KeyForm.TEXT: "name",
        KeyForm.INTEGER: 7,
        KeyForm.NUMBER: 2e-5,
        KeyForm.DURATION: "1h30m",
        KeyForm.SWITCH: True,
        KeyForm.TEXTS: HOSTILE,
        KeyForm.MAPPING: {"a": {"b": [1, "no", None]}, "c: d": "1"},
    }
    plain: dict[str, Any] = {}
    for key in schema_keys(schema):
        if key.schema:
            block = whole_block(key.schema)
            plain[key.name] = [block, block] if key.form is KeyForm.BLOCKS else block
        elif key.choices:
            plain[key.name] = list(key.choices)[-1].value
        else:
            plain[key.name] = values[key.form]
    return plain


def test_every_key_of_the_schema_goes_through_the_form_without_loss() -> None:
    plain = whole_block(RunSpec)
    assert round_trip(plain) == plain


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_goes_through_a_field_without_loss(text: str) -> None:
    plain = {
        "dataset": text,
        "infer": {"stop": [text, "END"]},
        "model": {"chat_template": text},
        "labels": {"a": text},
    }
    assert round_trip(plain) == plain


def test_no_text_of_the_schema_may_be_empty_because_an_empty_field_means_not_set() -> None:
    def texts(schema: type[Any], path: str) -> Iterator[str]:
        for key in schema_keys(schema):
            if key.schema:
                yield from texts(key.schema, f"{path}.{key.name}")
            elif key.form is KeyForm.TEXT and not key.rule.minimum and not key.rule.pattern:
                yield f"{path}.{key.name}"

    assert list(texts(RunSpec, "")) == []


def test_what_is_typed_wrongly_stays_as_it_was_typed_for_the_schema_to_refuse() -> None:
    draft = from_fields(
        [("train", "on"), ("train.epochs", "many"), ("train.max_steps", "1.5"), ("cache", "maybe")]
    )
    plain, violations = to_plain(draft)
    assert plain == {"train": {"epochs": "many", "max_steps": 1.5}, "cache": "maybe"}
    assert not violations


def test_a_mapping_that_is_not_yaml_is_an_error_of_its_field() -> None:
    _, violations = to_plain(from_fields([("labels", "a: [")]))
    assert [violation.field for violation in violations] == ["labels"]


def test_what_no_field_can_show_is_refused_with_every_path() -> None:
    with pytest.raises(SpecError) as refusal:
        from_plain({"modle": 1, "judges": {}, "train": [], "infer": {"eval_sets": [1]}})
    paths = [violation.field for violation in refusal.value.violations]
    assert paths == ["modle", "judges", "train", "infer.eval_sets"]


def test_blocks_are_added_and_removed_by_path() -> None:
    draft = from_plain({})
    for path in ("train", "train.dpo", "judges", "judges", "judges[1].llm_rubric"):
        add_block(draft, path)
    draft["judges"][1]["name"] = "llm_rubric"
    remove_block(draft, "train.dpo")
    remove_block(draft, "judges[0]")
    plain, _ = to_plain(draft)
    assert plain == {"train": {}, "judges": [{"name": "llm_rubric", "llm_rubric": {}}]}


@pytest.mark.parametrize("path", ["", "nothing", "train.dpo", "judges[3].regex", "dataset"])
def test_a_path_without_a_block_is_refused(path: str) -> None:
    with pytest.raises((KeyError, IndexError)):
        add_block(from_plain({}), path)


def test_a_list_of_blocks_grows_no_further_than_the_schema_allows() -> None:
    draft = from_plain({})
    for _ in range(20):
        add_block(draft, "judges")
    assert len(draft["judges"]) == 16


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.stem)
def test_values_that_are_set_describe_the_same_spec(file: Path) -> None:
    spec = parse(RunSpec, parse_yaml(file.read_text()))
    assert parse(RunSpec, set_values(spec)) == spec
