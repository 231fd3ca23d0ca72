from __future__ import annotations

from fractions import Fraction

import pytest

from training.judges.answers.units import Scale, conversion, unit_name


def scale(given: str, target: str) -> Scale | None:
    return conversion(unit_name(given), unit_name(target))


@pytest.mark.parametrize(
    ("given", "target", "factor"),
    [
        ("km", "m", 1000),
        ("metres", "m", 1),
        ("cm2", "square centimeters", 1),
        ("m^2", "cm^2", 10_000),
        ("km per hour", "m/s", Fraction(5, 18)),
        ("minutes", "h", Fraction(1, 60)),
        ("kg", "lb", Fraction(100_000_000, 45_359_237)),
        ("KM", "km", 1),
        ("dollars", "$", 1),
        ("cents", "$", Fraction(1, 100)),
        ("pounds", "£", 1),
        ("per cent", "%", 1),
        ("apples", "apple", 1),
    ],
)
def test_conversions_are_exact(given: str, target: str, factor: float) -> None:
    assert scale(given, target) == Scale(Fraction(factor), Fraction(0))


def test_temperatures_have_an_offset() -> None:
    assert scale("°C", "degrees Fahrenheit") == Scale(Fraction(9, 5), Fraction(32))


@pytest.mark.parametrize(
    ("given", "target"),
    [("m", "min"), ("cm", "cm^2"), ("€", "$"), ("apples", "pears"), ("%", "m"), ("km/h", "km")],
)
def test_what_measures_something_else(given: str, target: str) -> None:
    assert scale(given, target) is None


def test_case_counts_where_it_must() -> None:
    assert scale("MW", "mW") == Scale(Fraction(10**9), Fraction(0))
