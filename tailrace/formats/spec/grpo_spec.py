"""Learning from rewards: the block of ``train.grpo``."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from tailrace.formats.data.record import DatasetKind
from tailrace.formats.schema import Violation, key
from tailrace.formats.spec.infer_spec import MAX_NEW_TOKENS
from tailrace.formats.spec.judge_spec import JudgeSpec, PairwiseOptions
from tailrace.formats.spec.methods import Overlong

MAX_REWARDS = 16
"""Maximum number of judges that reward."""

LENGTH_TERM, FORMAT_TERM = "length", "format"
"""Names of the shaping terms among the parts of a reward; no judge can have one of them."""


class PolicyLoss(enum.StrEnum):
    """Aggregation of the losses of tokens."""

    GRPO = "grpo"
    """Mean over the tokens of an answer, then over answers (Shao et al., arXiv:2402.03300)."""
    DR_GRPO = "dr_grpo"
    """Sum over tokens, over answers times `max_new_tokens` (Liu et al., arXiv:2503.20783)."""
    DAPO = "dapo"
    """Mean over all tokens of the batch (Yu et al., arXiv:2503.14476)."""


class RatioLevel(enum.StrEnum):
    """Level of the ratio between the model's probabilities and those at sampling."""

    TOKEN = "token"
    """One ratio a token."""
    SEQUENCE = "sequence"
    """One ratio an answer: the geometric mean over its tokens (GSPO, arXiv:2507.18071)."""


class RewardScale(enum.StrEnum):
    """Divisor of the rewards' differences from the mean of their group."""

    GROUP = "group"
    """Standard deviation of the group's rewards."""
    BATCH = "batch"
    """Standard deviation of the rewards of all samples of the step."""
    NONE = "none"
    """1."""


class PreflightMode(enum.StrEnum):
    """Consequence of what the samples of the starting model show."""

    OFF = "off"
    """Nothing is sampled before the first step."""
    WARN = "warn"
    """Findings are warnings of the log."""
    REQUIRE = "require"
    """A finding fails the stage before the first step."""


@dataclass(frozen=True)
class RewardSpec:
    """A judge whose score is a part of the reward."""

    judge: JudgeSpec = key("The judge; `pairwise` cannot reward.")
    weight: float = key(
        "Factor of the judge's score, not 0.",
        default=1.0,
        minimum=-1000,
        maximum=1000,
        shown_first=True,
    )


@dataclass(frozen=True)
class LengthTerm:
    """Penalty of long answers, which grows from `free_tokens` to `max_new_tokens`."""

    free_tokens: int = key(
        "Length up to which an answer loses nothing; must be below `max_new_tokens`.",
        minimum=0,
        maximum=MAX_NEW_TOKENS,
    )
    weight: float = key(
        "Reward that an answer of `max_new_tokens` loses.", default=1.0, above=0, maximum=1000
    )


@dataclass(frozen=True)
class FormatTerm:
    """Reward of answers that match a pattern."""

    pattern: str = key("The pattern.", minimum=1, max_length=10_000)
    full_match: bool = key("Match the whole answer, not a part.", default=False)
    weight: float = key("Reward of a match.", default=1.0, above=0, maximum=1000)


@dataclass(frozen=True)
class PreflightSpec:
    """Samples of the starting model before the first step, and what they must show."""

    mode: PreflightMode = key("Consequence of a finding.", default=PreflightMode.WARN)
    prompts: int = key(
        "Prompts of the train part that are sampled.", default=8, minimum=1, maximum=10_000
    )
    min_signal: float = key(
        "Smallest share of prompts whose samples have different rewards.",
        default=0.1,
        minimum=0,
        maximum=1,
    )
    max_adversarial: float = key(
        "Highest mean reward of answers that solve nothing: an empty one, the prompt, a marker "
        "alone, a very long one, many candidates at once.",
        default=0.3,
        minimum=-1_000_000,
        maximum=1_000_000,
    )


