from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tailrace.formats.model.config_reader import ConfigReader
from tailrace.formats.model.rope import ROPE_KINDS, Rope, read_rope, write_rope
from training.models.rotary import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    Rotary,
    YarnScaling,
    rotate,
    sequence_lengths,
)

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
WIDTH = 8
CONTEXT = {"max_position_embeddings": 4096}
TUNED = {"factor": 2.0, "mscale": 0.7, "mscale_all_dim": 1.0, "truncate": False}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1, 1, 2, 2],
    "long_factor": [2, 3, 4, 5],
}
LENGTHS = {"original_max_position_embeddings": 8192, "max_position_embeddings": 131072}


def parsed(data: dict[str, Any]) -> Rotary:
    return Rotary.of(rope_of(data))


def rope_of(data: dict[str, Any]) -> Rope:
    reader = ConfigReader(data)
    rope = read_rope(reader, WIDTH)
    if reader.problems:
        raise ValueError("; ".join(reader.problems))
    return rope


@jax.jit
def turned(x: Any, positions: Any) -> jax.Array:
    return rotate(jnp.asarray(x), Rotary().cos_sin(positions, x.shape[-1]))


def random(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def test_scores_depend_on_the_distance_only() -> None:
    query, key = random(2, 1, 1, 1, 16)

    def score(at: int, other: int) -> float:
        first, second = (
            np.asarray(turned(x, np.asarray([[p]]))) for x, p in ((query, at), (key, other))
        )
        return float((first * second).sum())

    assert score(3, 1) == pytest.approx(score(40, 38), abs=1e-4)
    assert score(3, 1) != pytest.approx(score(3, 2), abs=1e-3)


def test_a_turn_keeps_lengths_and_position_zero_changes_nothing() -> None:
    x = random(2, 5, 3, 8)
    made = np.asarray(turned(x, np.arange(5)[None]))
    np.testing.assert_allclose(np.square(made).sum(-1), np.square(x).sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(made[:, 0], x[:, 0])
    assert not np.allclose(made[:, 1], x[:, 1])


def test_the_type_of_the_input_is_kept() -> None:
    x = jnp.ones((1, 1, 1, 4), jnp.bfloat16)
    assert turned(x, np.asarray([[1]])).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, Rotary(10_000.0)),
        ({"rope_theta": 5e5}, Rotary(5e5)),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, Rotary(5e5)),
        ({"rope_theta": 5e5, "rope_scaling": None}, Rotary(5e5)),
        ({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}}, Rotary(5e5)),
        (
            {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
            Rotary(5e5, LinearScaling(2.0)),
        ),
        (
            {**CONTEXT, "rope_scaling": {"rope_type": "dynamic", "factor": 4}},
            Rotary(10_000.0, DynamicScaling(4.0, 4096)),
        ),
        (
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3, **LENGTHS}},
            None,
        ),
        (
            {
                "rope_theta": 5e5,
                "rope_scaling": {
                    "rope_type": "llama3",
                    **LLAMA3,
                    "original_max_position_embeddings": 8192,
                },
            },
            Rotary(5e5, Llama3Scaling(8.0, 8192, 1.0, 4.0)),
        ),
        (
            {**CONTEXT, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            Rotary(10_000.0, YarnScaling(4.0, 4096)),
        ),
        (
            {**CONTEXT, "rope_scaling": {"type": "yarn", "original_max_position_embeddings": 512}},
            Rotary(10_000.0, YarnScaling(8.0, 512)),
        ),
        (
            {**CONTEXT, "rope_parameters": {"rope_type": "yarn", **TUNED}},
            Rotary(
                10_000.0,
                YarnScaling(
                    factor=2.0,
                    original_max_position_embeddings=4096,
                    mscale=0.7,
                    mscale_all_dim=1.0,
                    truncate=False,
                ),
            ),
        ),
        (
            {**CONTEXT, "rope_parameters": LONGROPE, "original_max_position_embeddings": 1024},
            Rotary(
                10_000.0, LongRopeScaling((1.0, 1.0, 2.0, 2.0), (2.0, 3.0, 4.0, 5.0), 4.0, 1024)
            ),
        ),
    ],
)
def test_present_and_older_spellings(data: dict[str, Any], expected: Rotary | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="max_position_embeddings is not supported"):
            parsed(data)
    else:
        assert parsed(data) == expected
        assert parsed({**data, **write_rope(rope_of(data))}) == expected


