"""Goldens of the losses of sampled answers, from TRL's ``GRPOTrainer._compute_loss``.

``python -m tests.parity.losses.make_policy_goldens`` needs torch and trl. Every case has the loss
of a batch and its derivative by each log-probability, for the same log-probabilities, those at
sampling, those of the reference, masks and rewards. Rewards become advantages as in
``GRPOTrainer._generate_and_score_completions``, with TRL's own standard deviation. One answer is
masked whole, as one that was cut by length.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import trl
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import nanstd

PATH = Path(__file__).with_name("policy_losses.json")

LENGTHS = (5, 3, 6, 1, 0, 4)
"""Tokens with a loss of each answer; 0 for the masked one."""

REWARDS = (1.0, 0.0, 0.25, 0.5, 0.5, -1.0)
GROUP = 3
"""Answers of each prompt."""

WIDTH, MAX_NEW_TOKENS = 6, 8

CASES = [
    {
        "loss": loss,
        "ratio": ratio,
        "scale_rewards": scale,
        "kl_beta": beta,
        "clip_low": 0.2,
        "clip_high": 0.28,
        "max_new_tokens": MAX_NEW_TOKENS,
    }
    for loss, ratio, scale, beta in itertools.product(
        ("grpo", "dr_grpo", "dapo"), ("token", "sequence"), ("group", "batch", "none"), (0.0, 0.04)
    )
]


def main() -> None:
    """Write the goldens."""
    generator = np.random.default_rng(18)
    shape = (len(LENGTHS), WIDTH)
    mask = np.arange(WIDTH) < np.asarray(LENGTHS)[:, None]
    old = -generator.exponential(1.2, shape)
    arrays = {
        "old": old,
        "policy": old + generator.normal(0, 0.3, shape),
        "reference": old + generator.normal(0, 0.3, shape),
    }
    values = {n: np.asarray(array * mask, np.float32) for n, array in arrays.items()}
    content = {
        "trl": trl.__version__,
        "lengths": LENGTHS,
        "rewards": REWARDS,
        "group": GROUP,
        **{name: array.tolist() for name, array in values.items()},
        "cases": [{"spec": spec, **_case(spec, values, mask)} for spec in CASES],
    }
    PATH.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _case(spec: dict[str, Any], values: dict[str, Any], mask: Any) -> dict[str, Any]:
    policy = torch.tensor(values["policy"], requires_grad=True)
    completion = torch.tensor(mask).long()
    inputs = {
        "prompt_ids": torch.zeros(len(mask), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(mask), 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(completion),
        "completion_mask": completion,
        "advantages": _advantages(spec["scale_rewards"]),
        "old_per_token_logps": torch.tensor(values["old"]),
        "ref_per_token_logps": torch.tensor(values["reference"]),
        "num_items_in_batch": completion.sum(),
    }
    loss = compute_loss(spec, (policy, torch.zeros_like(policy), None), inputs)
    loss.backward()
    return {"loss": loss.item(), "slopes": policy.grad.numpy().tolist()}


def _advantages(scale: str) -> torch.Tensor:
    rewards = torch.tensor(REWARDS)
    groups = rewards.view(-1, GROUP)
    difference = rewards - groups.mean(dim=1).repeat_interleave(GROUP)
    if scale == "group":
        return difference / (nanstd(groups, dim=1).repeat_interleave(GROUP) + 1e-4)
    return difference / (nanstd(rewards) + 1e-4) if scale == "batch" else difference


def compute_loss(
    spec: dict[str, Any], scores: tuple[torch.Tensor, torch.Tensor, None], inputs: dict[str, Any]
) -> torch.Tensor:
    """Return the loss of TRL's trainer for a model with the given scores.

    The scores are log-probabilities and entropies of tokens, and no auxiliary loss.
    """
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: scores,
        accelerator=SimpleNamespace(
            num_processes=1, gather=lambda values: values, reduce=lambda values, **_: values
        ),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        aux_loss_enabled=False,
        beta=spec["kl_beta"],
        current_gradient_accumulation_steps=1,
        epsilon_low=spec["clip_low"],
        epsilon_high=spec["clip_high"],
        importance_sampling_level=spec["ratio"],
        loss_type=spec["loss"],
        max_completion_length=spec["max_new_tokens"],
        model=SimpleNamespace(training=True),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    loss: torch.Tensor = GRPOTrainer._compute_loss(trainer, None, inputs)
    return loss


if __name__ == "__main__":
    main()
