from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformers import AddedToken

from tailrace.formats.data.record import CompletionRecord
from tailrace.formats.spec.distill_spec import DistillSpec, OnPolicySpec
from tailrace.formats.spec.run_spec import AdapterSpec, LoraSpec, ModelSpec, TrainSpec
from tests.unit.training.conftest import TINY
from tests.unit.training.taught_models import save_student_and_teacher
from training.budget.estimate import estimate
from training.budget.memory import Memory
from training.checkpoints.provenance import FILE
from training.data.batches import Batch, BatchStream, Collator
from training.data.example_store import TopTokens
from training.data.tokenizer import load_tokenizer, train_tokenizer
from training.errors import CheckpointError, ConfigError
from training.loop.final_model import save_folder
from training.loop.start import prepare
from training.loop.teacher import Teacher, first_difference, open_teacher
from training.loop.trainer import Trainer
from training.models.registry import model_from_config
from training.objectives.distill import (
    AGREEMENT,
    DIVERGENCE,
    StoredTeacherObjective,
    make_distillation,
)
from training.objectives.objective import BoundModel
from training.stage.training_run import TrainingPaths, run_training

TAUGHT = TrainSpec(
    distill=DistillSpec("models/teacher@1"),
    max_steps=60,
    batch_size=8,
    max_seq_length=64,
    learning_rate=1e-2,
    eval_fraction=0.2,
    eval_every_steps=60,
    log_every_steps=20,
    save_every_steps=40,
    steps_per_dispatch=20,
)
RECORDS = [
    CompletionRecord(f"What is {i} + {i}?", f"It is {2 * i}.", [], str(i)) for i in range(1, 41)
]

ROWS = Batch(
    tokens=np.asarray([[0, 1, 2], [2, 1, 0]], np.int32),
    targets=np.asarray([[1, 2, 0], [1, 0, 0]], np.int32),
    weights=np.asarray([[0, 1, 1], [1, 0, 0]], np.float32),
    lengths=np.asarray([3, 2], np.int32),
)
STUDENT = np.asarray([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.0]], np.float32)
TEACHER = np.asarray([[0.5, 1.0, 2.0, 9.0], [1.0, 2.0, 0.0, 9.0], [2.0, 0.0, 1.0, 9.0]], np.float32)
"""Logits by the last token; the teacher embeds a token more, which no tokenizer has."""


class Bigrams:
    """A decoder whose next token depends on the last one alone."""

    def __init__(self, table: Any) -> None:
        self.table = jnp.asarray(table)

    def hidden(self, tokens: Any, *_: Any, **__: Any) -> tuple[jax.Array, None]:
        return jax.nn.one_hot(tokens, 3), None

    def logits(self, hidden: jax.Array) -> jax.Array:
        return hidden @ self.table


class Shifted(Bigrams):
    """The same with hidden states that are shifted."""

    def __init__(self, shift: Any) -> None:
        super().__init__(STUDENT)
        self.shift = shift

    def hidden(self, tokens: Any, *_: Any, **__: Any) -> tuple[jax.Array, None]:
        return jax.nn.one_hot(tokens, 3) + self.shift, None


def loss(
    decoder: Any, *, by_block: bool = False, rows: Batch = ROWS, on_policy: bool = False
) -> tuple[Any, dict[str, Any]]:
    teacher: Any = Bigrams(TEACHER)
    model = BoundModel(decoder, None, remat=False, by_block=by_block, teacher=teacher)
    distill = DistillSpec("models/teacher@1", OnPolicySpec() if on_policy else None)
    objective = make_distillation(dataclasses.replace(TAUGHT, distill=distill))
    return objective.loss(model, rows, jnp.float32(3))


def log_softmax(logits: Any) -> Any:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.mark.parametrize("by_block", [False, True])
def test_the_loss_is_the_divergence_from_the_teacher_at_learnt_tokens(by_block: bool) -> None:
    value, metrics = loss(Bigrams(STUDENT), by_block=by_block)
    own, teacher = log_softmax(STUDENT), log_softmax(TEACHER[:, :3])
    divergences = (np.exp(teacher) * (teacher - own)).sum(-1)
    # The learnt tokens follow the tokens 1, 2 and 2.
    expected = (divergences[1] + 2 * divergences[2]) / 3
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(metrics[DIVERGENCE]) == pytest.approx(expected, rel=1e-5)
    assert float(metrics[AGREEMENT]) == pytest.approx(1)


