from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from typing import ClassVar

import pytest

from tailrace.formats.schema import (
    MAX_REPORTED,
    MORE,
    SpecError,
    Violation,
    capped,
    from_mapping,
    key,
    parse,
    to_mapping,
)


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    size: int = key("Size.", minimum=1, maximum=10)
    ratio: float = key("Ratio.", default=0.5, above=0, maximum=1)


@dataclass(frozen=True)
class Outer:
    RENAMED: ClassVar[dict[str, str]] = {"title": "name"}

    name: str = key("Name.", minimum=1, max_length=5)
    inner: Inner | None = key("Inner.", default=None)
    colour: Colour = key("Colour.", default=Colour.RED)
    wait: float = key("Wait.", default=1.0, duration=True, minimum=0)
    items: list[str] = key("Items.", default=[], max_length=2, pattern="[a-z]+")
    on: bool = key("On.", default=False)
    labels: dict[str, str] = key("Labels.", default={}, max_length=2)

    def violations(self, path: str) -> list[Violation]:
        return [Violation("name", "is taken")] if self.name == "taken" else []


def wrong(document: object) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(Outer, document)
    return {v.field: v.description for v in caught.value.violations}


def test_remote_code_is_refused_with_the_reason() -> None:
    problems = wrong({"name": "a", "trust_remote_code": True})
    assert "code that comes with a model is not run" in problems["trust_remote_code"]


def test_defaults_are_filled_in_and_the_mapping_round_trips() -> None:
    instance = parse(Outer, {"name": "a", "inner": {"size": 3}, "colour": "blue", "wait": "1m30s"})
    assert instance == Outer("a", Inner(3, 0.5), Colour.BLUE, 90.0)
    assert parse(Outer, to_mapping(instance)) == instance
    assert from_mapping(Outer, to_mapping(instance)) == instance


def test_every_wrong_field_is_named_at_once() -> None:
    problems = wrong(
        {
            "name": "too long",
            "inner": {"size": 11, "ratio": 0},
            "colour": "green",
            "wait": "soon",
            "items": ["ok", "NOT", "more"],
            "on": 1,
            "labels": {"Bad": "x", "ok": 3},
            "nmae": 1,
            "title": "x",
        }
    )
    assert set(problems) == {
        "name",
        "inner.size",
        "inner.ratio",
        "colour",
        "wait",
        "items",
        "items[1]",
        "on",
        "labels.Bad",
        "labels.ok",
        "nmae",
        "title",
    }
    assert "did you mean 'name'" in problems["nmae"]
    assert "use name" in problems["title"]
    assert "red, blue" in problems["colour"]


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_what_is_not_a_mapping_is_refused(document: object) -> None:
    assert list(wrong(document)) == ["(root)"]


def test_a_required_key_that_is_missing_or_null_is_named() -> None:
    assert wrong({}) == {"name": "is required"}
    assert wrong({"name": None}) == {"name": "is required"}


def test_the_schemas_own_checks_run() -> None:
    assert wrong({"name": "taken"}) == {"name": "is taken"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan"])
def test_numbers_must_be_finite(value: object) -> None:
    assert "finite" in wrong({"name": "a", "inner": {"size": 1, "ratio": value}})["inner.ratio"]


def test_yaml_spellings_of_numbers_are_understood() -> None:
    inner = parse(Inner, {"size": 1, "ratio": "2e-5"})
    assert inner.ratio == 2e-5
    assert parse(Inner, {"size": 1, "ratio": 1}).ratio == 1.0


def test_booleans_are_not_numbers() -> None:
    assert "whole number" in wrong({"name": "a", "inner": {"size": True}})["inner.size"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("1d", 86400), ("0.5s", 0.5), (3, 3), (1.5, 1.5)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse(Outer, {"name": "a", "wait": text}).wait == seconds


def test_nul_is_refused_in_text() -> None:
    assert "NUL" in wrong({"name": "a\0"})["name"]


def test_wrong_values_are_shown_in_the_words_of_the_file() -> None:
    problems = wrong(
        {
            "name": True,
            "inner": {"size": 10**40, "ratio": 10**400},
            "colour": ["red"],
            "wait": {},
            "items": "ok",
            "labels": {"a": 3, "b": [1]},
        }
    )
    assert problems["name"] == "must be text, not true: put it into quotes"
    assert problems["inner.size"] == "must be at most 10, not a number above 10^30"
    assert "finite" in problems["inner.ratio"]
    assert problems["colour"] == "must be one of red, blue, not a list"
    assert problems["wait"].endswith("not a mapping")
    assert problems["items"] == "must be a list, not 'ok'"
    assert problems["labels.a"] == "must be text, not 3: put it into quotes"
    assert problems["labels.b"] == "must be text, not a list"
    assert wrong({"name": "a", "inner": "x"}) == {
        "inner": "must be a mapping with keys such as size, ratio, not 'x': write size: x"
    }


def test_a_form_in_words_is_shown_instead_of_the_pattern() -> None:
    @dataclass(frozen=True)
    class Named:
        a: str = key("A.", pattern="[a-z]+")
        b: str = key("B.", pattern="[a-z]+", form="small letters")

    with pytest.raises(SpecError) as raised:
        parse(Named, {"a": "1", "b": "2"})
    assert [v.description for v in raised.value.violations] == [
        "'1' does not fit the form [a-z]+",
        "'2' is not small letters",
    ]


def test_violations_are_capped_and_counted() -> None:
    began = time.monotonic()
    with pytest.raises(SpecError) as raised:
        parse(Outer, {"name": "a", **{f"key{i}": i for i in range(50_000)}})
    assert time.monotonic() - began < 5
    assert len(raised.value.violations) == 50_000
    listed = capped(raised.value.violations)
    assert len(listed) == MAX_REPORTED + 1
    assert listed[-1] == Violation(MORE, f"and {50_000 - MAX_REPORTED} more")
    assert str(raised.value).endswith(f"{MORE}: {listed[-1].description}")
    assert capped(listed[:-1]) == listed[:-1]
