from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import pytest

from tailrace.formats.schema import key, parse
from tailrace.formats.spec.schema_keys import KeyForm, schema_keys, set_values


class Colour(enum.StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    size: int = key("Size.", default=1)


@dataclass(frozen=True)
class Outer:
    name: str = key("Name.", shown_first=True)
    ratio: float | None = key("Ratio.", default=None)
    wait: float = key("Wait.", default=1.0, duration=True)
    on: bool = key("On.", default=True)
    colour: Colour = key("Colour.", default=Colour.RED)
    texts: list[str] = key("Texts.", default=[])
    labels: dict[str, str] = key("Labels.", default={})
    inner: Inner = key("Inner.", default=Inner())
    maybe: Inner | None = key("Maybe.", default=None)
    many: list[Inner] = key("Many.", default=[])


KEYS = {one.name: one for one in schema_keys(Outer)}


def test_every_key_has_its_form() -> None:
    forms = {name: one.form.value for name, one in KEYS.items()}
    assert forms == {
        "name": "text",
        "ratio": "number",
        "wait": "duration",
        "on": "switch",
        "colour": "choice",
        "texts": "texts",
        "labels": "mapping",
        "inner": "block",
        "maybe": "block",
        "many": "blocks",
    }
    assert KEYS["many"].schema is Inner
    assert KEYS["colour"].choices is Colour


def test_defaults_are_plain_data() -> None:
    assert KEYS["name"].is_required
    assert KEYS["colour"].default == "red"
    assert KEYS["inner"].default == {"size": 1}
    assert KEYS["texts"].default is None


def test_only_a_block_that_may_be_absent_is_optional() -> None:
    assert [name for name, one in KEYS.items() if one.is_optional_block] == ["maybe"]


@pytest.mark.parametrize(
    "plain",
    [
        {"name": "a"},
        {"name": "a", "maybe": {}, "many": [{}, {"size": 2}], "on": False},
        {"name": "a", "inner": {"size": 3}, "texts": ["x"], "labels": {"k": "v"}},
    ],
)
def test_set_values_are_those_that_differ_from_the_defaults(plain: dict[str, Any]) -> None:
    assert set_values(parse(Outer, plain)) == plain


def test_a_key_in_sight_says_so() -> None:
    assert [name for name, one in KEYS.items() if one.rule.shown_first] == ["name"]
    assert KEYS["name"].form is KeyForm.TEXT