def test_both_spellings_are_written() -> None:
    written = write_rope(Rope(5e5, "linear", {"factor": 2.0}))
    for spelling in ("rope_parameters", "rope_scaling"):
        alone = {"rope_theta": 5e5, spelling: written[spelling]}
        assert parsed(alone) == Rotary(5e5, LinearScaling(2.0))
    assert "rope_scaling" not in write_rope(Rope(5e5))


@pytest.mark.parametrize(
    ("block", "complaints"),
    [
        ({"rope_type": "axial"}, ["rope_type must be one of default, linear, dynamic, llama3"]),
        (
            {"rope_type": "longrope", "short_factor": [1, 1], "long_factor": [1, 0, 1, 1]},
            ["short_factor must be a list of 4 numbers", "long_factor must be a list of 4"],
        ),
        ({"rope_type": "dynamic", "factor": 2}, ["max_position_embeddings is missing"]),
        ({"rope_type": "linear"}, ["rope_parameters.factor must be a number from 1"]),
        (
            {"rope_type": "llama3", "factor": 0.5},
            ["factor must be a number from 1", "original_max_position_embeddings is missing"],
        ),
        ({"rope_type": "linear", "factor": 2, "mscale": 1.0}, ["mscale is not supported"]),
        (
            {"rope_type": "yarn", "factor": 2, "truncate": 0},
            ["truncate must be true or false", "original_max"],
        ),
        (
            {"rope_type": "yarn", "rope_theta": 1},
            ["rope_theta must be above 1 with rope_type yarn"],
        ),
        (
            {"rope_type": "llama3", "low_freq_factor": 4},
            ["high_freq_factor 4 must be above low_freq_factor 4"],
        ),
        ({"rope_theta": 0}, ["rope_parameters.rope_theta must be a number from 1"]),
        ({"partial_rotary_factor": 0.5}, ["rope_parameters.partial_rotary_factor must be 1.0"]),
        ("yes", ["rope_parameters must be an object"]),
    ],
)
def test_refused(block: Any, complaints: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        parsed({"rope_parameters": block})
    for complaint in complaints:
        assert complaint in str(caught.value)


SETTINGS: dict[str, dict[str, Any]] = {
    "linear": {},
    "dynamic": {},
    "llama3": LLAMA3,
    "yarn": {"beta_fast": 32, "beta_slow": 1, "attention_factor": 1, **TUNED},
    "longrope": {**LONGROPE, "attention_factor": 1},
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ROPE_KINDS)
def test_any_setting_that_is_read_gives_finite_rotations(kind: str) -> None:
    block = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0, **SETTINGS[kind]}
    refused = 0
    for name in set(block) - {"rope_type"}:
        for value in (0, 1, 2, 4, 1e-45, 1e-6, 0.5, 1e6, 1e30, 3e38, 1e308, 10**40):
            data = {"rope_parameters": {**block, name: value}, **CONTEXT}
            try:
                rotary = parsed({**data, "original_max_position_embeddings": 16})
            except ValueError:
                refused += 1
                continue
            magnitude = 1.0 if rotary.scaling is None else rotary.scaling.magnitude
            assert np.isfinite(rotary.frequencies(WIDTH)).all(), data
            assert 0 < np.float32(magnitude) < np.inf, data
    assert refused > 5


@pytest.mark.parametrize(
    ("positions", "lengths"),
    [
        ([0, 1, 2, 3], [4, 4, 4, 4]),
        # A row of two sequences and padding, a prompt that is padded, a token of a cached sequence.
        ([0, 1, 2, 0, 1, 0, 0], [3, 3, 3, 2, 2, 1, 1]),
        ([0, 1, 2, 2, 2], [3, 3, 3, 3, 3]),
        ([7], [8]),
    ],
)
def test_the_length_of_a_tokens_sequence(positions: list[int], lengths: list[int]) -> None:
    assert sequence_lengths(jnp.asarray([positions])).tolist() == [lengths]


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_each_sequence_of_a_row_is_rotated_by_its_own_length(kind: str) -> None:
    block = LONGROPE if kind == "longrope" else {"rope_type": "dynamic", "factor": 4.0}
    rotary = parsed({"max_position_embeddings": 4, "rope_parameters": block})

    def sines(*positions: int) -> Any:
        return np.asarray(rotary.cos_sin(np.asarray([positions]), WIDTH)[1])

    row = sines(0, 1, 2, 0, 1, 2, 3, 4, 5)
    np.testing.assert_array_equal(row[:, :3], sines(0, 1, 2))
    np.testing.assert_allclose(row[:, 3:], sines(0, 1, 2, 3, 4, 5), rtol=1e-6)
    assert not np.allclose(row[:, 3:6], sines(0, 1, 2), rtol=1e-3)