@pytest.mark.parametrize("by_block", [False, True])
def test_the_derivative_is_the_difference_of_the_distributions(by_block: bool) -> None:
    slopes = jax.grad(lambda shift: loss(Shifted(shift), by_block=by_block)[0])(jnp.zeros(3))
    difference = np.exp(log_softmax(STUDENT)) - np.exp(log_softmax(TEACHER[:, :3]))
    by_logits = (difference[1] + 2 * difference[2]) / 3
    np.testing.assert_allclose(slopes, STUDENT @ by_logits, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("by_block", [False, True])
def test_the_loss_on_own_answers_is_the_reverse_divergence(by_block: bool) -> None:
    value, metrics = loss(Bigrams(STUDENT), by_block=by_block, on_policy=True)
    own, teacher = log_softmax(STUDENT), log_softmax(TEACHER[:, :3])
    divergences = (np.exp(own) * (own - teacher)).sum(-1)
    expected = (divergences[1] + 2 * divergences[2]) / 3
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(metrics[DIVERGENCE]) == pytest.approx(expected, rel=1e-5)
    slopes = jax.grad(lambda shift: loss(Shifted(shift), by_block=by_block, on_policy=True)[0])(
        jnp.zeros(3)
    )
    by_logits = np.exp(own) * (own - teacher - divergences[:, None])
    np.testing.assert_allclose(
        slopes, STUDENT @ (by_logits[1] + 2 * by_logits[2]) / 3, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("by_block", [False, True])
def test_of_stored_tokens_all_others_count_as_one(by_block: bool) -> None:
    own, teacher = (np.exp(log_softmax(table[:, :3])) for table in (STUDENT, TEACHER))
    likeliest = teacher.argmax(-1)

    def halves(table: Any) -> Any:
        chosen = np.take_along_axis(table, likeliest[:, None], -1)
        return np.concatenate([chosen, 1 - chosen], -1)

    log_probs = np.log(halves(teacher)).astype(np.float32)
    taught = TopTokens(likeliest[ROWS.tokens][..., None].astype(np.int32), log_probs[ROWS.tokens])
    spec = dataclasses.replace(TAUGHT, distill=DistillSpec("models/teacher@1", top_k=1))
    objective = StoredTeacherObjective(spec, 3)

    def loss_of(decoder: Any) -> Any:
        model = BoundModel(decoder, None, remat=False, by_block=by_block)
        return objective.loss(model, ROWS._replace(taught=taught), jnp.float32(3))

    value, metrics = loss_of(Bigrams(np.pad(STUDENT, ((0, 0), (0, 1)))))
    p, q = halves(teacher), halves(own)
    divergences = (p * (np.log(p) - np.log(q))).sum(-1)
    assert float(value) == pytest.approx((divergences[1] + 2 * divergences[2]) / 3, rel=1e-5)
    assert float(metrics[AGREEMENT]) == pytest.approx(1)
    slopes = jax.grad(lambda shift: loss_of(Shifted(shift))[0])(jnp.zeros(3))
    # All tokens of a bucket share its slope in proportion to their probability.
    is_chosen = np.arange(3) == likeliest[:, None]
    by_logits = own * (1 - np.where(is_chosen, p[:, :1] / q[:, :1], p[:, 1:] / q[:, 1:]))
    np.testing.assert_allclose(
        slopes, STUDENT @ (by_logits[1] + 2 * by_logits[2]) / 3, rtol=1e-4, atol=1e-6
    )


def test_parts_of_a_batch_add_up() -> None:
    parts = [
        loss(Bigrams(STUDENT), rows=Batch(*(None if v is None else v[i : i + 1] for v in ROWS)))
        for i in range(2)
    ]
    assert float(sum(value for value, _ in parts)) == pytest.approx(
        float(loss(Bigrams(STUDENT))[0]), rel=1e-6
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a student and of its teacher."""
    return save_student_and_teacher(tmp_path_factory.mktemp("models"), RECORDS)


def distill(
    folder: Path, models: tuple[Path, Path], seen: Any, resume: Path | None = None, **changes: Any
) -> TrainingPaths:
    paths = TrainingPaths.in_folder(folder)
    spec = dataclasses.replace(TAUGHT, **changes)
    student, teacher = models
    source = ModelSpec(source="models/student@1")
    run_training(source, spec, RECORDS, paths, seen, folder=student, resume=resume, teacher=teacher)
    return paths


@pytest.fixture(scope="module")
def taught(
    tmp_path_factory: pytest.TempPathFactory, models: tuple[Path, Path], recorder: Any
) -> tuple[TrainingPaths, Any]:
    """A distillation and what was seen of it."""
    seen = recorder()
    return distill(tmp_path_factory.mktemp("taught"), models, seen), seen


def test_the_held_out_divergence_at_least_halves(taught: tuple[TrainingPaths, Any]) -> None:
    paths, seen = taught
    before = seen.points[0].metrics[DIVERGENCE]
    held_out = seen.evaluations[-1]
    assert held_out.metrics[DIVERGENCE] == pytest.approx(held_out.eval_loss)
    assert held_out.metrics[DIVERGENCE] < before / 2
    assert held_out.metrics[AGREEMENT] > seen.points[0].metrics[AGREEMENT]
    assert '"teacher_sha256"' in (paths.provenance.parent / FILE).read_text()


def test_a_resumed_distillation_ends_with_the_same_weights(
    taught: tuple[TrainingPaths, Any], models: tuple[Path, Path], tmp_path: Path, recorder: Any
) -> None:
    paths, _ = taught
    checkpoint = paths.checkpoints / "step-00000040"
    again = distill(tmp_path, models, recorder(), checkpoint)
    name = "model.safetensors"
    assert (again.final_model / name).read_bytes() == (paths.final_model / name).read_bytes()


def test_a_checkpoint_belongs_to_its_teacher(
    taught: tuple[TrainingPaths, Any], models: tuple[Path, Path], tmp_path: Path, recorder: Any
) -> None:
    checkpoint = taught[0].checkpoints / "step-00000040"
    # The student itself is another teacher with the same tokenizer.
    with pytest.raises(CheckpointError, match="teacher"):
        distill(tmp_path, (models[0], models[0]), recorder(), checkpoint)


@pytest.mark.parametrize(
    "changes",
    [{"packing": True}, {"adapter": AdapterSpec(LoraSpec(rank=2)), "micro_batch_size": 2}],
    ids=["packed", "adapter in parts"],
)
def test_the_first_loss_is_the_same_however_it_is_computed(
    taught: tuple[TrainingPaths, Any],
    models: tuple[Path, Path],
    tmp_path: Path,
    recorder: Any,
    changes: dict[str, Any],
) -> None:
    seen = recorder()
    distill(tmp_path, models, seen, max_steps=1, eval_every_steps=0, **changes)
    assert seen.points[0].loss == pytest.approx(taught[1].points[0].loss, rel=1e-4)


def test_a_teacher_with_another_tokenizer_is_refused_by_its_first_token(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    texts = ["other words altogether"] * 9
    tokenizer = train_tokenizer(texts, 280, context=64)
    network = model_from_config(TINY | {"vocab_size": len(tokenizer)})
    save_folder(tmp_path, network, network.init(1), tokenizer)
    own = load_tokenizer(models[0])
    with pytest.raises(ConfigError, match=r"must have the tokenizer of the model: token 257 is '"):
        open_teacher(tmp_path, "models/other@1", own, 64)


def test_a_teacher_with_a_short_context_is_refused(models: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="65 is more than the context of 64 tokens of train"):
        open_teacher(models[1], "models/teacher@1", load_tokenizer(models[0]), 65)


def test_an_added_token_is_a_difference(models: tuple[Path, Path]) -> None:
    own, other = load_tokenizer(models[0]), load_tokenizer(models[1])
    assert first_difference(own, other) == ""
    other.add_tokens(["<extra>"])
    assert first_difference(own, other) == (
        f"token {len(own)} is missing in the model and '<extra>' in the teacher"
    )
    own.add_tokens([AddedToken("<extra>", lstrip=True)])
    assert first_difference(own, other).startswith(f"added token {len(own) - 1} is ")


def test_the_teacher_counts_in_memory(models: tuple[Path, Path]) -> None:
    start = prepare(ModelSpec(source="s"), TAUGHT, RECORDS, models[0], teacher=models[1])
    stream = BatchStream(start.encoded.examples, Collator.of(TAUGHT), seed=0)

    def need(teacher: Teacher | None) -> Memory:
        trainer = Trainer(
            start.model, start.objective, stream, TAUGHT, start.identity, teacher=teacher
        )
        return estimate(start.model, TAUGHT, trainer, stream, 0).memory

    assert start.teacher is not None
    with_teacher, alone = need(start.teacher), need(None)
    assert with_teacher.weights == alone.weights + 4 * start.teacher.model.parameters
    assert with_teacher.activations > alone.activations
