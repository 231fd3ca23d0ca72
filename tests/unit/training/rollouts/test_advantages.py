from __future__ import annotations

import math

import pytest

from tailrace.formats.spec.grpo_spec import RewardScale
from training.rollouts.advantages import group_advantages

GROUPS = ["a", "a", "a", "b", "b", "c", "c"]
REWARDS = [1.0, 0.0, None, 0.5, 0.5, None, 1.0]


def test_an_answer_without_a_reward_leaves_its_group() -> None:
    figures = group_advantages(GROUPS, REWARDS, RewardScale.NONE)
    assert figures.advantages == [0.5, -0.5, None, 0.0, 0.0, None, None]
    assert (figures.groups, figures.dropped, figures.flat) == (2, 1, 1)
    assert figures.spread == pytest.approx(math.sqrt(0.5) / 2)


def test_differences_are_divided_by_the_deviation_of_the_group_or_the_batch() -> None:
    group = group_advantages(GROUPS, REWARDS, RewardScale.GROUP).advantages
    assert group[0] == pytest.approx(0.5 / (math.sqrt(0.5) + 1e-4))
    batch = group_advantages(GROUPS, REWARDS, RewardScale.BATCH).advantages
    assert batch[0] == pytest.approx(0.5 / (math.sqrt(0.5 / 3) + 1e-4))


def test_without_any_reward_there_is_no_group() -> None:
    figures = group_advantages(["a", "a"], [None, None], RewardScale.GROUP)
    assert figures.advantages == [None, None]
    assert (figures.groups, figures.dropped, figures.spread) == (0, 1, 0.0)
