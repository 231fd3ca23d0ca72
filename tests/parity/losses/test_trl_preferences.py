"""DPO and KTO here and in TRL's trainers, from end to end on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import jax
import numpy as np
import pytest
import torch
import transformers
import trl

from tailrace.formats.schema import parse
from tailrace.formats.spec.train_spec import TrainSpec
from tests.parity.cases import VOCABULARY
from tests.parity.tiny_models import make_model
from training.data.batches import Batch
from training.data.example_store import Example
from training.loop.steps import BatchLoss, accumulate, compile_answers
from training.loop.trainable import choose_trainable
from training.machine.sharding import Layout, make_mesh
from training.models.folder import load_model
from training.models.stored_weights import HeldWeights
from training.objectives.objective import ReferencedObjective
from training.objectives.registry import make_objective

TRL: Any = trl

SIZES = ((6, 5, 3), (4, 1, 7), (9, 4, 4), (3, 8, 2))
"""Tokens of the prompt and of both answers."""

LABELS = (True, False, False, True)

TrainerCase = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path, Path]:
    """The model in training, the one that it started from, and folders of both."""
    transformers.logging.set_verbosity_error()
    start, policy = make_model("llama", 3), make_model("llama", 3)
    torch.manual_seed(4)
    for parameter in policy.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    folders = tmp_path_factory.mktemp("policy"), tmp_path_factory.mktemp("start")
    for model, folder in zip((policy, start), folders, strict=True):
        model.save_pretrained(folder)
    return policy, start, *folders


def texts() -> list[tuple[list[int], list[int], list[int]]]:
    """Return token ids of prompts and of both answers."""
    generator = np.random.default_rng(5)
    return [
        tuple(generator.integers(1, VOCABULARY, size).tolist() for size in sizes) for sizes in SIZES
    ]


def examples(label: bool) -> list[Example]:
    """Return the texts as pairs; with labels if they are feedback."""
    return [
        Example(
            *_answer(prompt, first),
            other=Example(*_answer(prompt, second)),
            label=LABELS[index] if label else True,
        )
        for index, (prompt, first, second) in enumerate(texts())
    ]


def _answer(prompt: list[int], answer: list[int]) -> tuple[Any, Any]:
    tokens = np.asarray(prompt + answer, np.int32)
    return tokens, np.arange(len(tokens)) >= len(prompt)


def ours(train: dict[str, Any], policy: Path, start: Path) -> tuple[float, dict[str, Any]]:
    """Return loss and gradients of a batch here."""
    spec = parse(TrainSpec, {"max_steps": 1, "dtype": "float32", **train}, "train")
    objective = make_objective(spec)
    assert isinstance(objective, ReferencedObjective)
    model, params = load_model(policy)
    trainable = choose_trainable(model, spec)
    layout = Layout.of("llama", make_mesh(spec.mesh, len(SIZES)))
    pairs = examples("kto" in train)
    batch = objective.collator(len(pairs)).collate([pairs])
    starting = trainable.start(HeldWeights(load_model(start)[1]), layout)
    reference = compile_answers(objective, trainable, layout)(*starting, batch)
    rows: Batch = jax.tree.map(lambda values: values[0], batch)
    rows = rows._replace(reference=np.asarray(reference))
    loss_of = BatchLoss(objective, trainable, layout)
    compute: Any = jax.jit(accumulate(objective, loss_of, layout, None))
    values = trainable.start(HeldWeights(params), layout)
    loss, _, gradients = compute(*values, layout.split_rows(rows), jax.random.key(0))
    return float(loss), {name: np.asarray(value) for name, value in gradients.items()}


def theirs(trainer: Any, rows: list[dict[str, Any]]) -> tuple[float, dict[str, Any]]:
    """Return loss and gradients of a batch in TRL."""
    model = trainer.model
    model.zero_grad()
    model.train()
    loss = trainer.compute_loss(model, trainer.data_collator(rows))
    loss.backward()
    gradients = {name: value.grad.numpy().copy() for name, value in model.named_parameters()}
    return loss.item(), gradients


def make_trainer(
    kind: str, models: Any, rows: list[dict[str, Any]], folder: Path, **keys: Any
) -> Any:
    """Return TRL's trainer, with the token ids of rows."""
    tokenizer = _tokenizer()
    settings = getattr(TRL, f"{kind}Config")(
        output_dir=str(folder),
        per_device_train_batch_size=len(rows),
        disable_dropout=True,
        max_length=None,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        **keys,
    )
    parent = getattr(TRL, f"{kind}Trainer")

    class Encoded(parent):  # type: ignore[misc,valid-type]
        """TRL's trainer on token ids."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    policy, start, *_ = models
    return Encoded(
        model=policy,
        ref_model=start,
        args=settings,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models

    vocabulary = {str(number): number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="0"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="0", pad_token="0", unk_token="0"
    )


def check(here: tuple[float, dict[str, Any]], there: tuple[float, dict[str, Any]]) -> None:
    """Losses are equal to 1e-5, and gradients to 1e-4 in relative L2 norm."""
    assert here[0] == pytest.approx(there[0], rel=1e-5, abs=1e-5)
    assert here[1].keys() == there[1].keys()
    first, second = (
        np.concatenate([gradients[name].ravel() for name in sorted(gradients)])
        for gradients in (here[1], there[1])
    )
    assert np.linalg.norm(second) > 1e-3
    assert np.linalg.norm(first - second) <= 1e-4 * np.linalg.norm(second)


@pytest.mark.parametrize(("loss", "beta"), [("sigmoid", 0.1), ("ipo", 0.3), ("hinge", 0.05)])
def test_dpo_is_that_of_trl(loss: str, beta: float, models: Any, tmp_path: Path) -> None:
    rows = [
        {"prompt_ids": prompt, "chosen_ids": first, "rejected_ids": second}
        for prompt, first, second in texts()
    ]
    trainer = make_trainer("DPO", models, rows, tmp_path, loss_type=[loss], beta=beta)
    here = ours({"dpo": {"loss": loss, "beta": beta}}, *models[2:])
    check(here, theirs(trainer, rows))


def test_kto_is_that_of_trl(models: Any, tmp_path: Path) -> None:
    rows = [
        {
            "prompt_ids": prompt,
            "completion_ids": first,
            "KL_completion_ids": second,
            "label": label,
        }
        for (prompt, first, second), label in zip(texts(), LABELS, strict=True)
    ]
    weights = {"desirable_weight": 1.2, "undesirable_weight": 0.7}
    trainer = make_trainer("KTO", models, rows, tmp_path, beta=0.2, **weights)
    here = ours({"kto": {"beta": 0.2, **weights}}, *models[2:])
    check(here, theirs(trainer, rows))
