"""Figures of a rollout that become curves of the training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tailrace.formats.data.prediction import FinishReason
from tailrace.formats.data.rollout import Rollout
from tailrace.formats.spec.grpo_spec import GrpoSpec
from training.rollouts.advantages import group_advantages


def rollout_figures(
    rollouts: Sequence[Rollout], spec: GrpoSpec, seconds: float | None
) -> dict[str, float]:
    """Return the figures of a step's answers by name.

    Args:
        rollouts: The answers of the step.
        spec: Settings.
        seconds: Time of sampling and judging; None for a rollout of an earlier attempt.
    """
    groups = group_advantages(
        [rollout.prompt_index for rollout in rollouts],
        [rollout.reward for rollout in rollouts],
        spec.scale_rewards,
    )
    lengths = [len(rollout.token_ids) for rollout in rollouts]
    truncated = [rollout.finish_reason is FinishReason.LENGTH for rollout in rollouts]
    figures = {
        "reward_spread": groups.spread,
        "groups_flat": float(groups.flat),
        "groups_dropped": float(groups.dropped),
        "reward_errors": float(sum(rollout.reward is None for rollout in rollouts)),
        "answer_tokens": _mean(lengths),
        "truncated_share": _mean(truncated),
    }
    rewards = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    if rewards:
        figures["reward"] = _mean(rewards)
    for name in dict.fromkeys(part.name for rollout in rollouts for part in rollout.parts):
        parts = (part for rollout in rollouts for part in rollout.parts if part.name == name)
        scores = [part.score for part in parts if part.score is not None]
        if scores:
            figures[f"reward_{name}"] = _mean(scores)
    if seconds:
        figures["rollout_tokens_per_second"] = round(sum(lengths) / seconds, 1)
    return figures


def _mean(values: Iterable[float]) -> float:
    return float(np.mean([float(value) for value in values]))
