"""Units of answers: their names, equality and conversion."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pint import UnitRegistry

PERCENT = "%"
DOLLAR = "$"

_MONEY = {
    "$": DOLLAR,
    "us$": DOLLAR,
    "usd": DOLLAR,
    "dollar": DOLLAR,
    "us dollar": DOLLAR,
    "buck": DOLLAR,
    "€": "€",
    "eur": "€",
    "euro": "€",
    "£": "£",
    "gbp": "£",
    "pound sterling": "£",
    "¥": "¥",
    "yen": "¥",
    "jpy": "¥",
    "₹": "₹",
    "rupee": "₹",
    "inr": "₹",
    "¢": "¢",
    "cent": "¢",
}
_PERCENT = {"%", "percent", "per cent", "pct", "percentage"}
SYMBOLS = "$€£¥₹¢"

_DEGREES = {
    "°c": "degC",
    "c": "degC",
    "degc": "degC",
    "celsius": "degC",
    "degree celsius": "degC",
    "degree c": "degC",
    "°f": "degF",
    "f": "degF",
    "degf": "degF",
    "fahrenheit": "degF",
    "degree fahrenheit": "degF",
    "degree f": "degF",
    "°": "degree",
    "degree": "degree",
    "deg": "degree",
}
_PINT_TEXT = re.compile(r"[A-Za-zμ]+(?:\*\*-?[1-9])?(?:[*/ ][A-Za-zμ]+(?:\*\*-?[1-9])?){0,4}")
_POWERS = (
    (re.compile(r"\b(?:square|sq\.?)\s*([A-Za-z]+)", re.IGNORECASE), r"\1**2"),
    (re.compile(r"\b(?:cubic|cu\.?)\s*([A-Za-z]+)", re.IGNORECASE), r"\1**3"),
    (re.compile(r"([A-Za-z]+) squared\b", re.IGNORECASE), r"\1**2"),
    (re.compile(r"([A-Za-z]+) cubed\b", re.IGNORECASE), r"\1**3"),
    (re.compile(r"([A-Za-zμ])\^?(-?[1-9])(?![\d*])"), r"\1**\2"),
    (re.compile(r"\s*(?:/|\bper\b)\s*"), "/"),
    (re.compile(r"\s*[·*](?!\*)(?<!\*\*)\s*"), "*"),
)


@dataclass(frozen=True)
class Scale:
    """A conversion between units: value · factor + offset."""

    factor: Fraction
    offset: Fraction


@lru_cache(maxsize=1024)
def unit_name(unit: str) -> str:
    """Return a unit in one notation, empty for none; letters keep their case if it counts."""
    text = " ".join(unit.strip(" .()[]").split())
    small = _singular(text.casefold())
    if small in _PERCENT:
        return PERCENT
    for names in (_MONEY, _DEGREES):
        if small in names:
            return names[small]
    for pattern, replacement in _POWERS:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=1024)
def conversion(source: str, target: str) -> Scale | None:
    """Return the conversion between two :func:`unit_name` values; None if there is none."""
    if source == target:
        return Scale(Fraction(1), Fraction(0))
    if {source, target} == {DOLLAR, "¢"}:
        return Scale(Fraction(1, 100) if source == "¢" else Fraction(100), Fraction(0))
    # A pound is money or a weight; the expected answer decides.
    if "£" in (source, target) and {source, target} & {"pound", "pounds"}:
        return Scale(Fraction(1), Fraction(0))
    registered_source, registered_target = _registered_name(source), _registered_name(target)
    if registered_source is None or registered_target is None:
        same = _singular(source.casefold()) == _singular(target.casefold())
        return Scale(Fraction(1), Fraction(0)) if same else None
    return _converted(registered_source, registered_target)


def _singular(text: str) -> str:
    head, _, last = text.rpartition(" ")
    if len(last) > 3 and last.endswith("s") and not last.endswith("ss"):
        last = last[:-1]
    # The first word carries the plural in "miles per hour" and "degrees celsius".
    first, space, rest = (f"{head} {last}" if head else last).partition(" ")
    if space and len(first) > 3 and first.endswith("s") and not first.endswith("ss"):
        first = first[:-1]
    return f"{first}{space}{rest}"


@lru_cache(maxsize=1)
def _registry() -> UnitRegistry[Any]:
    # Imported late: only answers in a unit other than the expected one need it.
    import pint

    return pint.UnitRegistry(non_int_type=Fraction)


@lru_cache(maxsize=1024)
def _registered_name(name: str) -> str | None:
    """Return the name of a unit in the registry, or None."""
    import pint

    if name in ("degC", "degF", "degree"):
        return name
    if not _PINT_TEXT.fullmatch(name):
        return None
    for text in dict.fromkeys((name, name.casefold())):
        try:
            _registry().parse_units(text)
        except (pint.PintError, ValueError, TypeError, AttributeError):
            continue
        return text
    return None


def _converted(source: str, target: str) -> Scale | None:
    import pint

    registry = _registry()
    try:
        zero = registry.Quantity(Fraction(0), source).to(target).magnitude
        one = registry.Quantity(Fraction(1), source).to(target).magnitude
    except (pint.PintError, ValueError, TypeError):
        return None
    return Scale(Fraction(one) - Fraction(zero), Fraction(zero))
