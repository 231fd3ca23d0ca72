"""Goldens of preference losses, from the loss functions of the installed TRL.

``python -m tests.parity.losses.make_preference_goldens`` needs torch and trl. Every case has the
loss of each pair and its derivative by each log-probability of a token, for the same
log-probabilities, those of the reference, and masks.

- ``sigmoid``, ``ipo`` and ``hinge``: ``DPOTrainer._compute_loss``, one pair at a time.
- ``cdpo``: TRL's DPOTrainer has no label smoothing for this loss; ``CPOTrainer.cpo_loss`` has the
  same formula, and is given log-ratios in place of log-probabilities.
- ``simpo``: ``CPOTrainer.cpo_loss``, with ``simpo_gamma``.
- ``orpo``: ``ORPOTrainer.odds_ratio_loss``, plus the mean negative log-likelihood of the chosen
  answer's tokens, as in the paper. TRL takes that mean over the tokens of a whole batch, prompts
  included.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import trl
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer

PATH = Path(__file__).with_name("preference_losses.json")

CASES: dict[str, dict[str, Any]] = {
    "sigmoid": {"loss": "sigmoid", "beta": 0.1},
    "sigmoid_strong": {"loss": "sigmoid", "beta": 0.7},
    "cdpo": {"loss": "sigmoid", "beta": 0.1, "label_smoothing": 0.2},
    "ipo": {"loss": "ipo", "beta": 0.1},
    "hinge": {"loss": "hinge", "beta": 0.3},
    "simpo": {"loss": "simpo", "beta": 2.0, "gamma": 1.0},
    "orpo": {"loss": "orpo", "beta": 0.1},
}

LENGTHS = ((5, 3), (1, 6), (4, 4))
"""Tokens of the chosen and the rejected answer of each pair."""

WIDTH = 8


def main() -> None:
    """Write the goldens."""
    generator = np.random.default_rng(18)
    shape = (len(LENGTHS), 2, WIDTH)
    mask = np.arange(WIDTH) < np.asarray(LENGTHS)[..., None]
    inputs = {name: -generator.exponential(1.2, shape) * mask for name in ("policy", "reference")}
    arrays = {name: np.asarray(values, np.float32) for name, values in inputs.items()}
    content: dict[str, Any] = {
        "trl": trl.__version__,
        "lengths": LENGTHS,
        **{name: values.tolist() for name, values in arrays.items()},
        "cases": {
            name: {"spec": spec, **_case(spec, arrays, mask)} for name, spec in CASES.items()
        },
    }
    PATH.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _case(spec: dict[str, Any], arrays: dict[str, Any], mask: Any) -> dict[str, Any]:
    losses, slopes = [], []
    for policy, reference, answers in zip(arrays["policy"], arrays["reference"], mask, strict=True):
        tokens = torch.tensor(policy, requires_grad=True)
        loss = _loss(spec, tokens, torch.tensor(reference), torch.tensor(answers))
        loss.backward()
        losses.append(loss.item())
        slopes.append(tokens.grad.numpy().tolist())
    return {"losses": losses, "slopes": slopes}


def _loss(
    spec: dict[str, Any], tokens: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    chosen, rejected = ((tokens * mask).sum(1)).split(1)
    lengths = mask.sum(1)
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device="cpu"),
        alpha=0.0,
        beta=spec["beta"],
        loss_type=spec["loss"],
        label_smoothing=spec.get("label_smoothing", 0.0),
        simpo_gamma=spec.get("gamma", 0.0),
    )
    if spec["loss"] == "orpo":
        means = (chosen / lengths[0], rejected / lengths[1])
        odds = ORPOTrainer.odds_ratio_loss(trainer, *means)[0]
        return (-means[0] - odds).mean()
    if spec["loss"] == "simpo":
        means = (chosen / lengths[0], rejected / lengths[1])
        return CPOTrainer.cpo_loss(trainer, *means)[0].mean()
    sums = (reference * mask).sum(1).split(1)
    if spec.get("label_smoothing"):
        return CPOTrainer.cpo_loss(trainer, chosen - sums[0], rejected - sums[1])[0].mean()
    return _dpo_loss(spec, tokens * mask, sums, mask)


def _dpo_loss(
    spec: dict[str, Any],
    tokens: torch.Tensor,
    sums: tuple[torch.Tensor, ...],
    mask: torch.Tensor,
) -> torch.Tensor:
    """Return the loss of TRL's trainer for a model with the given log-probabilities."""
    flat = torch.zeros_like(tokens)
    outputs = SimpleNamespace(
        log_probs=tokens, entropy=flat, mean_logits=flat, is_top1=torch.zeros_like(mask)
    )
    accelerator = SimpleNamespace(
        device="cpu", gather=lambda values: values, gather_for_metrics=lambda values: values
    )
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=accelerator,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[spec["loss"]],
        loss_weights=[1.0],
        beta=spec["beta"],
        label_smoothing=0.0,
        use_weighting=False,
        _total_train_tokens=0,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    first = torch.zeros(2, 1, dtype=torch.bool)
    completion = torch.cat([first, mask], dim=1)
    inputs = {
        "input_ids": torch.zeros_like(completion, dtype=torch.long),
        "attention_mask": torch.ones_like(completion),
        "completion_mask": completion.long(),
        "ref_chosen_logps": sums[0],
        "ref_rejected_logps": sums[1],
    }
    loss: torch.Tensor = DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)
    return loss


if __name__ == "__main__":
    main()
