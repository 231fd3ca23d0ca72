"""Loss and gradients of sampled answers on a tiny model, here and with TRL's loss in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from tailrace.formats.data.prediction import FinishReason
from tailrace.formats.data.rollout import Rollout
from tailrace.formats.schema import from_mapping
from tailrace.formats.spec.grpo_spec import GrpoSpec
from tailrace.formats.spec.train_spec import TrainSpec
from tests.parity.losses.make_policy_goldens import CASES, compute_loss
from training.data.example_store import Example
from training.loop.steps import BatchLoss
from training.loop.trainable import AllWeights
from training.models.folder import save_model
from training.models.registry import model_from_config
from training.objectives.grpo import GrpoObjective
from training.rollouts.batches import AnswerRows

LENGTHS = (5, 3, 8, 1)
ADVANTAGES = (1.2, -0.7, 0.4, -1.0)
PROMPT = 6
TEMPERATURE = 0.8
VOCABULARY = 64

CONFIG = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}

NETWORK = model_from_config(CONFIG)
PARAMS = NETWORK.init(3)
GENERATOR = np.random.default_rng(18)
PROMPTS = [Example.of(GENERATOR.integers(1, VOCABULARY, PROMPT).tolist(), PROMPT) for _ in LENGTHS]
ANSWERS = [GENERATOR.integers(1, VOCABULARY, length).tolist() for length in LENGTHS]


def ours(spec: dict[str, Any], old: Any, reference: Any) -> tuple[float, dict[str, Any]]:
    """Return loss and gradients."""
    grpo = from_mapping(GrpoSpec, {**spec, "temperature": TEMPERATURE})
    objective = GrpoObjective(TrainSpec(max_steps=1, grpo=grpo))
    rollouts = [
        Rollout(1, i, str(i), 0, "p", "t", FinishReason.EOS, tokens, [0.0] * len(tokens))
        for i, tokens in enumerate(ANSWERS)
    ]
    rollouts = [
        from_mapping(Rollout, {**vars(rollout), "advantage": advantage})
        for rollout, advantage in zip(rollouts, ADVANTAGES, strict=True)
    ]
    batch = AnswerRows(len(ANSWERS), mask_truncated=False).batch(PROMPTS, rollouts)
    assert batch is not None
    assert batch.sampled is not None
    rows = jax.tree.map(lambda values: values[0], batch)

    def placed(values: Any) -> Any:
        out = np.zeros(rows.tokens.shape, np.float32)
        out[:, PROMPT - 1 : PROMPT - 1 + values.shape[1]] = values
        return out * rows.weights

    sampled = rows.sampled._replace(old=placed(old), reference=placed(reference))
    rows = rows._replace(sampled=sampled)
    loss_of = BatchLoss(objective, AllWeights(NETWORK, jnp.float32))
    weight = jnp.float32(objective.weight(rows))
    (loss, _), gradients = jax.value_and_grad(loss_of.__call__, has_aux=True)(
        PARAMS, {}, rows, weight, None
    )
    return float(loss), gradients


def theirs(
    spec: dict[str, Any], model: Any, old: Any, reference: Any
) -> tuple[float, dict[str, Any]]:
    """Return loss and gradients of the same model in transformers."""
    width = max(LENGTHS)
    completion = torch.zeros(len(ANSWERS), width, dtype=torch.long)
    mask = torch.zeros_like(completion)
    for i, tokens in enumerate(ANSWERS):
        completion[i, : len(tokens)] = torch.tensor(tokens)
        mask[i, : len(tokens)] = 1
    prompts = torch.tensor(np.stack([prompt.tokens for prompt in PROMPTS])).long()
    model.zero_grad()
    logits = model(input_ids=torch.cat([prompts, completion], dim=1)).logits / TEMPERATURE
    scores = torch.log_softmax(logits[:, PROMPT - 1 : -1].float(), dim=-1)
    log_probs = scores.gather(-1, completion[..., None])[..., 0]
    inputs = {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": completion,
        "completion_mask": mask,
        "advantages": torch.tensor(ADVANTAGES),
        "old_per_token_logps": torch.tensor(old),
        "ref_per_token_logps": torch.tensor(reference),
        "num_items_in_batch": mask.sum(),
    }
    loss = compute_loss(spec, (log_probs, torch.zeros_like(log_probs), None), inputs)
    loss.backward()
    return loss.item(), {name: p.grad.numpy() for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("model")
    save_model(folder, NETWORK, PARAMS, 0)
    library: Any = transformers
    return library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize(
    "spec",
    [spec for spec in CASES if spec["scale_rewards"] == "group" and spec["kl_beta"]],
    ids=lambda spec: f"{spec['loss']}-{spec['ratio']}",
)
def test_loss_and_gradients_of_a_model_are_those_of_trl(spec: dict[str, Any], model: Any) -> None:
    shape = (len(LENGTHS), max(LENGTHS))
    # Near the model's own, so that some ratios are clipped and others are not.
    center = -np.log(VOCABULARY)
    old = (center + GENERATOR.normal(0, 0.3, shape)).astype(np.float32)
    reference = (center + GENERATOR.normal(0, 0.3, shape)).astype(np.float32)
    loss, gradients = ours(spec, old, reference)
    expected, slopes = theirs(spec, model, old, reference)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert set(gradients) == set(slopes)
    names = sorted(slopes)
    flat, other = (np.concatenate([np.ravel(g[n]) for n in names]) for g in (gradients, slopes))
    assert np.linalg.norm(flat - other) < 1e-4 * np.linalg.norm(other)
    assert np.linalg.norm(other) > 1e-3
