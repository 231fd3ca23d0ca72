"""The rotary scalings' frequencies are those of transformers; the reference is committed."""

from __future__ import annotations

import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.model.config_reader import ConfigReader
from tailrace.formats.model.rope import read_rope
from tests.parity.cases import GOLDENS
from training.models.rotary import SCALINGS, DynamicScaling, LongRopeScaling, Rotary

WIDTH = 64
PLAIN = Rotary(500_000.0).frequencies(WIDTH)
REFERENCES = json.loads((GOLDENS / "rotary.json").read_text())


def test_every_scaling_has_a_reference() -> None:
    kinds = {r["config"]["rope_parameters"]["rope_type"] for r in REFERENCES}
    assert kinds == set(SCALINGS)


@pytest.mark.parametrize("reference", REFERENCES)
def test_frequencies(reference: dict[str, Any]) -> None:
    reader = ConfigReader(reference["config"])
    rotary = Rotary.of(read_rope(reader, WIDTH))
    assert reader.problems == []
    frequencies = rotary.frequencies(WIDTH)
    np.testing.assert_allclose(frequencies, reference["frequencies"], rtol=6e-7)
    cosines, sines = rotary.cos_sin(np.zeros((1, 1)), WIDTH)
    np.testing.assert_allclose(cosines, reference["magnitude"], rtol=1e-6)
    assert not sines.any()
    for length, expected in reference["longer"].items():
        scaling, lengths = rotary.scaling, jnp.asarray([int(length)])
        assert isinstance(scaling, DynamicScaling | LongRopeScaling)
        stretched = scaling.stretch(PLAIN, rotary.theta, lengths)
        np.testing.assert_allclose(stretched, expected, rtol=2e-6)
