"""Goldens of the losses of feedback, from TRL's ``KTOTrainer._compute_loss``.

``python -m tests.parity.losses.make_feedback_goldens`` needs torch and trl. Every case has the loss
of a batch and its derivative by each log-probability of a token, for the same log-probabilities of
answers and of mismatched ones, those of the reference, masks and labels.
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
from trl.trainer.kto_trainer import KTOTrainer

PATH = Path(__file__).with_name("feedback_losses.json")

MIXED = (True, False, True, False, False)

CASES: dict[str, dict[str, Any]] = {
    "mixed": {"spec": {"beta": 0.1}, "labels": MIXED},
    "weighted": {
        "spec": {"beta": 0.5, "desirable_weight": 1.7, "undesirable_weight": 0.6},
        "labels": MIXED,
    },
    "below_zero": {"spec": {"beta": 0.3}, "labels": MIXED, "sign": -1},
    "all_good": {"spec": {"beta": 0.2}, "labels": (True,) * 5},
    "all_bad": {"spec": {"beta": 0.2, "undesirable_weight": 1.33}, "labels": (False,) * 5},
}
"""``sign`` turns the mean log-ratio of mismatched answers, so that it is below zero."""

LENGTHS = ((5, 3), (1, 6), (4, 4), (8, 2), (2, 7))
"""Tokens of each answer and of the mismatched one."""

WIDTH = 8


def main() -> None:
    """Write the goldens."""
    generator = np.random.default_rng(402)
    shape = (len(LENGTHS), 2, WIDTH)
    mask = np.arange(WIDTH) < np.asarray(LENGTHS)[..., None]
    policy = -generator.exponential(1.2, shape) * mask
    reference = policy + generator.normal(0, 0.8, shape) * mask
    reference[:, 1] = policy[:, 1] - np.abs(reference[:, 1] - policy[:, 1])
    arrays = {
        "policy": np.asarray(policy, np.float32),
        "reference": np.asarray(reference, np.float32),
    }
    content: dict[str, Any] = {
        "trl": trl.__version__,
        "lengths": LENGTHS,
        **{name: values.tolist() for name, values in arrays.items()},
        "cases": {name: {**case, **_case(case, arrays, mask)} for name, case in CASES.items()},
    }
    PATH.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _case(case: dict[str, Any], arrays: dict[str, Any], mask: Any) -> dict[str, Any]:
    tokens = torch.tensor(arrays["policy"], requires_grad=True)
    sums = torch.tensor((arrays["reference"] * mask).sum(-1))
    answers = torch.tensor(mask)
    flat = torch.zeros_like(tokens[:, 0])
    outputs = SimpleNamespace(
        log_probs=tokens[:, 0] * answers[:, 0], entropy=flat, mean_logits=flat
    )
    mismatched = (tokens[:, 1] * answers[:, 1]).sum(-1).detach()
    if case.get("sign", 1) < 0:
        mismatched = 2 * sums[:, 1] - mismatched
    trainer = _trainer(case["spec"], mismatched)
    first = torch.zeros(len(tokens), 1, dtype=torch.bool)
    completion = torch.cat([first, answers[:, 0]], dim=1)
    inputs = {
        "input_ids": torch.zeros_like(completion, dtype=torch.long),
        "attention_mask": torch.ones_like(completion),
        "completion_mask": completion.long(),
        "label": torch.tensor(case["labels"]),
        "ref_logps": sums[:, 0],
        "ref_KL_logps": sums[:, 1],
    }
    loss = KTOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)
    loss.backward()
    baseline = trainer._metrics["eval"]["kl"][0]
    return {"loss": loss.item(), "baseline": baseline, "slopes": tokens.grad.numpy().tolist()}


def _trainer(spec: dict[str, Any], mismatched: torch.Tensor) -> Any:
    """Return the parts of a trainer that its loss reads."""
    accelerator = SimpleNamespace(
        device="cpu", gather=lambda values: values, gather_for_metrics=lambda values: values
    )
    return SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=accelerator,
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        calculate_KL=True,
        _compute_kl_logps=lambda *_: mismatched,
        loss_type="kto",
        beta=spec["beta"],
        desirable_weight=spec.get("desirable_weight", 1.0),
        undesirable_weight=spec.get("undesirable_weight", 1.0),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
    )


if __name__ == "__main__":
    main()
