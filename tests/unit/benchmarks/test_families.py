from __future__ import annotations

import pytest

from benchmarks.families.configs import CONFIGS
from benchmarks.training.shapes import SHAPES
from tailrace.formats.model.families import FAMILIES
from training.models.registry import model_from_config


def test_every_family_is_in_the_race() -> None:
    assert set(CONFIGS) == set(FAMILIES)
    assert set(CONFIGS) <= set(SHAPES)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_models_are_of_one_size(name: str) -> None:
    assert 10e6 < model_from_config(CONFIGS[name]).parameters < 20e6
