"""Pre-flight: the reward of a training, tried on the starting model and on answers of no worth."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import (
    MAX_GENERATED,
    MAX_PROMPT,
    FinishReason,
    ModelRole,
    Prediction,
)
from tailrace.formats.data.preflight import adversarial_means, signal_share, summary
from tailrace.formats.data.rollout import PREFLIGHT_STEP, Rollout
from tailrace.formats.data.split import TRAIN
from tailrace.formats.spec.grpo_spec import GrpoSpec, PreflightMode
from training.data.chat_format import ChatFormat
from training.errors import PreflightError
from training.judges.base import Candidate
from training.objectives.prompts import PromptStore
from training.rollouts.rewards import Answer, Rewards, total_reward
from training.rollouts.sampler import Prompt
from training.rollouts.store import RolloutStore

_log = logging.getLogger(__name__)

_CANDIDATES = 50
"""Number of answers that are pasted together."""

_MARKER = "Answer:"
"""Marker for items and judges that name none."""

ScoredSamples = Callable[[Sequence[Prompt], int], list[Rollout]]
"""Function that samples prompts for a step and scores the answers."""


class Preflight:
    """Samples of the starting model, committed as the rollouts of step 0."""

    def __init__(
        self, spec: GrpoSpec, store: RolloutStore, chat: ChatFormat, rewards: Rewards
    ) -> None:
        self._spec = spec
        self._store = store
        self._chat = chat
        self._rewards = rewards

    def run(self, prompts: PromptStore, sample: ScoredSamples) -> None:
        """Sample, score and commit, unless an earlier attempt did; report the findings.

        Args:
            prompts: Prompts of the train part; those at equal distances are sampled.
            sample: See :data:`ScoredSamples`.

        Raises:
            PreflightError: There is a finding, and the spec requires that there is none.
            TrainingError: As the judges.
            StoppedError: A stop is requested.
            OSError: The rollouts cannot be written.
        """
        rollouts = self._store.read(PREFLIGHT_STEP)
        if rollouts is None:
            count = min(self._spec.preflight.prompts, len(prompts))
            chosen = [
                Prompt(i, prompts.items[i], [int(token) for token in prompts[i].tokens])
                for i in np.linspace(0, len(prompts) - 1, count).astype(int).tolist()
            ]
            rollouts = sample(chosen, PREFLIGHT_STEP) + self._adversarial(chosen, prompts.items)
            self._store.commit(PREFLIGHT_STEP, rollouts)
        _log.info("pre-flight: %s", summary(rollouts))
        reasons = findings(rollouts, self._spec)
        for finding in reasons:
            _log.warning("pre-flight: %s", finding)
        if reasons and self._spec.preflight.mode is PreflightMode.REQUIRE:
            raise PreflightError(
                f"{'; '.join(reasons)}. Change the reward, the starting model or the prompts, or "
                "set train.grpo.preflight.mode to warn"
            )

    def _adversarial(self, prompts: Sequence[Prompt], items: Sequence[EvalItem]) -> list[Rollout]:
        """Return answers that solve nothing, with their rewards."""
        texts = [
            (prompt, kind, text)
            for prompt in prompts
            for kind, text in self._worthless(prompt.eval_item, items).items()
        ]
        answers = [
            Answer(Candidate(prompt.eval_item, _prediction(prompt, text)), self._count(text))
            for prompt, _, text in texts
        ]
        return [
            Rollout(
                step=PREFLIGHT_STEP,
                prompt_index=prompt.index,
                example_id=prompt.eval_item.id,
                sample=0,
                prompt=answer.candidate.prediction.prompt,
                text=text,
                finish_reason=FinishReason.EOS,
                parts=parts,
                reward=total_reward(parts),
                adversarial=kind,
            )
            for (prompt, kind, text), answer, parts in zip(
                texts, answers, self._rewards.score(answers), strict=True
            )
        ]

    def _worthless(self, eval_item: EvalItem, items: Sequence[EvalItem]) -> dict[str, str]:
        """Return answers by kind that show no skill, though one may contain the right answer."""
        judges = [marker for judge in self._spec.judges for marker in judge.markers]
        marker = next(iter([*eval_item.markers, *judges]), _MARKER)
        answers = [other.answers[0] for other in items[: 20 * _CANDIDATES] if other.answers]
        own = eval_item.answers[:1]
        candidates = list(dict.fromkeys(answers))[: _CANDIDATES - 1]
        middle = len(candidates) // 2
        pasted = [*candidates[:middle], *own, *candidates[middle:]] or list(map(str, range(100)))
        return {
            "empty": "",
            "prompt": eval_item.shown_prompt[:MAX_GENERATED],
            "marker": marker,
            "long": " ".join(["very"] * self._spec.max_new_tokens),
            "candidates": "\n".join(pasted)[:MAX_GENERATED],
        }

    def _count(self, text: str) -> int:
        """Return the number of tokens of a text, up to the most that an answer may have."""
        tokens = self._chat.tokenizer(text, add_special_tokens=False)["input_ids"]
        return min(len(tokens), self._spec.max_new_tokens)


def findings(rollouts: Sequence[Rollout], spec: GrpoSpec) -> list[str]:
    """Return the reasons why the training would learn nothing, or the wrong thing."""
    bars = spec.preflight
    reasons = []
    share = signal_share(rollouts)
    if share < bars.min_signal:
        reasons.append(
            f"only {share:.0%} of prompts have answers with different rewards, less than "
            f"min_signal {bars.min_signal:.0%}: the others teach nothing"
        )
    reasons += [
        f"answers of the kind {kind!r} get the reward {mean:.3g}, more than max_adversarial "
        f"{bars.max_adversarial:g}: the training may learn to give them"
        for kind, mean in adversarial_means(rollouts)
        if mean > bars.max_adversarial
    ]
    return reasons


def _prediction(prompt: Prompt, text: str) -> Prediction:
    return Prediction(
        eval_set=TRAIN,
        example_id=prompt.eval_item.id,
        model_role=ModelRole.TRAINED,
        prompt=prompt.eval_item.shown_prompt[:MAX_PROMPT],
        text=text,
        finish_reason=FinishReason.EOS,
        prompt_tokens=len(prompt.tokens),
        completion_tokens=0,
    )
