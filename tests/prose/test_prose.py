"""The tree reads no worse than the bars say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.prose.__main__ import main
from tests.prose.measures import Report, measure
from tests.prose.texts import Medium, read_sources

BARS: dict[str, float] = tomllib.loads(
    Path(__file__).with_name("bars.toml").read_text(encoding="utf-8")
)
SHOWN = 200


@pytest.fixture(scope="module")
def report() -> Report:
    return measure()


@pytest.mark.parametrize("figure", BARS)
def test_a_figure_is_within_its_bar(report: Report, figure: str) -> None:
    value = report.figures[figure]
    places = [str(offence) for offence in report.of(figure)]
    assert value <= BARS[figure], (
        f"{figure} is {value:.2f}, and must be at most {BARS[figure]} (docs/style.md):\n"
        + "\n".join(places[:SHOWN])
        + (f"\n… and {len(places) - SHOWN} more" if len(places) > SHOWN else "")
    )


def test_every_figure_has_a_bar(report: Report) -> None:
    assert set(report.figures) == set(BARS)


def test_every_medium_is_measured() -> None:
    media = {text.medium for source in read_sources() for text in source.texts}
    assert media == set(Medium)


def test_a_folder_is_measured_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["services/domain"]) == 0
    figures, _, offences = capsys.readouterr().out.partition("\n\n")
    assert figures.startswith("openers ")
    assert all(line.startswith("services/domain") for line in offences.splitlines())
