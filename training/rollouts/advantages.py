"""Advantages of answers over the other answers to the same prompt."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tailrace.formats.spec.grpo_spec import RewardScale

_EPSILON = 1e-4
"""Added to the standard deviation, as in TRL."""


@dataclass(frozen=True)
class GroupFigures:
    """Figures of the groups of a step."""

    advantages: list[float | None]
    """Advantage of each answer; None for answers without a reward, or in a dropped group."""
    groups: int
    """Number of groups that are left."""
    dropped: int
    """Number of groups with fewer than two rewards."""
    flat: int
    """Number of groups whose rewards are all equal."""
    spread: float
    """Mean standard deviation of the rewards of a group; 0 without groups."""


def group_advantages(
    groups: Sequence[Hashable], rewards: Sequence[float | None], scale: RewardScale
) -> GroupFigures:
    """Return the advantages of answers.

    Args:
        groups: Group of each answer.
        rewards: Reward of each answer; None for an answer that could not be scored, which leaves
            its group.
        scale: Divisor of the differences from the mean of the group.
    """
    members: dict[Hashable, list[int]] = {}
    for i, (group, reward) in enumerate(zip(groups, rewards, strict=True)):
        members.setdefault(group, [])
        if reward is not None:
            members[group].append(i)
    scored_groups = [indices for indices in members.values() if len(indices) > 1]
    values = [np.asarray([rewards[i] for i in indices], np.float64) for indices in scored_groups]
    deviations = [float(np.std(group, ddof=1)) for group in values]
    advantages: list[float | None] = [None] * len(rewards)
    for indices, own, deviation in zip(scored_groups, values, deviations, strict=True):
        divisor = _divisor(scale, deviation, values)
        for i, difference in zip(indices, own - own.mean(), strict=True):
            advantages[i] = float(difference / divisor)
    return GroupFigures(
        advantages,
        len(scored_groups),
        len(members) - len(scored_groups),
        sum(is_flat(group) for group in values),
        float(np.mean(deviations)) if deviations else 0.0,
    )


def is_flat(rewards: Sequence[float] | NDArray[np.float64]) -> bool:
    """Return True if rewards are all equal, so that a group teaches nothing."""
    return len(rewards) > 0 and bool(np.ptp(np.asarray(rewards)) == 0)


def _divisor(scale: RewardScale, deviation: float, values: Sequence[NDArray[np.float64]]) -> float:
    if scale is RewardScale.NONE:
        return 1.0
    if scale is RewardScale.BATCH:
        deviation = float(np.std(np.concatenate(values), ddof=1))
    return deviation + _EPSILON
