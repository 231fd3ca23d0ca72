"""Rotary position embeddings (Su et al., arXiv:2104.09864) and their scalings to long contexts.

Shapes: B sequences, T tokens, H heads, D head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from tailrace.formats.model.rope import Rope

Frequencies = NDArray[np.float32]
"""Radians per position of each pair of channels, [D / 2]."""

CosSin = tuple[jax.Array, jax.Array]
"""Cosines and sines of the positions of a forward pass, each [B or 1, T, 1, R / 2] for R rotated
channels of each head."""


@dataclass(frozen=True)
class LinearScaling:
    """Position interpolation: division by a factor (Chen et al., arXiv:2306.15595)."""

    factor: float
    magnitude: ClassVar[float] = 1.0
    """Factor of sines and cosines."""

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        """Return the scaled frequencies; ``theta`` is their base."""
        scaled: Frequencies = (frequencies / self.factor).astype(np.float32)
        return scaled


@dataclass(frozen=True)
class DynamicScaling:
    """NTK-aware scaling of sequences that are longer than the original context.

    The base of the wavelengths grows with the sequence, so that the slowest channel is stretched by
    as much as the context.
    """

    factor: float
    original_max_position_embeddings: int
    """Context of the pretraining, in tokens."""
    magnitude: ClassVar[float] = 1.0

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        """Return the frequencies of sequences within the original context: unchanged."""
        return frequencies

    def stretch(self, frequencies: Frequencies, theta: float, lengths: jax.Array) -> jax.Array:
        """Return the frequencies [..., R / 2] of sequences of ``lengths`` [..., 1]."""
        original, width = self.original_max_position_embeddings, 2 * len(frequencies)
        longer = jnp.maximum(lengths, original).astype(jnp.float32)
        growth = self.factor * longer / original - (self.factor - 1)
        bases = theta * growth ** (width / (width - 2))
        exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
        return jnp.where(lengths > original, 1 / bases**exponents, frequencies)


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1: low frequencies divided, high ones kept, those between interpolated."""

    factor: float
    original_max_position_embeddings: int
    """Context of the pretraining, in tokens."""
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    magnitude: ClassVar[float] = 1.0

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        """Blend by the number of turns that a channel makes within the original context."""
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
    """Turns within the original context from which a channel is kept."""
    beta_slow: float = 1.0
    """Turns within the original context up to which a channel is divided."""
    attention_factor: float | None = None
    """Factor of sines and cosines; computed from the following when absent."""
    mscale: float | None = None
    """Weight of ln(factor) in the factor's numerator; used together with ``mscale_all_dim``."""
    mscale_all_dim: float | None = None
    """Weight of ln(factor) in its denominator."""
    truncate: bool = True
    """True if the ramp begins and ends at whole channels."""

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        """Blend along a ramp over the channels between the two betas."""
        half = len(frequencies)
        low = self._channel(self.beta_fast or 32.0, theta, half)
        high = self._channel(self.beta_slow or 1.0, theta, half)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * half - 1)
        ramp = (np.arange(half) - low) / (high - low if high != low else 0.001)
        keep = 1 - np.clip(ramp, 0, 1)
        return _blend(frequencies, self.factor, keep)

    @property
    def magnitude(self) -> float:
        """``attention_factor``, by default the paper's 0.1·ln(factor) + 1."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._weighted(self.mscale) / self._weighted(self.mscale_all_dim)
        return self._weighted(1)

    def _weighted(self, weight: float) -> float:
        return 0.1 * weight * math.log(self.factor) + 1 if self.factor > 1 else 1.0

    def _channel(self, turns: float, theta: float, half: int) -> float:
        context = self.original_max_position_embeddings
        return half * math.log(context / (turns * 2 * math.pi)) / math.log(theta)


@dataclass(frozen=True)
class LongRopeScaling:
    """LongRoPE (Ding et al., arXiv:2402.13753): divisors for short and for long sequences."""

    short_factor: tuple[float, ...]
    """Divisor of each frequency."""
    long_factor: tuple[float, ...]
    """Divisors beyond the original context."""
    factor: float
    """Longest sequence in relation to the original context."""
    original_max_position_embeddings: int
    """Context of the pretraining, in tokens."""
    attention_factor: float | None = None
    """Factor of sines and cosines; computed from ``factor`` when absent."""

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        """Return the frequencies of sequences within the original context."""
        return _divide(frequencies, self.short_factor)

    def stretch(self, frequencies: Frequencies, theta: float, lengths: jax.Array) -> jax.Array:
        """Return the frequencies [..., R / 2] of sequences of ``lengths`` [..., 1]."""
        short, long = (_divide(frequencies, f) for f in (self.short_factor, self.long_factor))
        return jnp.where(lengths > self.original_max_position_embeddings, long, short)

    @property
    def magnitude(self) -> float:
        """``attention_factor``, by default the paper's √(1 + ln(factor) / ln(context))."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.factor <= 1:
            return 1.0
        return math.sqrt(
            1 + math.log(self.factor) / math.log(self.original_max_position_embeddings)
        )


