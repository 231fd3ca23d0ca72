"""Rotary position embeddings (Su et al., arXiv:2104.09864) and their scalings to long contexts.

Shapes: B sequences, T tokens, H heads, D head width.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from tailrace.formats.model.config import ConfigReader, Rope, read_rope

Frequencies = NDArray[np.float32]
"""Radians per position of each pair of channels, [D / 2]."""


@dataclass(frozen=True)
class LinearScaling:
    """Positions are divided by a factor (Chen et al., arXiv:2306.15595)."""

    factor: float
    magnitude: ClassVar[float] = 1.0
    """Factor of sines and cosines."""

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        """The changed frequencies; ``theta`` is the base they come from."""
        scaled: Frequencies = (frequencies / self.factor).astype(np.float32)
        return scaled


@dataclass(frozen=True)
class DynamicScaling:
    """NTK-aware scaling that begins behind ``max_position_embeddings``.

    Longer sequences than that are refused everywhere, so that nothing is ever scaled.
    """

    factor: float
    magnitude: ClassVar[float] = 1.0

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        """The frequencies as they are."""
        return frequencies


@dataclass(frozen=True)
class Llama3Scaling:
    """Low frequencies are divided, high ones kept, those between interpolated (Llama 3.1)."""

    factor: float
    original_max_position_embeddings: int
    """Context of the pretraining, in tokens."""
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    magnitude: ClassVar[float] = 1.0

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        """Blend by how many turns a channel makes within the original context."""
        turns = frequencies * self.original_max_position_embeddings / (2 * math.pi)
        span = self.high_freq_factor - self.low_freq_factor
        keep = np.clip((turns - self.low_freq_factor) / span, 0, 1)
        return _blend(frequencies, self.factor, keep)


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (Peng et al., arXiv:2309.00071); defaults are the paper's."""

    factor: float
    original_max_position_embeddings: int
    """Context of the pretraining, in tokens."""
    beta_fast: float = 32.0
    """Channels with at least this many turns within it are kept."""
    beta_slow: float = 1.0
    """Channels with at most this many turns within it are divided."""
    attention_factor: float | None = None
    """Factor of sines and cosines; computed from ``factor`` when absent."""

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        """Blend along a ramp over the channels between the two betas."""
        half = len(frequencies)
        low = max(math.floor(self._channel(self.beta_fast, theta, half)), 0)
        high = min(math.ceil(self._channel(self.beta_slow, theta, half)), 2 * half - 1)
        ramp = (np.arange(half) - low) / (high - low if high > low else 0.001)
        keep = 1 - np.clip(ramp, 0, 1)
        return _blend(frequencies, self.factor, keep)

    @property
    def magnitude(self) -> float:
        """The paper's 0.1·ln(factor) + 1, unless it is given."""
        if self.attention_factor is not None:
            return self.attention_factor
        return 0.1 * math.log(self.factor) + 1 if self.factor > 1 else 1.0

    def _channel(self, turns: float, theta: float, half: int) -> float:
        context = self.original_max_position_embeddings
        return half * math.log(context / (turns * 2 * math.pi)) / math.log(theta)


Scaling = LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling
"""A change of the frequencies that lets a model read longer contexts."""

SCALINGS: dict[str, type[Scaling]] = {
    "linear": LinearScaling,
    "dynamic": DynamicScaling,
    "llama3": Llama3Scaling,
    "yarn": YarnScaling,
}
"""By ``rope_type``; ``default`` is no scaling."""


@dataclass(frozen=True)
class Rotary:
    """How positions turn queries and keys."""

    theta: float = 10_000.0
    """Base of the wavelengths."""
    scaling: Scaling | None = None

    def frequencies(self, width: int) -> Frequencies:
        """Radians per position of each pair of ``width`` channels, scaled."""
        exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
        plain: Frequencies = (1 / np.float32(self.theta) ** exponents).astype(np.float32)
        return plain if self.scaling is None else self.scaling.scale(plain, self.theta)

    def waves(self, positions: ArrayLike, width: int) -> tuple[jax.Array, jax.Array]:
        """Cosines and sines, each [B or 1, T, 1, D / 2], of ``positions`` [B or 1, T]."""
        magnitude = 1.0 if self.scaling is None else self.scaling.magnitude
        angles = jnp.asarray(positions)[..., None, None].astype(jnp.float32)
        angles = angles * self.frequencies(width)
        return jnp.cos(angles) * magnitude, jnp.sin(angles) * magnitude


def rotate(x: jax.Array, waves: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turn ``x`` [B, T, H, D]; channel i and channel i + D / 2 are a pair, as in GPT-NeoX."""
    cosines, sines = (wave.astype(x.dtype) for wave in waves)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )


def parse_rotary(reader: ConfigReader) -> Rotary:
    """Read the rotary settings of a configuration."""
    return rotary_of(read_rope(reader))


def rotary_of(rope: Rope) -> Rotary:
    """Return the embedding that settings describe; after wrong ones, which were reported, any."""
    if rope.kind == "default":
        return Rotary(rope.theta)
    kind: Callable[..., Scaling] = SCALINGS[rope.kind]
    return Rotary(rope.theta, kind(**rope.values))


def dump_rotary(rotary: Rotary) -> dict[str, Any]:
    """The inverse of :func:`parse_rotary`, in both spellings: older programs open it, too."""
    scaling: dict[str, Any] | None = None
    if rotary.scaling is not None:
        kind = next(name for name, known in SCALINGS.items() if isinstance(rotary.scaling, known))
        values = dataclasses.asdict(rotary.scaling)
        scaling = {"rope_type": kind, **{k: v for k, v in values.items() if v is not None}}
    present = {**(scaling or {"rope_type": "default"}), "rope_theta": rotary.theta}
    older = {"rope_theta": rotary.theta, **({"rope_scaling": scaling} if scaling else {})}
    return {"rope_parameters": present, **older}


def _blend(frequencies: Frequencies, factor: float, keep: NDArray[Any]) -> Frequencies:
    """Channels with ``keep`` 1 stay, those with 0 are divided by ``factor``."""
    blended: Frequencies = ((1 - keep) * frequencies / factor + keep * frequencies).astype(
        np.float32
    )
    return blended
