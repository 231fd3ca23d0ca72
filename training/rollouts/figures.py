"""Figures of a rollout that become curves of the training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tailrace.formats.data.prediction import FinishReason
from tailrace.formats.data.rollout import Rollout
from tailrace.formats.spec.grpo_spec import GrpoSpec
from training.rollouts.advantages import group_advantages


def length_figures(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the mean length of a step's answers, and the share that was cut by length."""
    return {
        "answer_tokens": _mean(len(rollout.token_ids) for rollout in rollouts),
        "truncated_share": _mean(
            rollout.finish_reason is FinishReason.LENGTH for rollout in rollouts
        ),
    }


def reward_figures(rollouts: Sequence[Rollout], spec: GrpoSpec) -> dict[str, float]:
    """Return the figures of the rewards of a step's answers by name."""
    groups = group_advantages(
        [rollout.prompt_index for rollout in rollouts],
        [rollout.reward for rollout in rollouts],
        spec.scale_rewards,
    )
    figures = {
        "reward_spread": groups.spread,
        "groups_flat": float(groups.flat),
        "groups_dropped": float(groups.dropped),
        "reward_errors": float(sum(rollout.reward is None for rollout in rollouts)),
    }
    rewards = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    if rewards:
        figures["reward"] = _mean(rewards)
    for name in dict.fromkeys(part.name for rollout in rollouts for part in rollout.parts):
        parts = (part for rollout in rollouts for part in rollout.parts if part.name == name)
        scores = [part.score for part in parts if part.score is not None]
        if scores:
            figures[f"reward_{name}"] = _mean(scores)
    return figures


def _mean(values: Iterable[float]) -> float:
    return float(np.mean([float(value) for value in values]))
