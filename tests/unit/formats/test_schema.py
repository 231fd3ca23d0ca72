from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

import pytest

from tailrace.formats.schema import SpecError, Violation, key, parse, to_mapping


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


def wrong(data: object) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(Outer, data)
    return {v.field: v.description for v in caught.value.violations}


def test_defaults_are_filled_in_and_the_mapping_round_trips() -> None:
    made = parse(Outer, {"name": "a", "inner": {"size": 3}, "colour": "blue", "wait": "1m30s"})
    assert made == Outer("a", Inner(3, 0.5), Colour.BLUE, 90.0)
    assert parse(Outer, to_mapping(made)) == made


def test_every_wrong_field_is_named_at_once() -> None:
    found = wrong(
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
    assert set(found) == {
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
    assert "did you mean 'name'" in found["nmae"]
    assert "use name" in found["title"]
    assert "red, blue" in found["colour"]


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_not_a_mapping_is_refused(data: object) -> None:
    assert list(wrong(data)) == ["(root)"]


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