@dataclass(frozen=True)
class GrpoSpec:
    """Learning from rewards: answers that judges score above their group become likelier."""

    DATASETS: ClassVar[tuple[DatasetKind, ...]] = (
        DatasetKind.PROMPTS,
        *(kind for kind in DatasetKind if kind is not DatasetKind.PROMPTS),
    )
    """Kinds of dataset that the method learns from: only prompts and expected answers are read."""

    RENAMED: ClassVar[dict[str, str]] = {
        "num_generations": "train.grpo.n_samples",
        "max_completion_length": "train.grpo.max_new_tokens",
        "loss_type": "train.grpo.loss",
        "importance_sampling_level": "train.grpo.ratio",
        "epsilon": "train.grpo.clip_low",
        "epsilon_high": "train.grpo.clip_high",
        "beta": "train.grpo.kl_beta",
        "num_iterations": "train.grpo.inner_steps",
        "mask_truncated_completions": "train.grpo.mask_truncated",
        "reward_funcs": "train.grpo.rewards",
        "learning_rate": "train.learning_rate",
    }

    REFUSED: ClassVar[dict[str, str]] = dict.fromkeys(
        ("top_p", "top_k", "repetition_penalty"),
        "is not supported: rollouts are drawn from the model's own distribution, whose "
        "log-probabilities the loss compares; leave it out",
    )

    rewards: list[RewardSpec] = key(
        "The judges whose scores make up the reward, with their weights.",
        default=[],
        max_length=MAX_REWARDS,
        shown_first=True,
    )
    length: LengthTerm | None = key("Penalty of long answers.", default=None)
    format: FormatTerm | None = key("Reward of answers that match a pattern.", default=None)
    n_samples: int = key(
        "Answers sampled for each prompt, its group.",
        default=8,
        minimum=2,
        maximum=64,
        shown_first=True,
    )
    max_new_tokens: int = key(
        "Maximum number of tokens of an answer.",
        default=64,
        minimum=1,
        maximum=MAX_NEW_TOKENS,
        shown_first=True,
    )
    temperature: float = key("Temperature of sampling.", default=1.0, above=0, maximum=10)
    rollout_batch_size: int | None = key(
        "Answers that are generated together (default: all of a step).",
        default=None,
        minimum=1,
        maximum=4096,
    )
    loss: PolicyLoss = key("Aggregation of the losses of tokens.", default=PolicyLoss.GRPO)
    ratio: RatioLevel = key("Level of the ratio.", default=RatioLevel.TOKEN)
    scale_rewards: RewardScale = key("Divisor of advantages.", default=RewardScale.GROUP)
    clip_low: float = key(
        "Ratios below 1 less this are clipped where the advantage is negative.",
        default=0.2,
        minimum=0,
        maximum=1,
    )
    clip_high: float = key(
        "Ratios above 1 plus this are clipped where the advantage is positive.",
        default=0.2,
        minimum=0,
        maximum=100,
    )
    kl_beta: float = key(
        "Weight of the KL divergence from the model that the run starts from, estimated for each "
        "token (k3, http://joschu.net/blog/kl-approx.html); 0 needs no second model.",
        default=0.0,
        minimum=0,
        maximum=1000,
    )
    inner_steps: int = key(
        "Optimizer steps on the answers of one rollout.", default=1, minimum=1, maximum=1000
    )
    mask_truncated: bool = key(
        "Leave answers that were cut by length out of the loss.", default=False
    )
    resample: int = key(
        "Times that a group whose rewards are all equal is sampled again.",
        default=0,
        minimum=0,
        maximum=16,
    )
    preflight: PreflightSpec = key(
        "Samples of the starting model before the first step.", default=PreflightSpec()
    )
    overlong: Overlong = key(
        "Policy for prompts that leave no room for `max_new_tokens` in `max_seq_length`: `refuse` "
        "or `drop`.",
        default=Overlong.REFUSE,
    )

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of rewards, shaping terms and the policy for long prompts."""
        violations = self._reward_violations(path)
        if self.length is not None and self.length.free_tokens >= self.max_new_tokens:
            below = f"must be below max_new_tokens {self.max_new_tokens}"
            violations.append(Violation(f"{path}.length.free_tokens", below))
        if self.overlong not in (Overlong.REFUSE, Overlong.DROP):
            choices = (
                f"cannot be {self.overlong}, which would change prompts: choose refuse or drop"
            )
            violations.append(Violation(f"{path}.overlong", choices))
        return violations

    def _reward_violations(self, path: str) -> list[Violation]:
        violations: list[Violation] = []
        if not self.rewards and self.format is None:
            nothing = "has nothing to reward: name a judge, or set format"
            violations.append(Violation(f"{path}.rewards", nothing))
        names = [reward.judge.name for reward in self.rewards]
        for i, reward in enumerate(self.rewards):
            where = f"{path}.rewards[{i}]"
            if names[i] in names[:i]:
                violations.append(Violation(f"{where}.judge.name", f"{names[i]!r} is named twice"))
            if names[i] in (LENGTH_TERM, FORMAT_TERM):
                conflict = f"{names[i]!r} is the name of a shaping term: use train.grpo.{names[i]}"
                violations.append(Violation(f"{where}.judge.name", conflict))
            if isinstance(reward.judge.options(), PairwiseOptions):
                compares = (
                    "compares two answers and scores none alone: choose a judge that scores one"
                )
                violations.append(Violation(f"{where}.judge.name", compares))
            if reward.weight == 0:
                violations.append(
                    Violation(f"{where}.weight", "must not be 0: leave the judge out")
                )
        return violations

    @property
    def judges(self) -> list[JudgeSpec]:
        """The judges that reward."""
        return [reward.judge for reward in self.rewards]
