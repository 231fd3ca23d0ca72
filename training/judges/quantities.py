"""Answers that are a number, with or without a unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from training.judges.numbers import Form, read_number
from training.judges.units import PERCENT, SYMBOLS, conversion, unit_name

_LONGEST = 200
_START = re.compile(
    rf"(?P<sign>[+-]|minus |negative |)\s?(?P<money>(?:us)?[{SYMBOLS}])?\s?(?P<inner>[+-]?)\s?",
    re.I,
)
_UNIT = re.compile(
    rf"(?:[%°{SYMBOLS}]|[^\W\d_])(?:[^\W\d_]|[%°/^ .*·()-]|(?<=\^-)\d|(?<=[\^a-zA-Zμ])\d){{0,60}}"
)
_JOINING = re.compile(
    r"\b(?:or|and|to|not|no|but|maybe|perhaps|is|are|if|plus|minus|times|than|more|less|at|least|"
    r"most|approximately|about|wrong|correct|dozen|hundred)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Quantity:
    """A number with a unit."""

    value: Fraction
    unit: str
    """Its :func:`training.judges.units.unit_name`; empty for none."""
    form: Form
    literal: str
    """The number as written."""


def read_quantity(text: str) -> Quantity | None:
    """The quantity that plain text is, as a whole; None for other text."""
    if len(text) > _LONGEST:
        return None
    start = _START.match(text)
    begin = start.end() if start else 0
    found = read_number(text, begin)
    if start is None or found is None or (start["sign"] and start["inner"]):
        return None
    unit = _read_unit(start["money"], text[found.end :])
    if unit is None:
        return None
    negative = start["inner"] == "-" or start["sign"].strip().casefold() in (
        "-",
        "minus",
        "negative",
    )
    value = -found.value if negative else found.value
    return Quantity(value, unit, found.form, text[begin : found.end])


def amount_in(quantity: Quantity, unit: str) -> Fraction | None:
    """The quantity's value in another unit; None where that measures something else."""
    scale = conversion(quantity.unit, unit)
    return None if scale is None else quantity.value * scale.factor + scale.offset


def _read_unit(money: str | None, rest: str) -> str | None:
    """The unit behind a number, None where something else stands there."""
    rest = rest.strip().lstrip("-").strip() if rest[:1] in " -" else rest
    if not rest:
        return unit_name(money) if money else ""
    if not _UNIT.fullmatch(rest) or _JOINING.search(rest):
        return None
    unit = unit_name(rest)
    if money and unit != unit_name(money):
        # "$12 US dollars" says it twice, "$5 %" says two things.
        return None
    return unit


def is_percentage(quantity: Quantity) -> bool:
    """Whether it is so many of a hundred."""
    return quantity.unit == PERCENT