Scaling = LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | LongRopeScaling
"""Change of the frequencies for longer contexts."""

SCALINGS: dict[str, type[Scaling]] = {
    "linear": LinearScaling,
    "dynamic": DynamicScaling,
    "llama3": Llama3Scaling,
    "yarn": YarnScaling,
    "longrope": LongRopeScaling,
}
"""Scalings by ``rope_type``; ``default`` has none."""


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding of one model."""

    theta: float = 10_000.0
    """Base of the wavelengths."""
    scaling: Scaling | None = None
    fraction: float = 1.0
    """Share of each head's channels that are rotated."""

    @classmethod
    def of(cls, rope: Rope) -> Rotary:
        """Return the embedding that settings of config.json describe."""
        if rope.kind == "default":
            return cls(rope.theta, None, rope.fraction)
        kind: Callable[..., Scaling] = SCALINGS[rope.kind]
        return cls(rope.theta, kind(**rope.values), rope.fraction)

    def frequencies(self, width: int) -> Frequencies:
        """Return the scaled radians per position of each pair of the rotated channels.

        They are those of sequences within the original context. ``width`` is the number of all
        channels of a head.
        """
        plain = self._plain(width)
        return plain if self.scaling is None else self.scaling.scale(plain, self.theta)

    def cos_sin(self, positions: ArrayLike, width: int) -> CosSin:
        """Return cosines and sines of ``positions`` [B or 1, T], each [B or 1, T, 1, D / 2].

        Scalings that depend on the length of a sequence take it from the positions; see
        :func:`sequence_lengths`.
        """
        magnitude = 1.0 if self.scaling is None else self.scaling.magnitude
        positions = jnp.asarray(positions)
        frequencies: ArrayLike = self.frequencies(width)
        if isinstance(self.scaling, DynamicScaling | LongRopeScaling):
            lengths = sequence_lengths(positions)[..., None, None]
            frequencies = self.scaling.stretch(self._plain(width), self.theta, lengths)
        angles = positions[..., None, None].astype(jnp.float32) * frequencies
        return jnp.cos(angles) * magnitude, jnp.sin(angles) * magnitude

    def _plain(self, width: int) -> Frequencies:
        width = int(width * self.fraction)
        exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
        plain: Frequencies = (1 / np.float32(self.theta) ** exponents).astype(np.float32)
        return plain


def sequence_lengths(positions: jax.Array) -> jax.Array:
    """Return the length of the sequence that each token belongs to, [B or 1, T].

    A row holds sequences one after another, each with positions from 0 or, in a cache, from its
    newest token. The length is the last position plus one; padding repeats that position.
    """
    count = positions.shape[-1]
    columns = jnp.arange(count)
    starts = jnp.where(positions == 0, columns, count)
    following = jax.lax.cummin(starts, axis=positions.ndim - 1, reverse=True)[..., 1:]
    after = jnp.concatenate([following, jnp.full_like(starts[..., :1], count)], axis=-1)
    return jnp.take_along_axis(positions, after - 1, axis=-1) + 1


def rotate(x: jax.Array, cos_sin: CosSin) -> jax.Array:
    """Rotate the first R channels of ``x`` [B, T, H, D]; ``cos_sin`` has R / 2 of each.

    Channels i and i + R / 2 are a pair, as in GPT-NeoX.
    """
    rotated = 2 * cos_sin[0].shape[-1]
    if rotated < x.shape[-1]:
        rest = x[..., rotated:]
        return jnp.concatenate([rotate(x[..., :rotated], cos_sin), rest], axis=-1)
    cosines, sines = (values.astype(x.dtype) for values in cos_sin)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )


def _divide(frequencies: Frequencies, divisors: tuple[float, ...]) -> Frequencies:
    divided: Frequencies = (frequencies / np.asarray(divisors, np.float32)).astype(np.float32)
    return divided


def _blend(frequencies: Frequencies, factor: float, keep: NDArray[Any]) -> Frequencies:
    """Keep channels where ``keep`` is 1 and divide those where it is 0 by ``factor``."""
    blended: Frequencies = ((1 - keep) * frequencies / factor + keep * frequencies).astype(
        np.float32
    )
    return blended
