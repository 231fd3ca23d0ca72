"""Figures of a pre-flight: the reward of the starting model, and of answers that solve nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from tailrace.formats.data.rollout import Rollout


def summary(rollouts: Sequence[Rollout]) -> str:
    """Return the figures of a pre-flight in a line."""
    sampled = rewards(rollout for rollout in rollouts if rollout.adversarial is None)
    if not sampled:
        return "no answer of the starting model could be scored"
    deviation = statistics.stdev(sampled) if len(sampled) > 1 else 0.0
    worthless = ", ".join(f"{kind} {mean:.3g}" for kind, mean in adversarial_means(rollouts))
    return (
        f"reward {statistics.fmean(sampled):.3g} ± {deviation:.3g} on {len(sampled)} answers of "
        f"the starting model, {signal_share(rollouts):.0%} of prompts with different rewards; "
        f"mean reward of worthless answers: {worthless or 'none'}"
    )


def signal_share(rollouts: Sequence[Rollout]) -> float:
    """Return the share of sampled prompts whose answers have different rewards."""
    groups: dict[int, list[float]] = {}
    for rollout in rollouts:
        if rollout.adversarial is None:
            groups.setdefault(rollout.prompt_index, []).extend(rewards([rollout]))
    spread = [len(set(group)) > 1 for group in groups.values()]
    return sum(spread) / len(spread) if spread else 0.0


def adversarial_means(rollouts: Sequence[Rollout]) -> list[tuple[str, float]]:
    """Return the mean reward of each kind of worthless answers."""
    kinds = dict.fromkeys(r.adversarial for r in rollouts if r.adversarial is not None)
    by_kind = {kind: rewards(r for r in rollouts if r.adversarial == kind) for kind in kinds}
    return [(kind, statistics.fmean(values)) for kind, values in by_kind.items() if values]


def rewards(rollouts: Iterable[Rollout]) -> list[float]:
    """Return the rewards of those answers that have one."""
    return [rollout.reward for rollout in rollouts if rollout.reward is not None]
